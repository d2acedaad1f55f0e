"""Simulated agents: they authenticate as strictly as the real one, then are idle."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Iterable, Iterator, Sequence
from time import perf_counter

from bench.errors import BenchError
from bench.figures import Samples
from bench.generator.client import OPEN_SECONDS, PING, TEXT, ClientSocket
from meshcentral_protocol.agent_commands import NO_HASH, AgentTag, CoreHash, Number
from meshcentral_protocol.handshake import AgentEffect, AgentHandshake, Confirmed, Hold, Send, Sign
from meshcentral_protocol.handshake_messages import AuthInfo
from meshcentral_protocol.keys import AgentKey

COMMIT_DATE = "2022-Nov-2 23:01:45-0700"
HOST_INFO = "Simulated GNU/Linux - x64"
LINUX_X86_64 = 6
CAPABILITIES = 0x118
PATIENCE = 10.0
"""Seconds to wait for pongs and for connections to end."""

_CORE_HASH = Number.CORE_HASH.to_bytes(2, "big")


class Agent(ClientSocket):
    """One agent. It has a core of its own, so servers push none, and it answers pings of both kinds."""

    __slots__ = (
        "_fast",
        "_group",
        "_handshake",
        "_identity",
        "_number",
        "_server_id",
        "alive",
        "confirmed",
        "gone",
        "pong",
    )

    def __init__(self, number: int, identity: AgentKey, server_id: bytes, group: bytes, *, fast: bytes | None) -> None:
        """`fast` is the hash of the outer certificate of an earlier, verified connection."""
        super().__init__("/agent.ashx")
        self._number = number
        self._identity = identity
        self._server_id = server_id
        self._group = group
        self._fast = fast
        self._handshake: AgentHandshake | None = None
        loop = asyncio.get_running_loop()
        self.confirmed: asyncio.Future[bytes] = loop.create_future()
        """Settled by message 4, with the hash of the outer certificate."""
        self.gone: asyncio.Future[None] = loop.create_future()
        """Settled when the connection has ended."""
        self.pong: asyncio.Future[None] = loop.create_future()
        """Settled by the answer to the latest ping."""
        self.alive = False

    def ping(self) -> asyncio.Future[None]:
        """What the real agent sends after two minutes of silence; settled by the answer."""
        self.pong = asyncio.get_running_loop().create_future()
        self.send(b"", PING)
        return self.pong

    def opened(self) -> None:
        web_hash = self.certificate_hash()
        if self._fast not in (None, web_hash):
            raise BenchError("the server shows another certificate than on the full path")
        name = f"bench-{self._number:05d}"
        self._handshake = AgentHandshake(
            self._identity,
            AuthInfo(LINUX_X86_64, self._group, CAPABILITIES, name),
            server_id=self._server_id,
            web_hash=web_hash,
            fast=self._fast is not None,
            commit_date=COMMIT_DATE,
            host_info=HOST_INFO,
        )
        self._perform(self._handshake, self._handshake.start())

    def message(self, payload: bytes) -> None:
        if not self.alive and self._handshake is not None:
            self._perform(self._handshake, self._handshake.feed(payload))
        elif payload[:2] == _CORE_HASH:
            self.send(CoreHash(NO_HASH, int.from_bytes(payload[2:4], "big")).encode())
        elif payload[:1] == b"{" and json.loads(payload).get("action") == "ping":
            self.send(b'{"action":"pong"}', TEXT)

    def ponged(self) -> None:
        if not self.pong.done():
            self.pong.set_result(None)

    def ended(self, reason: str) -> None:
        self.alive = False
        if not self.gone.done():
            self.gone.set_result(None)
        if not self.confirmed.done():
            self.confirmed.set_exception(BenchError(f"agent {self._number}: {reason}"))

    def _perform(self, handshake: AgentHandshake, effects: Iterable[AgentEffect]) -> None:
        for effect in effects:
            match effect:
                case Send(frame):
                    self.send(frame)
                case Sign(identity, data):
                    self._perform(handshake, handshake.signed(identity.sign(data)))
                case Hold(reason, detail):
                    raise BenchError(f"the server did not prove itself: {reason.value}: {detail}")
                case Confirmed():
                    self._handshake = None
                    self.alive = True
                    self.send(AgentTag("").encode())
                    self.confirmed.set_result(self.certificate_hash())


class Fleet:
    """The agents of one generator."""

    def __init__(self, port: int, server_id: bytes, group: bytes, context: ssl.SSLContext) -> None:
        self._port = port
        self._server_id = server_id
        self._group = group
        self._context = context
        self._agents: list[Agent] = []
        self._seen: bytes | None = None
        """The server's outer certificate, once an agent has verified it on the full path."""

    @property
    def alive(self) -> int:
        """Agents that are connected now."""
        return sum(agent.alive for agent in self._agents)

    async def storm(self, identities: Sequence[tuple[int, AgentKey]], in_flight: int, *, fast: bool) -> Samples:
        """Connect them all, some at a time. Milliseconds from the first packet to message 4, one for each."""
        if fast and self._seen is None:
            raise BenchError("the fast path needs a full one before")
        waiting = iter(identities)
        latencies: list[float] = []
        async with asyncio.TaskGroup() as group:
            for _ in range(in_flight):
                group.create_task(self._connect_each(waiting, latencies, self._seen if fast else None))
        return Samples.of(latencies)

    async def _connect_each(
        self, waiting: Iterator[tuple[int, AgentKey]], latencies: list[float], fast: bytes | None
    ) -> None:
        for number, identity in waiting:
            begin = perf_counter()
            agent = Agent(number, identity, self._server_id, self._group, fast=fast)
            self._agents.append(agent)
            async with asyncio.timeout(OPEN_SECONDS):
                await agent.connect(self._port, self._context)
                self._seen = await agent.confirmed
            latencies.append((perf_counter() - begin) * 1000)

    async def ping(self) -> int:
        """Let every agent ping and wait for all pongs; how many came."""
        return await _settled([agent.ping() for agent in self._agents if agent.alive])

    async def drop(self) -> None:
        """Close all connections, and wait until they are."""
        for agent in self._agents:
            agent.close()
        await _settled([agent.gone for agent in self._agents])
        self._agents.clear()


async def _settled(futures: Sequence[asyncio.Future[None]]) -> int:
    """How many are done, when all are or patience has ended."""
    if not futures:
        return 0
    done, _ = await asyncio.wait(futures, timeout=PATIENCE)
    return len(done)
