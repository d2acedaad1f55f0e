"""What idle agents cost: memory, and CPU while nothing happens. Each count on a freshly started server."""

from __future__ import annotations

import time

from bench.figures import Target
from bench.load import generator
from bench.run import IN_FLIGHT, Notes, Run, check_count
from bench.subjects import Subject

NAME = "memory"
COUNTS = (500, 1000, 2000)
QUICK_COUNTS = (100, 300)
WATCH = 5.0
"""Seconds of idleness that are measured."""
REST = 3.0
"""Seconds before each reading of the memory."""
MIB = 1024 * 1024


def measure(run: Run) -> None:
    """The marginal cost is taken between the smallest and the largest count, so one-off growth does not count."""
    counts = QUICK_COUNTS if run.quick else COUNTS
    for _, subject in run.turns(NAME):
        notes = Notes(run.ledger, NAME, subject.side)
        resident = {count: _hold(run, subject, notes, count) for count in counts}
        least, most = min(counts), max(counts)
        marginal = (resident[most] - resident[least]) / (most - least) / 1024
        notes("RSS for each further agent", "KiB", marginal, Target(48, of="ours"))


def _hold(run: Run, subject: Subject, notes: Notes, count: int) -> int:
    """Returns the RSS with that many agents."""
    with subject.started() as running, generator(running, run.folder) as load:
        tree = running.tree
        load.order("load", first=0, count=count)
        time.sleep(REST)
        empty = tree.resident_bytes()
        load.order("storm", first=0, count=count, in_flight=IN_FLIGHT, fast=False)
        time.sleep(REST)
        held = tree.resident_bytes()
        before = tree.cpu_seconds()
        time.sleep(WATCH)
        idle = tree.cpu_seconds() - before
        check_count(load, count)
        load.order("drop")
        check_count(load, 0)
        time.sleep(REST)
        after = tree.resident_bytes()
    notes(f"{count} agents: RSS before", "MiB", empty / MIB)
    notes(f"{count} agents: RSS", "MiB", held / MIB, Target(0.55) if count == max(COUNTS) else None)
    notes(f"{count} agents: idle CPU", "ms/s", idle / WATCH * 1000)
    notes(f"{count} agents: RSS after they left", "MiB", after / MIB)
    return held
