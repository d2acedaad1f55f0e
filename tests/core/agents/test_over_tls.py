"""The whole way: TLS listener, WebSocket codec, authentication, and back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from meshcentral.core.listeners import Listeners
from meshcentral.core.tasks import Tasks
from meshcentral.core.tls import make_context
from meshcentral.plugins.errors import SocketClosed
from meshcentral.plugins.testing.agents import FakeAgent, HandshakeRefused, any_certificate
from meshcentral.plugins.web import Access, Socket, SocketRoute
from meshcentral_protocol.agent_commands import CoreHash
from meshcentral_protocol.handshake_messages import AuthRequest
from meshcentral_protocol.keys import AgentKey


@dataclass
class Endpoint:
    """`agent.ashx` on a loopback port; keeps what agents say."""

    house: object
    url: str = ""
    said: asyncio.Queue[str | bytes] = field(default_factory=asyncio.Queue)

    async def serve(self, socket: Socket) -> None:
        session = await self.house.agents.accept(socket)
        if session is None:
            return
        try:
            while True:
                self.said.put_nowait(await socket.receive())
        except SocketClosed:
            pass
        finally:
            await self.house.agents.release(session, "closed")


async def no_pages(*_: object) -> None:
    raise AssertionError("these tests fetch no pages")


@pytest.fixture
async def endpoint(house) -> AsyncIterator[Endpoint]:
    endpoint, tasks = Endpoint(house), Tasks()
    certificates = house.host.certificates
    listeners = Listeners(
        app=no_pages,
        sockets=[SocketRoute("/agent.ashx", endpoint.serve, Access.AGENT)],
        domains=["", "tenant"],
        origins=frozenset,
        shown_certificates=lambda: tuple(certificates.web_hashes),
        spawn=tasks.spawn,
    )
    context = make_context("intermediate", certificates.web_files())
    port = await listeners.open_tls(["127.0.0.1"], 0, context)
    endpoint.url = f"wss://127.0.0.1:{port}/agent.ashx"
    yield endpoint
    await listeners.drain(5)
    await tasks.cancel_all(5)


async def test_slow_then_fast(house, endpoint, until):
    house.group()
    agent = house.agent(tag="desk")
    async with agent.connected(endpoint.url):
        session = house.agents.get(agent.node_id())
        assert not session.fast_path
        assert session.shown_certificate == agent.web_hash
        assert session.shown_certificate in {hashes.full for hashes in house.host.certificates.web_hashes}
        session.send_command(CoreHash().encode())
        assert [await endpoint.said.get() for _ in range(2)] == [b"\0\x0fdesk", b"\0\x0b\0\0"]
        session.send_json({"action": "ping"})
        assert await endpoint.said.get() == '{"action": "pong"}'
    await until(lambda: not len(house.agents))
    async with agent.connected(endpoint.url):
        assert house.agents.get(agent.node_id()).fast_path


async def test_the_server_hangs_up(house, endpoint):
    house.group()
    agent = house.agent()
    async with agent.connected(endpoint.url):
        house.agents.get(agent.node_id()).disconnect("maintenance")
        with pytest.raises(SocketClosed):
            await agent.until(lambda _: False)


async def test_an_agent_of_another_server_is_sent_away(house, endpoint):
    with pytest.raises(SocketClosed):
        await house.agent(server_id=bytes(48)).connect(endpoint.url)


async def test_an_attacker_in_the_middle_gets_no_signature_and_no_agent(house, until):
    """It shows the agent a certificate of its own, so it can neither pass the agent's hash on nor name ours."""
    house.group()
    attackers = b"\x66" * 48
    async with house.held(house.agent(), web_hash=attackers) as held:
        assert held.reason == "unknown-web-certificate"

    agent = house.agent()
    client, attacker = house.sockets()
    attacker.send(AuthRequest(house.web_hash, bytes(48)).encode())
    with pytest.raises(HandshakeRefused, match="unknown-web-certificate"):
        await agent.attach(client, attackers)
    assert not agent.verified


@pytest.mark.slow
async def test_a_storm_of_agents(house, endpoint, until):
    house.group()
    context = any_certificate()
    keys = [AgentKey.generate(2048) for _ in range(40)]
    agents = [
        FakeAgent(key, server_id=house.host.certificates.agent_server_hash, group_id=house.group().id) for key in keys
    ]
    for fast in (False, True):
        await asyncio.gather(*(agent.connect(endpoint.url, context=context) for agent in agents))
        assert {session.node_id for session in house.agents} == {agent.node_id() for agent in agents}
        assert all(session.fast_path is fast for session in house.agents)
        await asyncio.gather(*(agent.close() for agent in agents))
        await until(lambda: not len(house.agents))
