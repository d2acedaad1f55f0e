from __future__ import annotations

import asyncio

import pytest

from meshcentral.core.agents import registry
from meshcentral.core.agents.reconnects import MAX_TROUBLE
from meshcentral_protocol.agent_commands import CoreModule
from meshcentral_protocol.handshake import AUTH_CONFIRM

TEMPORARY = 0x20
CLEAR_CORE = CoreModule().encode()


@pytest.mark.parametrize("capabilities", [0x118, 0x118 | TEMPORARY])
async def test_the_newest_session_of_a_device_wins(house, capabilities):
    house.group()
    agent = house.agent(capabilities=capabilities)
    older = await house.let_in(agent)
    house.seen.events.clear()
    house.host.hooks.calls.clear()
    newer = await house.let_in(house.agent(capabilities=capabilities))

    assert house.agents.get(agent.node_id()) is newer
    assert (older.superseded, newer.superseded) == (True, False)
    assert not older.socket.closed
    assert house.seen.actions == ["nodeconnect"]
    assert house.seen.take("nodeconnect")["conn"] == 1
    assert house.host.hooks.calls == [("on_agent_disconnected", agent.node_id(), "superseded")]

    await house.see_off(older)
    assert house.agents.get(agent.node_id()) is newer
    assert not newer.socket.closed
    assert house.seen.events == []
    assert house.host.store.devices.get(agent.node_id()) is not None


async def test_connections_that_supersede_each_other_are_a_storm_too(house):
    """One key could otherwise open sessions without end: none of them ever disconnects."""
    house.group()
    for _ in range(MAX_TROUBLE + 2):  # the first one supersedes nobody
        await house.let_in(house.agent())
    client, served = house.sockets()
    async with asyncio.TaskGroup() as tasks:
        accepted = tasks.create_task(house.agents.accept(served))
        await house.agent().attach(client, house.web_hash)
        assert await client.receive() == CLEAR_CORE
        client.close()
    assert accepted.result() is None


async def test_an_agent_of_an_unknown_group_waits(house):
    agent = house.agent()
    async with house.held(agent) as held:
        assert (held.reason, held.node_id, held.host_name) == ("unknown-group", agent.node_id(), "simulated")
        assert held.remote_address == "192.0.2.7"
        assert [frame[:2] for frame in agent.frames] == [b"\0\1", b"\0\2"]
        event = house.seen.take("agentheld")
        assert (event["reason"], event["nodeid"]) == ("unknown-group", agent.node_id())
    assert len(house.host.store.devices) == 0


async def test_a_held_agent_is_announced_once_and_forgotten_when_it_comes_in(house):
    for _ in range(2):
        async with house.held(house.agent()):
            assert len(house.agents.held) == 1
    assert house.seen.actions == ["agentheld"]
    house.group()
    await house.let_in(house.agent())
    assert house.agents.held == ()


async def test_a_group_that_takes_no_agents(house):
    house.group(group_type=1)
    async with house.held(house.agent()) as held:
        assert held.reason == "wrong-group-type"


async def test_an_agent_of_another_server_is_sent_away(house):
    """Only then does it try the next of its servers."""
    client, served = house.sockets()
    async with asyncio.TaskGroup() as tasks:
        accepted = tasks.create_task(house.agents.accept(served))
        attempt = tasks.create_task(house.attempt(house.agent(server_id=bytes(48)), client, house.web_hash))
    assert accepted.result() is None
    assert attempt.result() is False
    assert served.closed
    assert [held.reason for held in house.agents.held] == ["wrong-server"]


async def test_malformed_messages_are_held_and_what_follows_is_discarded(house, monkeypatch):
    monkeypatch.setattr(registry, "HELD_MESSAGES", 5)
    client, served = house.sockets()
    async with asyncio.TaskGroup() as tasks:
        accepted = tasks.create_task(house.agents.accept(served))
        for message in (b"\0\1short", "text", b"\0\4", b"", "{}", b"last"):
            client.send(message)
    assert accepted.result() is None
    assert served.closed
    assert [held.reason for held in house.agents.held] == ["protocol-error"]


async def test_a_held_agent_may_not_send_much(house, monkeypatch):
    monkeypatch.setattr(registry, "HELD_BYTES", 1000)
    client, served = house.sockets()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(house.agents.accept(served))
        client.send(b"")
        client.send(bytes(1001))
    assert served.closed


async def test_held_agents_are_let_go_after_a_while(house, monkeypatch):
    monkeypatch.setattr(registry, "HOLD_SECONDS", 0.0)
    client, served = house.sockets()
    client.send(b"")
    assert await house.agents.accept(served) is None
    assert client.closed


async def test_no_more_than_so_many_are_held(house, monkeypatch):
    monkeypatch.setattr(registry, "MAX_HOLDING", 0)
    client, served = house.sockets()
    client.send(b"")
    assert await house.agents.accept(served) is None
    assert client.closed


async def flap(house, times):
    agent = house.agent()
    for _ in range(times):
        await house.see_off(await house.let_in(agent))
    agent.frames.clear()
    return agent


async def test_four_reconnects_are_nothing_special(house):
    house.group()
    agent = await flap(house, 4)
    assert await house.let_in(agent)


async def test_an_agent_that_comes_too_often_gets_its_core_cleared(house):
    house.group()
    agent = await flap(house, 5)
    client, served = house.sockets()
    async with asyncio.TaskGroup() as tasks:
        accepted = tasks.create_task(house.agents.accept(served))
        await agent.attach(client, house.web_hash)
        assert await client.receive() == CLEAR_CORE
        assert house.agents.held[-1].reason == "too-many-reconnects"
        assert len(house.agents) == 0
        client.close()
    assert accepted.result() is None


async def test_an_agent_that_storms_is_not_let_in_until_the_window_has_passed(house):
    house.group()
    agent = await flap(house, 4)
    for _ in range(3):
        house.agents._reconnects.disconnected(agent.node_id(), house.host.clock.monotonic())
    async with house.held(agent) as held:
        assert held.reason == "too-many-reconnects"
        assert AUTH_CONFIRM not in agent.frames
    house.host.clock.advance(seconds=121)
    assert await house.let_in(agent)
