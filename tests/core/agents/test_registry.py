from __future__ import annotations

import asyncio

import pytest

from meshcentral.core.agents import authentication, registry
from meshcentral.plugins.documents import DeviceAgent
from meshcentral_protocol.agent_commands import CoreModule
from meshcentral_protocol.handshake import AUTH_CONFIRM
from meshcentral_protocol.handshake_messages import AgentName, AuthInfo, AuthRequest, AuthVerify
from meshcentral_protocol.identifiers import encode_base64

TEMPORARY, RECOVERY = 0x20, 0x40
OTHER_GROUP = f"mesh//{encode_base64(bytes(reversed(range(48))))}"
CLEAR_CORE = CoreModule().encode()


class Forger:
    """Has the certificate, but signs something else."""

    def __init__(self, identity):
        self.certificate_der = identity.certificate_der
        self._identity = identity

    def sign(self, data):
        return self._identity.sign(data[::-1])


async def leave(house, session, reason="left"):
    session.socket.close()
    await house.agents.release(session, reason)


# -- letting in ---------------------------------------------------------------------------------------------------


async def test_a_new_agent_becomes_a_device(house):
    house.group()
    agent = house.agent(host_name="lab-7", agent_name="Front desk")
    session = await house.let_in(agent)

    assert [frame[:2] for frame in agent.frames] == [b"\0\1", b"\0\2", b"\0\4"]
    assert agent.frames[-1] == AUTH_CONFIRM
    assert agent.verified
    device = house.host.store.devices.get(agent.node_id())
    now = house.host.clock.milliseconds()
    assert device.to_stored() == {
        "_id": agent.node_id(),
        "type": "node",
        "domain": "",
        "meshid": session.group_id,
        "mtype": 2,
        "name": "Front desk",
        "rname": "lab-7",
        "icon": 1,
        "ip": "192.0.2.7",
        "agent": {"ver": 0, "id": 6, "caps": 0x118},
        "firstconnect": now,
        "lastconnect": now,
        "lastaddr": "192.0.2.7:50000",
        "links": {},
        "consent": 0,
    }
    assert house.seen.actions == ["addnode", "nodeconnect"]
    added, connected = house.seen.events
    assert added["node"]["name"] == "Front desk"
    assert added["nodeid"] == agent.node_id()
    assert {name: connected[name] for name in ("nodeid", "meshid", "conn", "pwr", "ct")} == {
        "nodeid": agent.node_id(),
        "meshid": session.group_id,
        "conn": 1,
        "pwr": 1,
        "ct": now,
    }
    assert house.host.hooks.calls == [("on_agent_connected", agent.node_id(), "")]

    assert house.agents.get(agent.node_id()) is session
    assert list(house.agents) == [session]
    assert len(house.agents) == 1
    assert session.device is device
    assert (session.domain, session.type_id, session.capabilities) == ("", 6, 0x118)
    assert (session.remote_address, session.fast_path) == ("192.0.2.7", False)
    assert session.connected_at == house.host.clock.now()


async def test_the_second_connection_takes_the_fast_path(house):
    house.group()
    agent = house.agent()
    await leave(house, await house.let_in(agent))
    agent.frames.clear()
    session = await house.let_in(agent)
    assert session.fast_path
    assert [frame[:2] for frame in agent.frames] == [b"\0\1", b"\0\4"]


async def test_the_domain_is_that_of_the_connection(house):
    group = f"mesh/tenant/{encode_base64(bytes(range(48)))}"
    house.group(id=group, domain="tenant")
    agent = house.agent()
    session = await house.let_in(agent, domain="tenant")
    assert (session.node_id, session.domain, session.group_id) == (agent.node_id("tenant"), "tenant", group)
    assert {event["domain"] for event in house.seen.events} == {"tenant"}


async def test_the_key_hash_of_the_outer_certificate_stands_for_the_full_one(house):
    house.group()
    hashes = house.host.certificates.web.hashes
    session = await house.let_in(house.agent(), web_hash=hashes.key)
    assert session.shown_certificate == hashes.full


async def test_an_unchanged_device_is_not_announced_again(house):
    house.group()
    agent = house.agent()
    await leave(house, await house.let_in(agent))
    house.seen.events.clear()
    house.host.clock.advance(minutes=5)
    session = await house.let_in(agent)
    assert house.seen.actions == ["nodeconnect"]
    assert session.device.last_connected == house.host.clock.milliseconds()
    assert session.device.first_connected < session.device.last_connected


async def test_what_changed_is_stored_and_announced(house):
    house.group()
    await leave(house, await house.let_in(house.agent(host_name="before")))
    house.seen.events.clear()
    session = await house.let_in(house.agent(host_name="after"), remote_address="192.0.2.8")
    assert (session.device.host_name, session.device.address, session.device.name) == ("after", "192.0.2.8", "before")
    changed = house.seen.take("changenode")
    assert changed["node"]["rname"] == "after"
    assert "rname, ip" in changed["msg"]


async def test_a_group_can_make_devices_follow_their_host_name(house):
    house.group(flags=2)
    await leave(house, await house.let_in(house.agent(host_name="before")))
    session = await house.let_in(house.agent(host_name="after"))
    assert session.device.name == "after"


async def test_a_core_may_have_added_capabilities(house):
    house.group()
    agent = house.agent()
    session = await house.let_in(agent)
    await leave(house, session)
    device = house.host.store.devices.get(agent.node_id())
    house.host.store.note(device.with_(agent=DeviceAgent(version=0, type_id=6, capabilities=0x1F, core="core 1")))
    session = await house.let_in(agent)
    assert (session.device.agent.capabilities, session.device.agent.core) == (0x1F, "core 1")


async def test_the_stored_group_wins(house):
    house.group()
    house.group(id=OTHER_GROUP, name="Other")
    await leave(house, await house.let_in(house.agent()))
    session = await house.let_in(house.agent(group_id=OTHER_GROUP))
    assert session.group_id != OTHER_GROUP


async def test_a_deleted_group_comes_back_with_its_agent(house):
    group = house.group(deleted="2029-01-01T00:00:00Z", kvm={"user": "u", "pass": "secret"})
    await house.let_in(house.agent())
    assert house.host.store.groups.get(group.id).deleted is None
    assert house.seen.actions == ["createmesh", "addnode", "nodeconnect"]
    back = house.seen.take("createmesh")
    assert back["mesh"]["kvm"] == {"user": "u", "pass": 1}


async def test_stored_secrets_are_not_announced(house):
    house.group()
    agent = house.agent()
    session = await house.let_in(agent)
    await leave(house, session)
    device = house.host.store.devices.get(agent.node_id())
    secrets = {"intelamt": {"user": "admin", "pass": "secret"}, "pmt": "secret", "ssh": {"u": {"p": "secret"}}}
    house.host.store.note(device.with_(**secrets))
    house.seen.events.clear()
    session = await house.let_in(house.agent(host_name="renamed"))
    node = house.seen.take("changenode")["node"]
    assert (node["intelamt"], node["pmt"], node["ssh"]) == ({"user": "admin", "pass": 1}, 1, 1)
    assert session.device.model_extra["intelamt"]["pass"] == "secret"


async def test_a_recovery_agent_needs_no_group_and_is_no_device(house):
    agent = house.agent(capabilities=0x118 | RECOVERY)
    session = await house.let_in(agent)
    assert agent.frames[-1] == AUTH_CONFIRM
    assert house.agents.get(agent.node_id()) is session
    assert session.device.name == "simulated"
    assert len(house.host.store.devices) == 0
    await leave(house, session)
    assert house.seen.events == []


# -- sending ------------------------------------------------------------------------------------------------------


async def test_everything_to_an_agent_is_a_binary_frame(house):
    house.group()
    client, served = house.sockets()
    async with asyncio.TaskGroup() as tasks:
        accepted = tasks.create_task(house.agents.accept(served))
        await house.agent().attach(client, house.web_hash)
    session = accepted.result()
    session.send_json({"action": "ping", "text": "ä"})
    session.send_command(CLEAR_CORE)
    assert await client.receive() == b'{"action":"ping","text":"\\u00e4"}'
    assert await client.receive() == CLEAR_CORE
    session.disconnect("x" * 500)
    assert client.closed
    session.send_json({})


# -- leaving ------------------------------------------------------------------------------------------------------


async def test_a_disconnect_is_announced_once(house):
    house.group()
    session = await house.let_in(house.agent())
    house.seen.events.clear()
    house.host.hooks.calls.clear()
    house.host.clock.advance(hours=1)
    await leave(house, session, "gone")
    await leave(house, session, "again")
    assert len(house.agents) == 0
    event = house.seen.take("nodeconnect")
    assert (event["conn"], event["pwr"], "ct" in event) == (0, 0, False)
    assert house.host.hooks.calls == [("on_agent_disconnected", session.node_id, "gone")]
    assert session.device.last_connected == house.host.clock.milliseconds()


@pytest.mark.parametrize("flags", [0, 1])
async def test_temporary_devices_vanish(house, flags):
    house.group(flags=flags)
    agent = house.agent(capabilities=0x118 if flags else 0x118 | TEMPORARY)
    session = await house.let_in(agent)
    house.seen.events.clear()
    await leave(house, session)
    assert house.host.store.devices.get(agent.node_id()) is None
    assert house.seen.actions == ["nodeconnect", "removenode"]
    assert house.seen.take("removenode")["nodeid"] == agent.node_id()
    assert session.device.id == agent.node_id()


async def test_a_device_that_was_deleted_meanwhile_stays_deleted(house):
    house.group()
    session = await house.let_in(house.agent())
    house.host.store.note_deleted(session.device)
    await leave(house, session)
    assert len(house.host.store.devices) == 0


# -- duplicates ---------------------------------------------------------------------------------------------------


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
    assert house.host.hooks.calls == [
        ("on_agent_disconnected", agent.node_id(), "superseded"),
        ("on_agent_connected", agent.node_id(), ""),
    ]

    await leave(house, older)
    assert house.agents.get(agent.node_id()) is newer
    assert not newer.socket.closed
    assert house.seen.events == []
    assert house.host.store.devices.get(agent.node_id()) is not None


async def test_a_superseded_session_sends_nothing(house):
    house.group()
    client, served = house.sockets()
    async with asyncio.TaskGroup() as tasks:
        accepted = tasks.create_task(house.agents.accept(served))
        await house.agent().attach(client, house.web_hash)
    await house.let_in(house.agent())
    accepted.result().send_json({"action": "ping"})
    client.close()
    with pytest.raises(Exception, match="closed"):
        await client.receive()


# -- holding ------------------------------------------------------------------------------------------------------


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


async def test_an_unknown_outer_certificate_gets_no_reply(house):
    house.group()
    agent = house.agent()
    async with house.held(agent, web_hash=bytes(48)) as held:
        assert (held.reason, held.node_id) == ("unknown-web-certificate", None)
        assert agent.frames == []


async def test_a_bad_agent_signature_is_held_after_1_and_2(house):
    house.group()
    agent = house.agent()
    agent.identity = Forger(agent.identity)
    async with house.held(agent) as held:
        assert (held.reason, held.node_id) == ("bad-signature", None)
    assert [frame[:2] for frame in agent.frames] == [b"\0\1", b"\0\2"]
    assert len(house.host.store.devices) == 0


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


# -- too many reconnects ------------------------------------------------------------------------------------------


async def flap(house, times):
    agent = house.agent()
    for _ in range(times):
        await leave(house, await house.let_in(agent))
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


# -- half-way -----------------------------------------------------------------------------------------------------


async def test_an_agent_that_leaves_half_way(house):
    client, served = house.sockets()
    client.send(AuthRequest(house.web_hash, bytes(48)).encode())
    client.close()
    assert await house.agents.accept(served) is None
    assert house.agents.held == ()


async def test_a_silent_socket_is_dropped_and_not_reported(house, monkeypatch):
    monkeypatch.setattr(authentication, "HANDSHAKE_SECONDS", 0.0)
    client, served = house.sockets()
    assert await house.agents.accept(served) is None
    assert client.closed
    assert house.agents.held == ()
    assert house.seen.events == []


async def test_silent_sockets_do_not_keep_agents_outside(house, monkeypatch):
    monkeypatch.setattr(authentication, "MAX_UNFINISHED", 2)
    house.group()
    silent = [house.sockets() for _ in range(2)]
    async with asyncio.TaskGroup() as tasks:
        for _, served in silent:
            tasks.create_task(house.agents.accept(served))
        await asyncio.sleep(0)
        await house.let_in(house.agent())
        assert [client.closed for client, _ in silent] == [True, False]
        silent[1][0].close()


async def test_a_cancelled_accept_leaves_no_session(house, until):
    house.group()
    house.host.hooks.block = "on_agent_connected"
    client, served = house.sockets()
    async with asyncio.TaskGroup() as tasks:
        accepted = tasks.create_task(house.agents.accept(served))
        await house.agent().attach(client, house.web_hash)
        await until(lambda: house.host.hooks.calls)
        accepted.cancel()
    assert accepted.cancelled()
    assert len(house.agents) == 0
    assert house.seen.events[-1]["conn"] == 0


async def test_the_name_may_come_as_text_and_the_rest_in_either_order(house):
    """By hand, message 3 before 2, as the real agent does it on the fast path."""
    house.group()
    key = house.agent_keys[1]
    client, served = house.sockets()
    info = AuthInfo(6, bytes(range(48)), 0x118, "host")
    async with asyncio.TaskGroup() as tasks:
        accepted = tasks.create_task(house.agents.accept(served))
        client.send(b"\0\4")
        client.send(AuthRequest(house.web_hash, bytes(48)).encode())
        client.send(AgentName("Front desk").encode().decode())
        client.send(info.encode())
        request = AuthRequest.decode(await client.receive())
        signature = key.sign(house.web_hash + request.nonce + bytes(48))
        client.send(AuthVerify(key.certificate_der, signature).encode())
        assert await client.receive() == AUTH_CONFIRM
    assert accepted.result().device.name == "Front desk"
