"""The server is killed in the middle of administrative changes: what was acknowledged is there, and all is sound."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.installation import Installation

from meshcentral.plugins.errors import ServerUnreachable
from meshcentral_cli.connect import connect

ROUNDS = 20
LONGEST = 0.5
"""Seconds after the first acknowledged change within which the server is killed."""


@dataclass
class Writer:
    """Adds accounts and device groups through the local socket until the server is gone."""

    data: Path
    accounts: set[str] = field(default_factory=set)
    groups: set[str] = field(default_factory=set)
    begun: threading.Event = field(default_factory=threading.Event)

    def run(self, name: str) -> None:
        with contextlib.suppress(ServerUnreachable):
            asyncio.run(self._add(name))

    async def _add(self, name: str) -> None:
        async with connect(self.data, offline=False) as client:
            for number in range(1_000_000):
                group = await client.request("createmesh", {"meshname": f"{name} {number}", "meshtype": 2})
                self.groups.add(group["meshid"])
                self.begun.set()
                account = f"{name}-{number}"
                await client.request("adduser", {"username": account, "pass": "a long Enough pass 4 this"})
                self.accounts.add(f"user//{account}")


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_when_the_server_is_killed(installation: Installation) -> None:
    writer = Writer(installation.data)
    moments = [random.uniform(0, LONGEST) for _ in range(ROUNDS)]  # noqa: S311
    identity = (installation.data / "agentserver-cert-public.crt").read_bytes()
    for number, moment in enumerate(moments):
        installation.serve()
        writer.begun.clear()
        thread = threading.Thread(target=writer.run, args=(f"round{number}",))
        thread.start()
        assert writer.begun.wait(30)
        time.sleep(moment)
        installation.kill_server()
        thread.join(30)
        assert not thread.is_alive()
    assert len(writer.groups) >= ROUNDS
    assert installation.json("db", "check")["findings"] == []  # as the kill left it
    installation.serve()
    assert writer.accounts <= {account["id"] for account in installation.json("user", "list")}, moments
    assert writer.groups <= {group["id"] for group in installation.json("group", "list")}, moments
    report = installation.json("db", "check")
    assert (report["ok"], report["audit"]["broken_at"]) == (True, None), moments
    assert report["audit"]["rows"] >= len(writer.accounts) + len(writer.groups)
    assert (installation.data / "agentserver-cert-public.crt").read_bytes() == identity
