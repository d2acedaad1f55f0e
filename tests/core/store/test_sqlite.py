"""The database file: owner-only, whatever it was before; clear errors for what is not one."""

# ruff: noqa: ASYNC240 (nothing else runs on this loop)
from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from meshcentral.core.store import DatabaseError

if TYPE_CHECKING:
    from conftest import OpenStore


def modes(database: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mode & 0o777 for file in database.parent.glob("mesh.sqlite3*")}


async def test_every_file_is_the_owner_s_only(open_store: OpenStore, database: Path) -> None:
    before = os.umask(0)
    try:
        store = await open_store()
        await store.set_value("key", 1)
    finally:
        os.umask(before)
    assert modes(database) == {"mesh.sqlite3": 0o600, "mesh.sqlite3-wal": 0o600, "mesh.sqlite3-shm": 0o600}


async def test_loose_modes_are_repaired_and_logged(
    open_store: OpenStore, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await open_store()
    database.chmod(0o644)
    store = await open_store()
    await store.set_value("key", 1)
    assert set(modes(database).values()) == {0o600}
    assert "mode 644" in caplog.text


async def test_a_file_that_is_no_database(open_store: OpenStore, database: Path) -> None:
    database.write_bytes(b"certainly not a database, and long enough to be read as one" * 100)
    with pytest.raises(DatabaseError, match="not a database"):
        await open_store()


async def test_a_place_where_no_file_can_be(open_store: OpenStore, database: Path) -> None:
    database.mkdir()
    with pytest.raises(DatabaseError, match="cannot be opened"):
        await open_store()


async def test_administrative_commits_are_synced(open_store: OpenStore) -> None:
    store = await open_store()
    level: list[int] = []
    await store._database.write(
        lambda connection: level.append(connection.exec_driver_sql("PRAGMA synchronous").scalar_one())
    )
    assert level == [2]


@pytest.mark.parametrize(
    "body",
    ["{}", "[]", "nonsense", '{"_id":"mesh//other","name":"x"}', '{"_id":"mesh//a","name":"x","links":7}'],
)
async def test_an_unusable_document_is_left_out_and_kept_on_disk(
    open_store: OpenStore, database: Path, body: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = await open_store()
    await store.close()
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("INSERT INTO documents VALUES ('mesh//a', 'mesh', '', 1, ?)", (body,))
        connection.execute("INSERT INTO documents VALUES ('ugrp//a', 'ugrp', '', 1, '{}')")
    store = await open_store()
    assert len(store.groups) == 0
    assert "mesh//a is not usable" in caplog.text
    await store.close()
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT id, body FROM documents ORDER BY id").fetchall()
    assert rows == [("mesh//a", body), ("ugrp//a", "{}")]
