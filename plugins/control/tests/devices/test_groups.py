"""Device groups over the control channel."""

from __future__ import annotations

import pytest

from meshcentral.plugins import rights
from meshcentral.plugins.documents import DeviceGroup, Link
from meshcentral.plugins.store import AuditEntry


async def test_a_created_group_is_linked_on_both_sides_and_heard_of(control):
    alice = await control.user("alice")
    reply = await alice.request("createmesh", meshname="  Büro ✓ ", meshtype="2", desc="First floor")
    group = control.server.store.groups.get(reply["meshid"])
    assert reply["links"] == {"user//alice": {"rights": rights.ALL, "name": "alice"}}
    assert (group.name, group.description, group.group_type) == ("Büro ✓", "First floor", 2)
    assert group.creator_id == "user//alice"
    assert control.server.store.users.get("user//alice").links[group.id].rights == rights.ALL
    assert (await alice.event("accountchange"))["account"]["links"].keys() == {group.id}
    for who in (alice, control.local):
        event = await who.event("createmesh")
        assert (event["meshid"], event["mtype"], event["msgid"]) == (group.id, 2, 76)
    await control.device(group.id)
    assert (await alice.request("editmesh", meshid=group.id, meshname="New"))["result"] == "ok"
    assert (await alice.event("meshchange"))["name"] == "New"


async def test_a_group_of_the_local_administrator_belongs_to_all_full_administrators(control):
    root = await control.user("root", admin=True)
    await control.user("alice")
    group_id = await control.group()
    assert control.server.store.groups.get(group_id).links.keys() == {"user//root"}
    assert [group["_id"] for group in (await root.request("meshes"))["meshes"]] == [group_id]
    owned = await control.local.request("createmesh", meshname="Hers", meshtype=2, owner="alice")
    assert owned["links"].keys() == {"user//alice"}


async def test_naming_an_owner_needs_the_right_to_manage_accounts(control):
    alice = await control.user("alice")
    await control.user("bob")
    assert (await alice.request("createmesh", meshname="x", meshtype=2, owner="bob"))["result"] == "Permission denied"
    reply = await control.local.request("createmesh", meshname="x", meshtype=2, owner="nobody")
    assert (reply["result"], reply["code"]) == ("User does not exists", "not_found")


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({}, "Invalid group name"),
        ({"meshname": ""}, "Invalid group name"),
        ({"meshname": "   "}, "Invalid group name"),
        ({"meshname": "a\nb"}, "Invalid group name"),
        ({"meshname": "a\x1b[31mb"}, "Invalid group name"),
        ({"meshname": "a\u202eb"}, "Invalid group name"),
        ({"meshname": "x" * 129}, "Invalid group name"),
        ({"meshname": ["x"]}, "Invalid group name"),
        ({"meshname": "x", "meshtype": 0}, "Invalid group type"),
        ({"meshname": "x", "meshtype": 3}, "Invalid group type"),
        ({"meshname": "x", "meshtype": "many"}, "Invalid group type"),
        ({"meshname": "x", "meshtype": 2, "desc": "x" * 1025}, "Invalid group description"),
    ],
)
async def test_what_is_wrong_is_named(control, members, text):
    reply = await control.local.request("createmesh", **members)
    assert (reply["result"], reply["code"]) == (text, "usage")
    assert len(control.server.store.groups) == 0


async def test_accounts_that_may_not_make_groups(control):
    limited = await control.user("bob", site_rights=rights.SITE_NO_NEW_GROUPS)
    assert (await limited.request("createmesh", meshname="x", meshtype=2))["result"] == "Permission denied"


async def test_editing_by_name_and_clearing(control):
    alice = await control.user("alice")
    group_id = await control.group(alice, "Office")
    assert (await alice.request("editmesh", meshidname="Office", desc="Text"))["result"] == "ok"
    assert control.server.store.groups.get(group_id).description == "Text"
    await alice.request("editmesh", meshid=group_id, desc="")
    assert control.server.store.groups.get(group_id).description is None
    await alice.settle()
    assert (await alice.request("editmesh", meshid=group_id, meshname="Office"))["result"] == "ok"
    assert await alice.settle() == [], "nothing changed, so nothing is announced"


async def test_a_deleted_group_hides_and_takes_its_devices_along(control):
    alice = await control.user("alice")
    group_id = await control.group(alice)
    device = await control.device(group_id)
    assert (await alice.request("deletemesh", meshid=group_id))["result"] == "ok"
    assert (await alice.event("deletemesh"))["meshid"] == group_id
    assert control.server.store.groups.get(group_id).deleted is not None
    assert control.server.store.devices.get(device.id) is None
    for who in (alice, control.local):
        assert (await who.request("meshes"))["meshes"] == []
        assert (await who.request("nodes"))["nodes"] == {}
        for action in ("deletemesh", "editmesh"):
            assert (await who.request(action, meshid=group_id))["result"] == "Invalid group identifier"


async def test_rights_given_and_taken_reach_open_sessions(control):
    alice, bob = await control.user("alice"), await control.user("bob")
    group_id = await control.group(alice)
    device = await control.device(group_id)
    assert (await bob.request("nodes"))["nodes"] == {}

    async def link(mask: int | None) -> None:
        store = control.server.store
        user, group = store.users.get("user//bob"), store.groups.get(group_id)
        links = {} if mask is None else {group_id: Link(rights=mask)}
        members = {name: link for name, link in group.links.items() if name != user.id}
        async with store.change(AuditEntry("server", "test")) as change:
            change.update(user, links=links)
            change.update(group, links=members if mask is None else {**members, user.id: Link(rights=mask)})
        from meshcentral.plugins.events import SessionControl

        control.server.bus.signal(SessionControl.RESUBSCRIBE, [user.id])

    await link(rights.MANAGE_DEVICES)
    assert (await bob.request("changedevice", nodeid=device.id, name="his"))["result"] == "ok"
    assert (await bob.event("changenode"))["node"]["name"] == "his"
    await link(0)
    assert (await bob.request("changedevice", nodeid=device.id, name="x"))["result"] == "Access Denied"
    await link(None)
    await alice.request("changedevice", nodeid=device.id, name="hers")
    assert (await bob.request("nodes"))["nodes"] == {}
    assert [message for message in await bob.settle() if message["action"] == "event"] == []


async def test_events_about_others_are_kept_from_limited_members(control):
    alice, bob = await control.user("alice"), await control.user("bob")
    group_id = await control.group(alice)
    device = await control.device(group_id)
    store = control.server.store
    async with store.change(AuditEntry("server", "test")) as change:
        mask = rights.MANAGE_DEVICES | rights.LIMIT_EVENTS
        change.update(store.users.get("user//bob"), links={group_id: Link(rights=mask)})
    from meshcentral.plugins.events import SessionControl

    control.server.bus.signal(SessionControl.RESUBSCRIBE, ["user//bob"])
    await alice.request("changedevice", nodeid=device.id, name="hers")
    await alice.event("changenode")
    await bob.request("changedevice", nodeid=device.id, name="his")
    events = [message["event"] for message in await bob.settle() if message["action"] == "event"]
    assert [event["node"]["name"] for event in events] == ["his"]
    await store.flush()
    stored = (await bob.request("events", nodeid=device.id))["events"]
    assert {event["userid"] for event in stored} == {"user//bob"}
    everything = (await bob.request("events"))["events"]
    assert "user//alice" not in {event["userid"] for event in everything}


async def test_secrets_of_imported_groups_never_leave(control):
    stored = {
        "_id": f"mesh//{'K' * 64}",
        "name": "AMT",
        "amt": {"type": 2, "password": "A-SECRET"},
        "kvm": {"host": "h", "user": "u", "pass": "K-SECRET"},
    }
    async with control.server.store.change(AuditEntry("server", "test")) as change:
        change.put(DeviceGroup.from_stored(stored))
    group = (await control.local.request("meshes"))["meshes"][0]
    assert (group["amt"], group["kvm"]) == ({"type": 2, "password": 1}, {"host": "h", "user": "u", "pass": 1})
