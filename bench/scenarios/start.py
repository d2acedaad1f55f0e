"""Starting: from the launch to an open port, the first start with its keys, and the command's help."""

from __future__ import annotations

import subprocess
import sys
import time

from bench.figures import Target
from bench.run import Notes, Run

NAME = "start"
REST = 3.0
"""Seconds from the open port to the reading of the memory."""
MIB = 1024 * 1024


def measure(run: Run) -> None:
    """The peer has no command line of this kind, so the help is measured for us alone."""
    for _, subject in run.turns(NAME):
        notes = Notes(run.ledger, NAME, subject.side)
        with subject.started() as running:
            time.sleep(REST)
            notes("launch to listening", "s", running.listening_after, Target(1.0, of="ours"))
            notes("idle RSS", "MiB", running.tree.resident_bytes() / MIB, Target(110, of="ours"))
        with subject.first_start() as running:
            notes("first start, keys and all", "s", running.listening_after, Target(2.5, of="ours"))
        if subject.side == "ours":
            notes("mesh --help", "ms", _milliseconds("-m", "meshcentral_cli", "--help"), Target(150, of="ours"))
            notes("the interpreter alone", "ms", _milliseconds("-c", "pass"))


def _milliseconds(*arguments: str) -> float:
    """The best of three: start-up is all about what is in the file cache."""
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True, timeout=60)
        times.append(time.perf_counter() - begin)
    return min(times) * 1000
