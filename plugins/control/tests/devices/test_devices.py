"""Devices over the control channel: lists with live values, changes, removal, stored events."""

from __future__ import annotations

import json
import time

import pytest

from meshcentral.plugins import rights
from meshcentral.plugins.documents import Device, Link
from meshcentral.plugins.store import AuditEntry
from meshcentral_protocol.identifiers import encode_base64


async def test_lists_hold_what_is_visible_by_group(control):
    alice, bob = await control.user("alice"), await control.user("bob")
    first, second = await control.group(alice, "One"), await control.group(bob, "Two")
    mine = await control.device(first, 1)
    await control.device(second, 2)
    shared = await control.device(second, 3)
    user = control.server.store.users.get("user//alice")
    async with control.server.store.change(AuditEntry("server", "test")) as change:
        change.update(user, links={**user.links, shared.id: Link(rights=8)})
    nodes = (await alice.request("nodes"))["nodes"]
    assert {group: [node["_id"] for node in rows] for group, rows in nodes.items()} == {
        first: [mine.id],
        second: [shared.id],
    }
    row = nodes[first][0]
    assert "meshid" not in row
    assert "type" not in row
    assert "conn" not in row
    assert (await alice.request("nodes", meshname="One"))["nodes"].keys() == {first}
    assert (await alice.request("nodes", id=mine.id))["nodes"].keys() == {first}
    assert (await alice.request("nodes", id=encode_base64((2).to_bytes(48, "big"))))["nodes"] == {}
    for absent in (second, "mesh//" + "Z" * 64, "nonsense"):
        reply = await alice.request("nodes", meshid=absent)
        assert (reply["result"], reply["code"]) == ("Invalid group id", "not_found")
    assert len((await control.local.request("nodes"))["nodes"]) == 2


async def test_rows_follow_changes(control):
    group_id = await control.group()
    device = await control.device(group_id)
    assert (await control.local.request("nodes"))["nodes"][group_id][0]["name"] == "device 1"
    control.server.store.note(device.with_(name="telemetry"))
    assert (await control.local.request("nodes"))["nodes"][group_id][0]["name"] == "telemetry"
    control.server.store.note_deleted(device)
    assert (await control.local.request("nodes"))["nodes"] == {}


async def test_secrets_are_masked_in_lists_and_events(control):
    alice, bob = await control.user("alice"), await control.user("bob")
    group_id = await control.group(alice)
    login = {"u": "root", "p": "L-SECRET"}
    body = {
        "_id": f"node//{'S' * 64}",
        "meshid": group_id,
        "name": "pc",
        "intelamt": {"user": "admin", "pass": "A-SECRET", "mpspass": "M-SECRET", "tls": 1},
        "pmt": "P-SECRET",
        "ssh": {"user//alice": {**login, "k": "K-SECRET", "kp": "KP-SECRET"}, "user//bob": login},
        "rdp": {"user//bob": login},
        "gpsloc": "G-SECRET",
    }
    users = control.server.store.users
    async with control.server.store.change(AuditEntry("server", "test")) as change:
        change.put(Device.from_stored(body))
        change.update(users.get("user//bob"), links={group_id: Link(rights=rights.ALL)})
    replies = [(await who.request("nodes"))["nodes"][group_id][0] for who in (alice, bob, control.local)]
    await alice.request("changedevice", nodeid=body["_id"], name="new")
    event = await alice.event("changenode")
    assert "SECRET" not in json.dumps([*replies, event])
    assert [(row.get("ssh"), row.get("rdp")) for row in replies] == [(2, None), (1, 1), (None, None)]
    assert replies[0]["intelamt"] == {"user": "admin", "pass": 1, "mpspass": 1, "tls": 1}
    assert replies[0]["pmt"] == 1


async def test_changing_a_device(control):
    alice = await control.user("alice")
    group_id = await control.group(alice)
    device = await control.device(group_id)
    reply = await alice.request(
        "changedevice", nodeid=device.id, name=" Büro-PC ", icon=3, desc="<b>text</b>", tags="b, a ,,b"
    )
    assert reply["result"] == "ok"
    changed = control.server.store.devices.get(device.id)
    assert (changed.name, changed.icon, changed.description, changed.tags) == (
        "Büro-PC",
        3,
        "<b>text</b>",
        ("a", "b"),
    )
    event = await alice.event("changenode")
    assert event["msgid"] == 140
    assert event["node"]["meshid"] == group_id
    await alice.request("changedevice", nodeid=device.id, desc="", tags=[])
    changed = control.server.store.devices.get(device.id)
    assert (changed.description, changed.tags) == (None, None)


@pytest.mark.parametrize(
    "members", [{"icon": 0}, {"icon": 9}, {"name": ""}, {"tags": ["x" * 64]}, {"tags": [1]}, {"desc": {}}]
)
async def test_bad_values_change_nothing(control, members):
    group_id = await control.group()
    device = await control.device(group_id)
    reply = await control.local.request("changedevice", nodeid=device.id, **members)
    assert reply["result"] == f"Invalid {next(iter(members))}"
    assert reply["hint"]
    assert control.server.store.devices.get(device.id) is device


async def test_removing_devices_answers_for_each(control):
    alice = await control.user("alice")
    group_id = await control.group(alice)
    devices = [await control.device(group_id, number) for number in (1, 2)]
    user = control.server.store.users.get("user//alice")
    async with control.server.store.change(AuditEntry("server", "test")) as change:
        change.update(user, links={**user.links, devices[0].id: Link(rights=8)})
    await alice.send({"action": "removedevices", "nodeids": [device.id for device in devices], "responseid": "r"})
    replies = [await alice.wait_for(lambda message: message.get("responseid") == "r") for _ in devices]
    assert [(reply["result"], reply["nodeid"]) for reply in replies] == [("ok", device.id) for device in devices]
    assert len(control.server.store.devices) == 0
    assert devices[0].id not in control.server.store.users.get("user//alice").links
    assert (await alice.event("removenode"))["msgid"] == 87
    empty = await alice.request("removedevices", nodeids=[])
    assert empty["result"] == "Invalid nodeid"


async def test_last_connect(control):
    group_id = await control.group()
    seen = await control.device(group_id, 1, last_connected=1_700_000_000_000, last_address="192.0.2.1:5")
    never = await control.device(group_id, 2)
    reply = await control.local.request("lastconnect", nodeid=seen.id)
    assert (reply["time"], reply["addr"]) == (1_700_000_000_000, "192.0.2.1:5")
    assert (await control.local.request("lastconnect", nodeid=never.id))["result"] == "No data"
    absent = await control.local.request("lastconnect", nodeid="nonsense")
    assert (absent["result"], absent["noinfo"]) == ("Invalid device id", True)
    assert (await control.local.request("lastconnects"))["lastconnects"] == {seen.id: 1_700_000_000_000}


async def test_stored_events_are_those_one_may_see(control):
    alice, bob = await control.user("alice"), await control.user("bob")
    group_id = await control.group(alice)
    device = await control.device(group_id)
    for number in range(3):
        await alice.request("changedevice", nodeid=device.id, name=f"name {number}")
    await control.server.store.flush()
    events = (await alice.request("events", nodeid=device.id))["events"]
    assert [event["node"]["name"] if "node" in event else event["msgArgs"][0] for event in events] == [
        "name 2",
        "name 1",
        "name 0",
    ]
    assert not {"ids", "_id", "domain", "type", "etype", "nodeid"} & events[0].keys()
    assert isinstance(events[0]["time"], str)
    assert len((await alice.request("events", limit=2))["events"]) == 2
    assert {event["action"] for event in (await alice.request("events", filter="createmesh"))["events"]} == {
        "createmesh"
    }
    assert (await bob.request("events", nodeid=device.id))["events"] == []
    assert (await bob.request("events"))["events"] == [
        event for event in (await bob.request("events"))["events"] if event.get("account", {}).get("_id") == "user//bob"
    ]
    assert (await bob.request("events", userid="user//alice"))["result"] == "Access denied"
    own = (await alice.request("events", user="user//alice"))["events"]
    assert {event["userid"] for event in own} == {"user//alice", "local"}
    assert (await control.local.request("events", limit=0))["result"] == "Invalid limit"


@pytest.mark.slow
async def test_ten_thousand_devices_are_listed_fast(control):
    alice = await control.user("alice")
    group_id = await control.group(alice)
    for number in range(10_000):
        control.server.store.note(
            Device(id=f"node//{encode_base64(number.to_bytes(48, 'big'))}", group_id=group_id, name=f"device {number}")
        )
    first = (await alice.request("nodes"))["nodes"][group_id]
    started = time.perf_counter()
    again = (await alice.request("nodes"))["nodes"][group_id]
    print(f"nodes with 10,000 devices: {(time.perf_counter() - started) * 1000:.0f} ms with the client")
    assert len(first) == len(again) == 10_000
