"""The standard streams, whatever they are connected to: nothing, a full disk, a reader that left."""

from __future__ import annotations

import os
import sys
from typing import TextIO


def prepare() -> None:
    """Make all three usable.

    One that was closed becomes the null device: else the next file to be opened, the database perhaps, gets its
    number, and whatever a library writes to "stderr" lands in it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            mode = "w" if number else "r"
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal's encoding lacks must not end the command.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def abandon(stream: TextIO) -> None:
    """Nothing more can be written there: neither what is buffered nor what follows may raise an error at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
