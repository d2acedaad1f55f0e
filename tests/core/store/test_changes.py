"""What happens while a commit is under way, and when it fails. The disk is made slow and broken with real means:
a second connection that holds SQLite's write lock, and triggers that refuse a row."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert

from meshcentral.core.store import DatabaseError, DocumentStore
from meshcentral.core.store.tables import SERVER_VALUES
from meshcentral.plugins.documents import Device, DeviceGroup
from meshcentral.plugins.errors import Conflict
from meshcentral.plugins.store import AuditEntry

if TYPE_CHECKING:
    from conftest import FixedClock, OpenStore

ENTRY = AuditEntry("local", "test")
DEVICE = Device(id="node//1", group_id="mesh//sales", name="PC")
GROUP = DeviceGroup(id="mesh//sales", name="Sales")


@contextmanager
def held_disk(database: Path) -> Iterator[None]:
    """Nobody else can write inside the block."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def refuse(database: Path, table: str) -> None:
    """From now on every insert into the table fails."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(
            f"CREATE TRIGGER refuse_{table} BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'no room'); END"
        )


def allow(database: Path, table: str) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(f"DROP TRIGGER refuse_{table}")


async def rename(store: DocumentStore, name: str) -> None:
    async with store.change(ENTRY) as change:
        change.update(DEVICE, name=name)


async def until_committing(store: DocumentStore) -> None:
    while not store._behind._held:  # noqa: ASYNC110 (the store has no event for what nobody else waits for)
        await asyncio.sleep(0)


async def test_telemetry_during_a_commit_is_merged_in_memory_and_on_disk(open_store: OpenStore, database: Path) -> None:
    store = await open_store()
    store.note(DEVICE)
    await store.flush()
    async with asyncio.TaskGroup() as group:
        with held_disk(database):
            group.create_task(rename(store, "renamed"))
            await until_committing(store)
            store.note(DEVICE.with_(last_boot=1234))
            current = store.devices.get("node//1")
            assert current is not None
            assert (current.name, current.last_boot) == ("PC", 1234)
    merged = DEVICE.with_(name="renamed", last_boot=1234)
    assert store.devices.get("node//1") == merged
    store = await open_store()
    assert store.devices.get("node//1") == merged


async def test_a_telemetry_batch_cannot_overtake_a_commit(open_store: OpenStore, database: Path) -> None:
    store = await open_store()
    store.note(DEVICE)
    await store.flush()
    async with asyncio.TaskGroup() as group:
        with held_disk(database):
            group.create_task(rename(store, "renamed"))
            await until_committing(store)
            store.note(DEVICE.with_(last_boot=1))
            store.note(DEVICE.with_(id="node//2"))
            flush = group.create_task(store.flush())
            await asyncio.sleep(0)
            [written, *_] = [write.id for write in store._behind._batch.documents]  # type: ignore[union-attr]
            assert written == "node//2"
        await flush
    with closing(sqlite3.connect(database)) as connection:
        bodies = dict(connection.execute("SELECT id, body FROM documents"))
    assert '"renamed"' in bodies["node//1"]
    assert '"lastbootuptime":1' in bodies["node//1"]


async def test_a_device_that_leaves_during_a_commit_stays_gone(open_store: OpenStore, database: Path) -> None:
    store = await open_store()
    store.note(DEVICE)
    await store.flush()
    async with asyncio.TaskGroup() as group:
        with held_disk(database):
            group.create_task(rename(store, "renamed"))
            await until_committing(store)
            store.note_deleted(DEVICE)
    assert store.devices.get("node//1") is None
    store = await open_store()
    assert store.devices.get("node//1") is None


async def test_a_cancelled_change_that_commits_is_visible(open_store: OpenStore, database: Path) -> None:
    store = await open_store()
    store.note(DEVICE)
    with held_disk(database):
        task = asyncio.get_running_loop().create_task(rename(store, "renamed"))
        await until_committing(store)
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [device.name for device in store.devices] == ["renamed"]
    store = await open_store()
    assert [device.name for device in store.devices] == ["renamed"]


async def test_without_its_audit_row_a_change_fails_whole(open_store: OpenStore, database: Path) -> None:
    store = await open_store()
    store.note(DEVICE)
    await store.flush()
    refuse(database, "audit")
    with pytest.raises(Conflict, match="no room") as caught:
        await rename(store, "renamed")
    assert caught.value.__cause__ is not None
    assert store.devices.get("node//1") == DEVICE
    allow(database, "audit")
    store = await open_store()
    assert store.devices.get("node//1") == DEVICE
    await rename(store, "renamed")
    assert (await store.verify_audit()).rows == 1


async def test_telemetry_that_came_during_a_failed_commit_is_written(open_store: OpenStore, database: Path) -> None:
    store = await open_store()
    store.note(DEVICE)
    await store.flush()
    refuse(database, "audit")
    with held_disk(database):
        task = asyncio.get_running_loop().create_task(rename(store, "renamed"))
        await until_committing(store)
        store.note(DEVICE.with_(last_boot=7))
    with pytest.raises(Conflict):
        await task
    store = await open_store()
    assert store.devices.get("node//1") == DEVICE.with_(last_boot=7)


async def test_an_error_never_shows_the_statement_s_parameters(open_store: OpenStore) -> None:
    store = await open_store()
    await store.set_value("taken", 1)
    with pytest.raises(Conflict) as caught:
        async with store.change(ENTRY) as change:
            change.execute(insert(SERVER_VALUES), {"key": "taken", "value": "hash-of-a-password"})
    assert "hash-of-a-password" not in f"{caught.value} {caught.value.__cause__}"


async def test_a_table_that_is_not_there(open_store: OpenStore, database: Path) -> None:
    store = await open_store()
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("DROP TABLE audit")
    with pytest.raises(DatabaseError, match="no such table: audit") as caught:
        async with store.change(ENTRY) as change:
            change.put(GROUP)
    assert caught.value.hint
    assert len(store.groups) == 0


async def test_a_full_disk_fails_closed_and_recovers(clock: FixedClock) -> None:
    store = await DocumentStore.open(None, clock=clock)

    async def limit(pages: str) -> None:
        await store._database.write(
            lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count={pages}").all()
        )

    await limit("1")  # the size that it has
    large = GROUP.with_(description="x" * 100_000)
    with pytest.raises(DatabaseError, match="full") as caught:
        async with store.change(ENTRY) as change:
            change.put(large)
    assert "free space" in str(caught.value.hint)
    assert len(store.groups) == 0
    store.note(DEVICE.with_(description="x" * 100_000))
    with pytest.raises(DatabaseError, match="full"):
        await store.flush()
    await limit("1000000")
    async with store.change(ENTRY) as change:
        change.put(large)
    await store.flush()
    assert (await store.verify_audit()).rows == 1
    await store.close()
