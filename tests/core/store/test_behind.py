"""The write-behind queue, on real databases."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from meshcentral.core.store import DatabaseError, behind
from meshcentral.core.store.behind import BATCH, WriteBehind
from meshcentral.core.store.records import PowerRecord
from meshcentral.core.store.tables import DOCUMENTS, EVENTS, POWER
from meshcentral.plugins.documents import Device

if TYPE_CHECKING:
    from conftest import OpenStore

DEVICE = Device(id="node//1", group_id="mesh//sales", name="PC")


def execute(database: Path, statement: str) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(statement)


async def test_many_notes_of_one_document_are_one_row_version(open_store: OpenStore) -> None:
    store = await open_store()
    for number in range(100):
        store.note(DEVICE.with_(last_boot=number))
    await store.flush()
    [row] = await store.rows(select(DOCUMENTS.c.version, DOCUMENTS.c.body))
    assert row["version"] == 1
    assert '"lastbootuptime":99' in row["body"]


async def test_a_full_batch_is_written_without_waiting(open_store: OpenStore) -> None:
    store = await open_store()
    store._behind._interval = 3600
    for number in range(BATCH):
        store.note(DEVICE.with_(id=f"node//{number}"))
    assert store._behind._batch is not None


async def test_the_timer_writes_by_itself(open_store: OpenStore) -> None:
    store = await open_store()
    store._behind._interval = 0
    store.record_power("node//1", 1, 0)
    for _ in range(1000):
        if await store.rows(select(POWER)):
            return
        await asyncio.sleep(0.005)
    pytest.fail("nothing was written")


async def test_flush_covers_more_than_one_batch(open_store: OpenStore) -> None:
    store = await open_store()
    for number in range(2 * BATCH + 10):
        store.note(DEVICE.with_(id=f"node//{number}"))
        store.record_event({"action": "a"}, ["*"])
    await store.flush()
    assert len(await store.rows(select(DOCUMENTS.c.id))) == 2 * BATCH + 10
    assert len(await store.rows(select(EVENTS.c.seq))) == 2 * BATCH + 10


async def test_telemetry_waits_for_a_broken_disk_and_nothing_is_lost(
    open_store: OpenStore, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = await open_store()
    execute(database, "ALTER TABLE power RENAME TO away")
    store.note(DEVICE)
    store.record_power("node//1", 1, 0)
    with pytest.raises(DatabaseError, match="no such table: power"):
        await store.flush()
    store.note(DEVICE.with_(last_boot=5))
    store.record_power("node//1", 8, 1)
    assert await store.events(None, limit=1) == []
    execute(database, "ALTER TABLE away RENAME TO power")
    await store.flush()
    assert [row["power"] for row in await store.rows(select(POWER).order_by(POWER.c.seq))] == [1, 8]
    messages = [record.getMessage() for record in caplog.records]
    assert sum("waits in memory" in message for message in messages) == 1
    assert sum("written again" in message for message in messages) == 1
    store = await open_store()
    assert store.devices.get("node//1") == DEVICE.with_(last_boot=5)


async def test_a_stuck_disk_costs_the_oldest_records_only(
    open_store: OpenStore, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = await open_store()
    store._behind._max_records = 10
    execute(database, "ALTER TABLE power RENAME TO away")
    store.note(DEVICE)
    for number in range(25):
        store.record_power(f"node//{number}", 1, 0)
    with pytest.raises(DatabaseError):
        await store.flush()
    assert store.dropped_records == 15
    assert "being dropped" in caplog.text
    execute(database, "ALTER TABLE away RENAME TO power")
    await store.flush()
    rows = await store.rows(select(POWER).order_by(POWER.c.seq))
    assert [row["device"] for row in rows] == [f"node//{number}" for number in range(15, 25)]
    assert len(await store.rows(select(DOCUMENTS.c.id))) == 1


async def test_closing_with_a_broken_disk_says_so_and_returns(
    open_store: OpenStore, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = await open_store()
    execute(database, "DROP TABLE power")
    store.record_power("node//1", 1, 0)
    await store.close()
    assert "last telemetry could not be written" in caplog.text


async def test_a_row_that_no_database_takes_does_not_block_the_others(
    open_store: OpenStore, caplog: pytest.LogCaptureFixture
) -> None:
    store = await open_store()
    caplog.set_level(logging.ERROR)
    store._behind.append(PowerRecord(2**80, "node//1", 1, 0))
    with pytest.raises(OverflowError):
        await store.flush()
    store.record_power("node//2", 1, 0)
    await store.flush()
    assert [row["device"] for row in await store.rows(select(POWER))] == ["node//2"]
    assert "1 rows of telemetry were dropped" in caplog.text


async def test_held_documents_wait_and_flush_waits_for_them(open_store: OpenStore) -> None:
    store = await open_store()
    behind: WriteBehind = store._behind
    behind.hold(["node//1"])
    store.note(DEVICE)
    store.note(DEVICE.with_(id="node//2"))
    async with asyncio.TaskGroup() as group:
        flush = group.create_task(store.flush())
        while not await store.rows(select(DOCUMENTS.c.id)):  # noqa: ASYNC110 (a row in the database has no event)
            await asyncio.sleep(0)
        assert [row["id"] for row in await store.rows(select(DOCUMENTS.c.id))] == ["node//2"]
        assert not flush.done()
        behind.release(["node//1"])
    assert len(await store.rows(select(DOCUMENTS.c.id))) == 2


async def test_what_waits_for_a_stuck_disk_is_bounded_by_weight_too(
    open_store: OpenStore, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await open_store()
    monkeypatch.setattr(behind, "MAX_RECORD_BYTES", 10_000)
    execute(database, "ALTER TABLE events RENAME TO away")
    for _ in range(25):
        store.record_event({"action": "agentlog", "msg": "x" * 1000}, ["*"])
    with pytest.raises(DatabaseError):
        await store.flush()
    assert store.dropped_records >= 15
    execute(database, "ALTER TABLE away RENAME TO events")
    await store.flush()
    assert 5 <= len(await store.events(None, limit=100)) < 10
    assert store._behind._weight == 0
