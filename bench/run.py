"""What a scenario is given: the servers, how often to go round, and where figures go."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import BenchError
from bench.figures import Ledger, Side, Target
from bench.load import Generator
from bench.subjects import Subject

IN_FLIGHT = 20
"""Agents that are connecting at one time."""
SETTLE = 1.0
"""Seconds after a load in which the server may finish what it put off (writes, timers); they count."""


@dataclass(slots=True)
class Run:
    """One run of the benchmarks."""

    subjects: Sequence[Subject]
    """Ours, and the peer unless it is left out; the order of each round."""
    rounds: int
    quick: bool
    folder: Path
    ledger: Ledger = field(default_factory=Ledger)

    def turns(self, scenario: str) -> Iterator[tuple[int, Subject]]:
        """Round by round, ours and the peer in turn; the round counts from 0."""
        for number in range(self.rounds):
            for subject in self.subjects:
                self.progress(f"{scenario}: round {number + 1} of {self.rounds}, {subject.side}")
                yield number, subject

    def progress(self, text: str) -> None:
        """Tell a person who waits."""
        print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Notes:
    """Writes the figures of one scenario and side."""

    ledger: Ledger
    scenario: str
    side: Side

    def __call__(self, name: str, unit: str, value: float, target: Target | None = None) -> None:
        self.ledger.record(self.scenario, name, unit, self.side, value, target)


def check_count(load: Generator, expected: int) -> None:
    """The server must count the agents that we hold connected. Raises BenchError when it does not."""
    deadline = time.monotonic() + 15.0
    while True:
        connected = load.order("nodes", repeat=1)["connected"]
        if connected == expected:
            return
        if time.monotonic() > deadline:
            alive = load.order("alive")["alive"]
            raise BenchError(
                f"the server counts {connected} connected agents, not {expected}; {alive} sockets are open"
            )
        time.sleep(0.2)
