"""The control channel: logins with a password in a header, and the list of devices.

New accounts of ours have Argon2id hashes, the peer's PBKDF2; the target of equal CPU is meant for the same hash, so the
logins have none here. What each hash costs by itself is in `micro`.
"""

from __future__ import annotations

import time

from bench.figures import Target
from bench.load import generator
from bench.run import IN_FLIGHT, SETTLE, Notes, Run, check_count

NAME = "control"
AGENTS = 1000
QUICK_AGENTS = 100
LOGINS = 60
LOGINS_IN_FLIGHT = 4
REPEAT = 30


def measure(run: Run) -> None:
    """The devices of the list are connected, so their rows carry live members."""
    agents = QUICK_AGENTS if run.quick else AGENTS
    for _, subject in run.turns(NAME):
        notes = Notes(run.ledger, NAME, subject.side)
        with subject.started() as running, generator(running, run.folder) as load:
            load.order("logins", count=LOGINS_IN_FLIGHT, in_flight=LOGINS_IN_FLIGHT)
            time.sleep(SETTLE)
            before = running.tree.cpu_seconds()
            logins = load.order("logins", count=LOGINS, in_flight=LOGINS_IN_FLIGHT)
            time.sleep(SETTLE)
            cpu = running.tree.cpu_seconds() - before
            notes("login (Argon2id beside PBKDF2): CPU each", "ms", cpu / LOGINS * 1000)
            notes("login (Argon2id beside PBKDF2): median wait", "ms", logins["p50"])

            load.order("load", first=0, count=agents)
            load.order("storm", first=0, count=agents, in_flight=IN_FLIGHT, fast=False)
            check_count(load, agents)
            before = running.tree.cpu_seconds()
            nodes = load.order("nodes", repeat=REPEAT)
            cpu = running.tree.cpu_seconds() - before
        notes(f"nodes, {agents} connected devices: reply", "ms", nodes["p50"], Target(0.25))
        notes(f"nodes, {agents} connected devices: CPU each", "ms", cpu / REPEAT * 1000)
        notes(f"nodes, {agents} connected devices: size", "KB", nodes["bytes"] / 1000)
