"""The agents' door with real certificates, store and bus around it, and simulated agents before it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from meshcentral.core.agents import Agents
from meshcentral.core.agents.session import ConnectedAgent
from meshcentral.core.bus import EventBus
from meshcentral.core.certificates import CertificateSettings, CertificateStore
from meshcentral.core.clock import SystemClock
from meshcentral.core.paths import DataPaths
from meshcentral.core.store import DocumentStore
from meshcentral.core.tasks import BlockingPools
from meshcentral.core.websocket.memory import MemorySocket, memory_pair
from meshcentral.plugins.agents import HeldAgent
from meshcentral.plugins.documents import DeviceGroup
from meshcentral.plugins.errors import SocketClosed
from meshcentral.plugins.events import EVERYTHING, Redaction, SessionControl
from meshcentral.plugins.server import Pool
from meshcentral.plugins.testing.agents import FakeAgent
from meshcentral.plugins.web import Connection
from meshcentral_protocol.identifiers import encode_base64
from meshcentral_protocol.keys import AgentKey

GROUP = f"mesh//{encode_base64(bytes(range(48)))}"


async def until(condition: Callable[[], object]) -> None:
    """Let other tasks run until the condition holds."""
    async with asyncio.timeout(20):
        while True:
            if condition():
                return
            await asyncio.sleep(0)


class FixedClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.time = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def milliseconds(self) -> int:
        return int(self.time.timestamp() * 1000)

    def monotonic(self) -> float:
        return self.time.timestamp()

    def advance(self, **by: float) -> None:
        self.time += timedelta(**by)


@dataclass
class HookLog:
    """The hooks that were called. `block` makes the next call of one of them wait for ever."""

    calls: list[tuple[str, str, str]] = field(default_factory=list)
    block: str | None = None

    async def notify(self, name: str, /, **arguments: Any) -> None:
        self.calls.append((name, arguments["agent"].node_id, arguments.get("reason", "")))
        if name == self.block:
            self.block = None
            await asyncio.get_running_loop().create_future()


@dataclass
class EventLog:
    """A subscriber that keeps every event."""

    events: list[dict[str, Any]] = field(default_factory=list)

    def deliver(self, message: bytes) -> bool:
        self.events.append(json.loads(message)["event"])
        return True

    def control(self, signal: SessionControl) -> None: ...
    def overflowed(self) -> None: ...
    def sees(self, redaction: Redaction, event: Mapping[str, Any]) -> bool:
        return True

    @property
    def actions(self) -> list[str]:
        return [event["action"] for event in self.events]

    def take(self, action: str) -> dict[str, Any]:
        """The only event of this kind; the log is empty afterwards."""
        (found,) = (event for event in self.events if event["action"] == action)
        self.events.clear()
        return found


@dataclass
class Host:
    """Implements `core.agents.host.AgentHost`."""

    certificates: CertificateStore
    store: DocumentStore
    bus: EventBus
    clock: FixedClock
    pools: BlockingPools
    hooks: HookLog = field(default_factory=HookLog)

    async def run_blocking(self, function: Callable[[], Any], *, pool: Pool = "general") -> Any:
        return await self.pools.run(function, pool=pool)


@dataclass
class House:
    """Everything that a test needs."""

    host: Host
    agents: Agents
    seen: EventLog
    agent_keys: list[AgentKey]

    @property
    def web_hash(self) -> bytes:
        return self.host.certificates.web.hashes.full

    def group(self, **fields: Any) -> DeviceGroup:
        """Store the device group that agents are installed for."""
        group = DeviceGroup(**{"id": GROUP, "name": "Lab", **fields})
        self.host.store.note(group)
        return group

    def agent(self, number: int = 0, **options: Any) -> FakeAgent:
        """A simulated agent; agents of one number are one device."""
        options = {"server_id": self.host.certificates.agent_server_hash, "group_id": GROUP, **options}
        return FakeAgent(self.agent_keys[number], **options)

    def sockets(self, **connection: Any) -> tuple[MemorySocket, MemorySocket]:
        facts = {"remote_address": "192.0.2.7", "remote_port": 50000, **connection}
        return memory_pair(Connection(method="GET", path="/agent.ashx", query={}, headers={}, secure=True, **facts))

    async def let_in(
        self, agent: FakeAgent, *, fast: bool | None = None, web_hash: bytes | None = None, **connection: Any
    ) -> ConnectedAgent:
        """Connect an agent that must be let in; returns its session."""
        client, served = self.sockets(**connection)
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            accepted = tasks.create_task(self.agents.accept(served))
            await agent.attach(client, web_hash or self.web_hash, fast=fast)
        session = accepted.result()
        assert session is not None
        return session

    async def see_off(self, session: ConnectedAgent, reason: str = "left") -> None:
        """What a handler does when its socket ends."""
        session.socket.close()
        await self.agents.release(session, reason)

    @contextlib.asynccontextmanager
    async def held(
        self, agent: FakeAgent, web_hash: bytes | None = None, **connection: Any
    ) -> AsyncIterator[HeldAgent]:
        """Connect an agent that must be held; yields its entry while it waits, then makes it leave."""
        client, served = self.sockets(**connection)
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            accepted = tasks.create_task(self.agents.accept(served))
            attempt = tasks.create_task(self.attempt(agent, client, web_hash or self.web_hash))
            await until(lambda: self.agents.waiting == 1 or accepted.done())
            assert not accepted.done()
            yield self.agents.held[-1]
            assert not served.closed
            assert not accepted.done()
            client.close()
        assert accepted.result() is None
        assert attempt.result() is False

    @staticmethod
    async def attempt(agent: FakeAgent, client: MemorySocket, web_hash: bytes) -> bool:
        """Connect an agent; False when the socket ends before it is let in."""
        try:
            await agent.attach(client, web_hash)
        except SocketClosed:
            return False
        return True


@pytest.fixture(name="until")
def provide_until() -> Callable[[Callable[[], object]], Awaitable[None]]:
    return until


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> CertificateStore:
    paths = DataPaths.at(tmp_path_factory.mktemp("certificates"))
    paths.create()
    return CertificateStore.load(paths, CertificateSettings("mesh.example.com", fast=True), SystemClock())


@pytest.fixture(scope="session")
def agent_keys() -> list[AgentKey]:
    return [AgentKey.generate(2048) for _ in range(2)]


@pytest.fixture
def pools() -> Iterator[BlockingPools]:
    pools = BlockingPools(processors=1)
    yield pools
    pools.close()


@pytest.fixture
async def house(
    certificates: CertificateStore, agent_keys: list[AgentKey], pools: BlockingPools
) -> AsyncIterator[House]:
    clock = FixedClock()
    store = await DocumentStore.open(None, clock=clock)
    bus = EventBus(record=store.record_event, clock=clock)
    host = Host(certificates, store, bus, clock, pools)
    house = House(host, Agents(host), EventLog(), agent_keys)
    for domain in ("", "tenant"):
        bus.subscribe(house.seen, [EVERYTHING], domain=domain)
    yield house
    await store.close()
