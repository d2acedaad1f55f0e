from __future__ import annotations

import pytest

TEMPORARY = 0x20


async def test_a_disconnect_is_announced_once(house):
    house.group()
    session = await house.let_in(house.agent())
    house.seen.events.clear()
    house.host.hooks.calls.clear()
    house.host.clock.advance(hours=1)
    await house.see_off(session, "gone")
    await house.see_off(session, "again")
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
    await house.see_off(session)
    assert house.host.store.devices.get(agent.node_id()) is None
    assert house.seen.actions == ["nodeconnect", "removenode"]
    assert house.seen.take("removenode")["nodeid"] == agent.node_id()
    assert session.device.id == agent.node_id()


async def test_a_device_that_was_deleted_meanwhile_stays_deleted(house):
    house.group()
    session = await house.let_in(house.agent())
    house.host.store.note_deleted(session.device)
    await house.see_off(session)
    assert len(house.host.store.devices) == 0
