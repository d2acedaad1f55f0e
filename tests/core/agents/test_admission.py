from __future__ import annotations

from meshcentral.plugins.documents import DeviceAgent
from meshcentral_protocol.handshake import AUTH_CONFIRM
from meshcentral_protocol.identifiers import encode_base64

RECOVERY = 0x40
OTHER_GROUP = f"mesh//{encode_base64(bytes(reversed(range(48))))}"


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
    await house.see_off(await house.let_in(agent))
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
    await house.see_off(await house.let_in(agent))
    house.seen.events.clear()
    house.host.clock.advance(minutes=5)
    session = await house.let_in(agent)
    assert house.seen.actions == ["nodeconnect"]
    assert session.device.last_connected == house.host.clock.milliseconds()
    assert session.device.first_connected < session.device.last_connected


async def test_what_changed_is_stored_and_announced(house):
    house.group()
    await house.see_off(await house.let_in(house.agent(host_name="before")))
    house.seen.events.clear()
    session = await house.let_in(house.agent(host_name="after"), remote_address="192.0.2.8")
    assert (session.device.host_name, session.device.address, session.device.name) == ("after", "192.0.2.8", "before")
    changed = house.seen.take("changenode")
    assert changed["node"]["rname"] == "after"
    assert "rname, ip" in changed["msg"]


async def test_a_group_can_make_devices_follow_their_host_name(house):
    house.group(flags=2)
    await house.see_off(await house.let_in(house.agent(host_name="before")))
    session = await house.let_in(house.agent(host_name="after"))
    assert session.device.name == "after"


async def test_a_core_may_have_added_capabilities(house):
    house.group()
    agent = house.agent()
    session = await house.let_in(agent)
    await house.see_off(session)
    device = house.host.store.devices.get(agent.node_id())
    house.host.store.note(device.with_(agent=DeviceAgent(version=0, type_id=6, capabilities=0x1F, core="core 1")))
    session = await house.let_in(agent)
    assert (session.device.agent.capabilities, session.device.agent.core) == (0x1F, "core 1")


async def test_the_stored_group_wins(house):
    house.group()
    house.group(id=OTHER_GROUP, name="Other")
    await house.see_off(await house.let_in(house.agent()))
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
    await house.see_off(session)
    device = house.host.store.devices.get(agent.node_id())
    secrets = {"intelamt": {"user": "admin", "pass": "secret"}, "pmt": "secret", "ssh": {"u": {"p": "secret"}}}
    house.host.store.note(device.with_(**secrets))
    house.seen.events.clear()
    session = await house.let_in(house.agent(host_name="renamed"))
    node = house.seen.take("changenode")["node"]
    assert (node["intelamt"], node["pmt"]) == ({"user": "admin", "pass": 1}, 1)
    assert "ssh" not in node
    assert session.device.model_extra["intelamt"]["pass"] == "secret"


async def test_a_recovery_agent_needs_no_group_and_is_no_device(house):
    agent = house.agent(capabilities=0x118 | RECOVERY)
    session = await house.let_in(agent)
    assert agent.frames[-1] == AUTH_CONFIRM
    assert house.agents.get(agent.node_id()) is session
    assert session.device.name == "simulated"
    assert len(house.host.store.devices) == 0
    await house.see_off(session)
    assert house.seen.events == []
