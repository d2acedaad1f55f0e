"""A storm of agents: TLS, upgrade and authentication of many agents that come at once."""

from __future__ import annotations

import time

from bench.figures import Target
from bench.load import Certificates, Generator, generator
from bench.run import IN_FLIGHT, SETTLE, Notes, Run, check_count
from bench.subjects import Running

NAME = "storm"
AGENTS = 200
QUICK_AGENTS = 60
WARM_UP = 20
FIRST_OF_WARM_UP = 2400
"""Identities that no round uses."""

_TARGETS = {
    ("any", False): (Target(0.30), Target(2.0, at_least=True)),
    ("any", True): (Target(0.25), Target(2.2, at_least=True)),
    ("rsa", False): (Target(0.45), None),
    ("rsa", True): (Target(0.60), None),
}
_TITLES = {"any": "", "rsa": ", RSA certificate"}


def measure(run: Run) -> None:
    """Every round uses identities of its own: a server slows down those that come back too often."""
    agents = QUICK_AGENTS if run.quick else AGENTS
    choices: tuple[Certificates, ...] = ("any", "rsa")
    for number, subject in run.turns(NAME):
        notes = Notes(run.ledger, NAME, subject.side)
        with subject.started() as running:
            for certificates in choices:
                with generator(running, run.folder, certificates) as load:
                    load.order("load", first=FIRST_OF_WARM_UP, count=WARM_UP)
                    load.order("storm", first=FIRST_OF_WARM_UP, count=WARM_UP, in_flight=IN_FLIGHT, fast=False)
                    load.order("drop")
                    load.order("load", first=number * agents, count=agents)
                    for fast in (False, True):
                        _storm(running, load, notes, number * agents, agents, certificates, fast)


def _storm(
    running: Running, load: Generator, notes: Notes, first: int, agents: int, certificates: Certificates, fast: bool
) -> None:
    time.sleep(SETTLE)
    before = running.tree.cpu_seconds()
    result = load.order("storm", first=first, count=agents, in_flight=IN_FLIGHT, fast=fast)
    time.sleep(SETTLE)
    cpu = running.tree.cpu_seconds() - before
    check_count(load, agents)
    load.order("drop")
    check_count(load, 0)

    path = ("fast path" if fast else "full path") + _TITLES[certificates]
    cpu_target, rate_target = _TARGETS[certificates, fast]
    notes(f"{path}: CPU each", "ms", cpu / agents * 1000, cpu_target)
    notes(f"{path}: rate", "agents/s", agents / result["seconds"], rate_target)
    notes(f"{path}: median wait", "ms", result["p50"])
    notes(f"{path}: longest wait", "ms", result["max"])
    notes(f"{path}: generator's CPU each", "ms", result["generator_cpu"] / agents * 1000)
