"""A simulated client of the control channel that logs in with a password in a header."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from time import perf_counter
from typing import Any

from bench.errors import BenchError
from bench.figures import Samples
from bench.generator.client import OPEN_SECONDS, TEXT, ClientSocket


class ControlClient(ClientSocket):
    """One session; messages wait in a queue as they came."""

    __slots__ = ("_messages",)

    def __init__(self, user: str, password: str) -> None:
        parts = (base64.b64encode(part.encode()).decode() for part in (user, password))
        super().__init__("/control.ashx", {"x-meshauth": ",".join(parts)})
        self._messages: asyncio.Queue[bytes | None] = asyncio.Queue()

    def message(self, payload: bytes) -> None:
        self._messages.put_nowait(payload)

    def ended(self, reason: str) -> None:
        self._messages.put_nowait(None)

    async def wait(self, wanted: bytes) -> bytes:
        """The next message with this text near its beginning or end, unparsed: parsing would cost a large list time.

        Raises BenchError when the server says no.
        """
        async with asyncio.timeout(OPEN_SECONDS):
            while True:
                message = await self._messages.get()
                if message is None or b'"action":"close"' in message[:200]:
                    raise BenchError(f"the control channel was closed: {(message or b'')[:200]!r}")
                if wanted in message[:200] or wanted in message[-200:]:
                    return message

    async def ask(self, action: str, **members: Any) -> bytes:
        """Send a request and wait for its reply."""
        self.send(json.dumps({"action": action, "responseid": "bench", **members}).encode(), TEXT)
        return await self.wait(b'"responseid":"bench"')


class ControlDesk:
    """What the benchmarks do on the control channel of one server."""

    def __init__(self, port: int, user: str, password: str, context: ssl.SSLContext) -> None:
        self._port = port
        self._user = user
        self._password = password
        self._context = context

    async def login(self) -> ControlClient:
        """Open a session and wait for the greeting."""
        client = ControlClient(self._user, self._password)
        await client.connect(self._port, self._context)
        await client.wait(b'"action":"userinfo"')
        return client

    async def logins(self, count: int, in_flight: int) -> Samples:
        """Log in and out again and again; milliseconds from the first packet to the greeting."""
        latencies: list[float] = []
        remaining = iter(range(count))

        async def one_after_another() -> None:
            for _ in remaining:
                begin = perf_counter()
                client = await self.login()
                latencies.append((perf_counter() - begin) * 1000)
                client.close()

        async with asyncio.TaskGroup() as group:
            for _ in range(in_flight):
                group.create_task(one_after_another())
        return Samples.of(latencies)

    async def create_group(self, name: str) -> str:
        """Make a device group for agents; its id."""
        client = await self.login()
        reply = json.loads(await client.ask("createmesh", meshname=name, meshtype=2))
        client.close()
        if reply.get("result") != "ok" or not isinstance(reply.get("meshid"), str):
            raise BenchError(f"the server made no device group: {reply}")
        group: str = reply["meshid"]
        return group

    async def nodes(self, repeat: int) -> tuple[Samples, int, int, int]:
        """Milliseconds for each reply to `nodes`; bytes, devices and connected devices of the last one."""
        client = await self.login()
        latencies = []
        reply = b""
        for _ in range(repeat):
            begin = perf_counter()
            reply = await client.ask("nodes")
            latencies.append((perf_counter() - begin) * 1000)
        client.close()
        devices = [device for group in json.loads(reply)["nodes"].values() for device in group]
        connected = sum(bool(device.get("conn", 0) & 1) for device in devices)
        return Samples.of(latencies), len(reply), len(devices), connected
