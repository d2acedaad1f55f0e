"""Agents that stay: connected for a minute with keep-alive pings, none may be lost."""

from __future__ import annotations

import time

from bench.errors import BenchError
from bench.load import generator
from bench.run import IN_FLIGHT, Notes, Run, check_count

NAME = "hold"
AGENTS = 500
QUICK_AGENTS = 100
SECONDS = 60.0
QUICK_SECONDS = 10.0
EVERY = 5.0
"""Seconds between two pings of an agent: 24 times as many as real ones send."""


def measure(run: Run) -> None:
    """Raises BenchError when an agent is lost or a ping is not answered."""
    agents, seconds = (QUICK_AGENTS, QUICK_SECONDS) if run.quick else (AGENTS, SECONDS)
    for _, subject in run.turns(NAME):
        notes = Notes(run.ledger, NAME, subject.side)
        with subject.started() as running, generator(running, run.folder) as load:
            load.order("load", first=0, count=agents)
            load.order("storm", first=0, count=agents, in_flight=IN_FLIGHT, fast=False)
            time.sleep(EVERY)
            before, pings = running.tree.cpu_seconds(), 0
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                answered = load.order("ping")["answered"]
                if answered != agents:
                    raise BenchError(f"{subject.side}: {answered} of {agents} agents got their pong")
                pings += answered
                time.sleep(EVERY)
            cpu = running.tree.cpu_seconds() - before
            alive = load.order("alive")["alive"]
            check_count(load, agents)
        notes(f"{agents} agents for {seconds:g} s: still connected", "agents", alive)
        notes(f"{agents} agents for {seconds:g} s: CPU for each ping", "us", cpu / pings * 1_000_000)
