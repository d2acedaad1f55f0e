"""Where a command gets a new password from. Never from the command line: other users can read that."""

from __future__ import annotations

import sys
from pathlib import Path

from meshcentral.plugins.errors import NotFound, UsageError
from meshcentral_cli.terminal import Terminal

_MAX_BYTES = 4096
"""More than any password that the server takes; what the rules are is its business."""


def read_password(terminal: Terminal, *, from_stdin: bool, file: Path | None, random: bool) -> str | None:
    """Take the password from the one source that was named, or ask; None when the server is to make one.

    UsageError when no source or more than one was named.
    """
    if (from_stdin, file is not None, random).count(True) > 1:
        raise UsageError("--password-stdin, --password-file and --random-password exclude each other")
    if random:
        return None
    if from_stdin:
        return _one_line(sys.stdin.buffer.read(_MAX_BYTES + 1), "--password-stdin")
    if file is not None:
        return _one_line(_beginning(file), "--password-file")
    if not terminal.interactive:
        raise UsageError(
            "no password given and no terminal to ask at",
            hint="use --password-stdin, --password-file FILE or --random-password",
        )
    return _one_line(terminal.new_password().encode("utf-8", "surrogateescape"), "the password")


def _beginning(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(_MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise NotFound(f"--password-file: {file} does not exist") from error
    except OSError as error:
        raise UsageError(f"--password-file: cannot read {file}: {error.strerror}") from error


def _one_line(data: bytes, source: str) -> str:
    """Decode, without the line end that `echo` and editors add, and the mark that some put at the beginning."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{source}: the password is not UTF-8 text") from error
    text = text.removesuffix("\n").removesuffix("\r")
    if not text or "\n" in text or "\0" in text or len(data) > _MAX_BYTES:
        raise UsageError(f"{source}: the password must be one line of text")
    return text
