"""The store's contract (`meshcentral.plugins.store`), on a file and in memory."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from meshcentral.core.store import DatabaseError, DocumentStore
from meshcentral.core.store.behind import INTERVAL
from meshcentral.core.store.tables import AUDIT, POWER
from meshcentral.plugins.documents import Device, DeviceAgent, DeviceGroup, Document, Link, User
from meshcentral.plugins.errors import Busy, NotFound, UsageError
from meshcentral.plugins.store import AuditEntry, Store

if TYPE_CHECKING:
    from conftest import FixedClock, OpenStore

ENTRY = AuditEntry("local", "test", target="mesh//sales", detail={"why": "contract"})
GROUP = DeviceGroup(id="mesh//sales", name="Sales")
USER = User(id="user//admin", name="admin", links={"mesh//sales": Link(rights=0xFFFFFFFF)})
DEVICE = Device(
    id="node//1", group_id="mesh//sales", name="PC", agent=DeviceAgent(version=1), users=("ann",), tags=("a", "b")
)


async def put(store: DocumentStore, *documents: Document) -> None:
    async with store.change(ENTRY) as change:
        for document in documents:
            change.put(document)


def test_the_store_implements_the_public_protocol(store: DocumentStore) -> None:
    public: Store = store
    assert len(public.devices) == 0


async def test_a_change_is_visible_only_after_its_block(store: DocumentStore) -> None:
    async with store.change(ENTRY) as change:
        change.put(GROUP)
        assert store.groups.get("mesh//sales") is None
    assert store.groups.get("mesh//sales") == GROUP
    assert list(store.groups) == [GROUP]


async def test_documents_survive_a_restart_with_members_that_nobody_knows(open_store: OpenStore) -> None:
    device = DEVICE.with_(wifi_location={"lat": 1.5}, intelamt={"ver": "16"})
    store = await open_store()
    await put(store, GROUP, USER, device)
    store = await open_store()
    assert (list(store.groups), list(store.users), list(store.devices)) == ([GROUP], [USER], [device])
    again = store.devices.get("node//1")
    assert again is not None
    assert again.model_extra == {"wifi_location": {"lat": 1.5}, "intelamt": {"ver": "16"}}


async def test_a_failing_block_changes_nothing_and_leaves_no_audit_row(store: DocumentStore) -> None:
    with pytest.raises(LookupError):  # noqa: PT012 (the block is what is tested)
        async with store.change(ENTRY) as change:
            change.put(GROUP)
            raise LookupError
    assert len(store.groups) == 0
    assert [row async for row in store.audit_rows()] == []
    await put(store, GROUP)


async def test_updates_compose_within_a_block(store: DocumentStore) -> None:
    await put(store, DEVICE)
    async with store.change(ENTRY) as change:
        change.put(GROUP)
        change.update(GROUP, description="people who sell")
        change.update(DEVICE, name="first")
        change.update(DEVICE, name="second", icon=4)
    group, device = store.groups.get("mesh//sales"), store.devices.get("node//1")
    assert group is not None
    assert group.description == "people who sell"
    assert device == DEVICE.with_(name="second", icon=4)


async def test_an_update_keeps_what_telemetry_wrote_meanwhile(store: DocumentStore) -> None:
    await put(store, DEVICE)
    async with store.change(ENTRY) as change:
        change.update(DEVICE, name="renamed")
        store.note(DEVICE.with_(last_boot=1234))
    assert store.devices.get("node//1") == DEVICE.with_(name="renamed", last_boot=1234)


async def test_what_is_missing_cannot_be_updated(store: DocumentStore) -> None:
    with pytest.raises(NotFound, match="mesh//sales"):
        async with store.change(ENTRY) as change:
            change.update(GROUP, name="x")
    await put(store, GROUP)
    with pytest.raises(NotFound):  # noqa: PT012 (the block is what is tested)
        async with store.change(ENTRY) as change:
            change.delete(GROUP)
            change.update(GROUP, name="x")
    assert store.groups.get("mesh//sales") == GROUP


async def test_a_device_that_left_before_the_commit_is_not_revived(store: DocumentStore) -> None:
    await put(store, DEVICE)
    with pytest.raises(NotFound, match="removed meanwhile"):  # noqa: PT012 (the block is what is tested)
        async with store.change(ENTRY) as change:
            change.update(DEVICE, name="x")
            store.note_deleted(DEVICE)
    assert store.devices.get("node//1") is None


async def test_a_deleted_document_can_be_put_again(open_store: OpenStore) -> None:
    store = await open_store()
    await put(store, GROUP)
    async with store.change(ENTRY) as change:
        change.delete(GROUP)
    assert store.groups.get("mesh//sales") is None
    async with store.change(ENTRY) as change:
        change.delete(GROUP)
        change.put(GROUP.with_(name="Again"))
    store = await open_store()
    assert [group.name for group in store.groups] == ["Again"]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"icon": 99}, "icon"),
        ({"group_type": "two"}, "mtype"),
        ({"agent": {"ver": []}}, "agent"),
        ({"meshid": "mesh//x"}, "Python name is 'group_id'"),
        ({"id": "node//2"}, "id of a document"),
        ({"extra": float("nan")}, "JSON"),
        ({"extra": object()}, "JSON"),
    ],
)
async def test_a_document_that_could_not_be_read_again_is_refused(
    store: DocumentStore, fields: dict[str, Any], problem: str
) -> None:
    await put(store, DEVICE)
    with pytest.raises(UsageError, match=problem):
        async with store.change(ENTRY) as change:
            change.update(DEVICE, **fields)
    assert store.devices.get("node//1") == DEVICE
    assert (await store.verify_audit()).rows == 1


async def test_telemetry_that_could_not_be_read_again_is_refused(store: DocumentStore) -> None:
    with pytest.raises(UsageError, match="osdesc"):
        store.note(DEVICE.with_(operating_system=7))
    assert len(store.devices) == 0
    with pytest.raises(UsageError, match="power states"):
        store.record_power("node//1", 9, 0)
    with pytest.raises(UsageError, match="'bad'"):
        store.record_event({"action": "bad", "value": float("inf")}, ["*"])


async def test_a_kind_without_a_collection_is_refused(store: DocumentStore) -> None:
    class Note(Document):
        kind = "note"

    with pytest.raises(UsageError, match="kind 'note'"):
        await put(store, Note(id="ntx"))


async def test_a_change_that_ended_takes_nothing_more(store: DocumentStore) -> None:
    async with store.change(ENTRY) as change:
        pass
    with pytest.raises(RuntimeError, match="already ended"):
        change.put(GROUP)


async def test_a_change_inside_a_change_is_a_defect_and_not_a_deadlock(store: DocumentStore) -> None:
    with pytest.raises(RuntimeError, match="wait for itself"):
        async with store.change(ENTRY), store.change(AuditEntry("local", "inner")):
            pass
    await put(store, GROUP)


async def test_a_change_that_never_ends_does_not_hang_the_others(store: DocumentStore) -> None:
    store._changes._patience = 0.01
    entered, leave = asyncio.Event(), asyncio.Event()

    async def stuck() -> None:
        async with store.change(AuditEntry("local", "stuck")):
            entered.set()
            await leave.wait()

    async with asyncio.TaskGroup() as group:
        group.create_task(stuck())
        await entered.wait()
        with pytest.raises(Busy, match="stuck"):
            await put(store, GROUP)
        leave.set()
    await put(store, GROUP)


async def test_changes_are_serialised(store: DocumentStore) -> None:
    await put(store, DEVICE.with_(icon=1))

    async def increment() -> None:
        async with store.change(ENTRY) as change:
            device = store.devices.get("node//1")
            assert device is not None
            await asyncio.sleep(0)
            change.update(device, counter=(device.model_extra or {}).get("counter", 0) + 1)

    await asyncio.gather(*(increment() for _ in range(20)))
    device = store.devices.get("node//1")
    assert device is not None
    assert device.model_extra == {"counter": 20}


async def test_statements_run_in_the_same_transaction(store: DocumentStore) -> None:
    with pytest.raises(UsageError):  # noqa: PT012 (the block is what is tested)
        async with store.change(ENTRY) as change:
            change.execute(POWER.insert(), {"time": 1, "device": "d", "power": 1, "previous": 0})
            change.put(DEVICE.with_(icon=99))
    assert await store.rows(select(POWER)) == []
    async with store.change(ENTRY) as change:
        change.execute(POWER.insert(), {"time": 1, "device": "d", "power": 1, "previous": 0})
    assert [row["device"] for row in await store.rows(select(POWER))] == ["d"]


async def test_the_audit_row_says_who_did_what(store: DocumentStore, clock: FixedClock) -> None:
    entry = AuditEntry("user//admin", "editmesh", "mesh//sales", "10.0.0.1", "", {"name": "Sales"})
    async with store.change(entry) as change:
        change.audit(flags=2)
    [row] = [dict(row) async for row in store.audit_rows()]
    assert json.loads(row.pop("detail")) == {"name": "Sales", "flags": 2}
    assert len(row.pop("hash")) == 64
    assert row == {
        "seq": 1,
        "time": clock.milliseconds(),
        "actor": "user//admin",
        "action": "editmesh",
        "target": "mesh//sales",
        "address": "10.0.0.1",
        "domain": "",
        "previous": "0" * 64,
    }


async def test_hostile_text_in_the_audit_row_is_stored(store: DocumentStore) -> None:
    async with store.change(AuditEntry("local", "x", target="\ud800'; DROP TABLE audit;--", detail={"t": "\udfff"})):
        pass
    assert (await store.verify_audit()).broken_at is None


async def test_encoded_rows_follow_every_change(store: DocumentStore) -> None:
    store.note(DEVICE)
    first = store.devices.encoded("node//1")
    assert json.loads(first) == DEVICE.to_stored() | {"users": ["ann"], "tags": ["a", "b"]}
    assert store.devices.encoded("node//1") is first
    store.note(DEVICE.with_(name="noted"))
    assert json.loads(store.devices.encoded("node//1"))["name"] == "noted"
    async with store.change(ENTRY) as change:
        change.update(DEVICE, name="changed")
    assert json.loads(store.devices.encoded("node//1"))["name"] == "changed"
    store.note_deleted(DEVICE)
    with pytest.raises(KeyError):
        store.devices.encoded("node//1")


async def test_iterating_allows_changes_meanwhile(store: DocumentStore) -> None:
    for number in range(5):
        store.note(DEVICE.with_(id=f"node//{number}"))
    for device in store.devices:
        store.note_deleted(device)
    assert len(store.devices) == 0


async def test_telemetry_is_seen_at_once_and_survives_a_restart(open_store: OpenStore) -> None:
    store = await open_store()
    store.note(DEVICE)
    store.note(DEVICE.with_(id="node//2"))
    store.note_deleted(DEVICE.with_(id="node//2"))
    assert list(store.devices) == [DEVICE]
    store.record_power("node//1", 1, 0)
    store = await open_store()
    assert list(store.devices) == [DEVICE]
    assert [(row["power"], row["previous"]) for row in await store.rows(select(POWER))] == [(1, 0)]


async def test_events_come_newest_first_each_once(store: DocumentStore, clock: FixedClock) -> None:
    for number in range(6):
        clock.advance(seconds=1)
        targets = ["*", "node//1"] if number % 2 else ["*", "mesh//a", "*"]
        store.record_event({"etype": "node", "action": "a", "number": number, "node": {"big": 1}}, targets)

    async def numbers(targets: list[str] | None, limit: int = 100, **options: Any) -> list[int]:
        return [event["number"] for event in await store.events(targets, limit=limit, **options)]

    assert await numbers(None) == [5, 4, 3, 2, 1, 0]
    assert await numbers(["*", "node//1", "mesh//a"]) == [5, 4, 3, 2, 1, 0]
    assert await numbers(["node//1"]) == [5, 3, 1]
    assert await numbers(["node//1", "mesh//a"], limit=3) == [5, 4, 3]
    assert await numbers(["nobody"]) == []
    assert await numbers(None, limit=0) == []
    before = clock.now() - timedelta(seconds=2)
    assert await numbers(None, before=before) == [2, 1, 0]
    assert await numbers(["*"], limit=1, before=before) == [2]
    [event] = await store.events(["mesh//a"], limit=1)
    assert event == {
        "etype": "node",
        "action": "a",
        "number": 4,
        "time": "2030-01-02T03:04:10.000Z",
        "ids": ["*", "mesh//a"],
    }


@pytest.mark.parametrize("time", ["2999-01-01T00:00:00Z", "soon", 12, None, "0001-01-01T00:00:00+14:00"])
async def test_an_event_cannot_choose_a_time_to_escape_retention(store: DocumentStore, time: Any) -> None:
    store.record_event({"action": "a", "time": time}, ["*"])
    [event] = await store.events(None, limit=1)
    assert event["time"] == "2030-01-02T03:04:05.000Z"


async def test_events_with_hostile_text_are_stored(store: DocumentStore) -> None:
    store.record_event({"action": "\ud800" * 300, "nodeid": 7, "msg": "\udc80"}, ["\ud800", "*"])
    [event] = await store.events(["*"], limit=5)
    assert event["msg"] == "\udc80"


async def test_many_targets_and_many_events(store: DocumentStore) -> None:
    for number in range(1200):
        store.record_event({"action": "a", "number": number}, [f"node//{number % 700}", "*"])
    everything = await store.events([f"node//{number}" for number in range(700)], limit=1100)
    assert [event["number"] for event in everything] == list(range(1199, 99, -1))


async def test_server_values(open_store: OpenStore) -> None:
    store = await open_store()
    assert await store.value("key") is None
    await store.set_value("key", {"a": [1, "\ud800"]})
    await store.set_value("key", {"a": [2, "\ud800"]})
    store = await open_store()
    assert await store.value("key") == {"a": [2, "\ud800"]}
    with pytest.raises(UsageError, match="belongs to the store"):
        await store.set_value("store:audit-head", None)


async def test_an_audit_row_alone(store: DocumentStore) -> None:
    async with store.change(AuditEntry("local", "runcommands", "node//1")):
        pass
    assert [row["action"] for row in await store.rows(select(AUDIT))] == ["runcommands"]


async def test_a_closed_store_refuses_changes_and_forgets_telemetry(store: DocumentStore) -> None:
    await store.close()
    await store.close()
    with pytest.raises(DatabaseError, match="closed"):
        await put(store, GROUP)
    with pytest.raises(DatabaseError, match="closed"):
        await store.value("key")
    store.note(DEVICE)
    store.record_event({"action": "late"}, ["*"])
    await asyncio.sleep(2 * INTERVAL)
    assert store.groups.get("mesh//sales") is None
