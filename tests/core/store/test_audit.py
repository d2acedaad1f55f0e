"""The audit chain notices every kind of tampering with the table."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from meshcentral.core.store.audit import GENESIS, PAGE, row_hash
from meshcentral.plugins.store import AuditEntry, AuditReport

if TYPE_CHECKING:
    from conftest import OpenStore

ROWS = 7

TAMPERING = {
    "an edited member": ("UPDATE audit SET actor = 'somebody' WHERE seq = 4", 4),
    "an edited detail": ("UPDATE audit SET detail = '{}' WHERE seq = 1", 1),
    "an edited hash": ("UPDATE audit SET hash = lower(hex(randomblob(32))) WHERE seq = 4", 4),
    "a moved time": ("UPDATE audit SET time = time + 1 WHERE seq = 7", 7),
    "a row taken out of the middle": ("DELETE FROM audit WHERE seq = 3", 4),
    "the first row taken out": ("DELETE FROM audit WHERE seq = 1", 2),
    "the last row cut off": ("DELETE FROM audit WHERE seq = 7", 7),
    "the tail cut off": ("DELETE FROM audit WHERE seq > 2", 3),
    "everything deleted": ("DELETE FROM audit", 1),
    "the head cut back with the tail": (
        'DELETE FROM audit WHERE seq > 5; UPDATE server_values SET value = \'{"seq":5,"hash":"00"}\' '
        "WHERE key = 'store:audit-head'",
        6,
    ),
    "the head deleted": ("DELETE FROM server_values WHERE key = 'store:audit-head'", 1),
    "a row added at the end": (
        "INSERT INTO audit SELECT 8, time, actor, action, target, address, domain, detail, hash, hash FROM audit "
        "WHERE seq = 7",
        8,
    ),
    "two rows exchanged": (
        "UPDATE audit SET seq = 100 WHERE seq = 2; UPDATE audit SET seq = 2 WHERE seq = 3; "
        "UPDATE audit SET seq = 3 WHERE seq = 100",
        2,
    ),
}


@pytest.mark.parametrize("how", TAMPERING)
async def test_tampering_is_detected(open_store: OpenStore, database: Path, how: str) -> None:
    script, broken_at = TAMPERING[how]
    store = await open_store()
    for number in range(ROWS):
        async with store.change(AuditEntry("local", "test", f"mesh//{number}", detail={"number": number})):
            pass
    assert await store.verify_audit() == AuditReport(ROWS, None)
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(script)
    assert (await store.verify_audit()).broken_at == broken_at


async def test_a_cut_tail_stays_visible_when_the_chain_goes_on(open_store: OpenStore, database: Path) -> None:
    store = await open_store()
    for _ in range(3):
        async with store.change(AuditEntry("local", "test")):
            pass
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("DELETE FROM audit WHERE seq = 3")
    async with store.change(AuditEntry("local", "test")):
        pass
    assert await store.verify_audit() == AuditReport(3, 4)


async def test_the_chain_is_read_in_pages_across_restarts(open_store: OpenStore) -> None:
    store = await open_store()
    for number in range(3):
        async with store.change(AuditEntry("local", "test", f"{number}")):
            pass
    store = await open_store()
    async with store.change(AuditEntry("local", "test", "3")):
        pass
    assert [row["target"] async for row in store.audit_rows()] == ["0", "1", "2", "3"]
    assert await store.verify_audit() == AuditReport(4, None)


@pytest.mark.slow
async def test_more_rows_than_a_page(open_store: OpenStore) -> None:
    store = await open_store()
    for _ in range(PAGE + 2):
        async with store.change(AuditEntry("local", "test")):
            pass
    assert await store.verify_audit() == AuditReport(PAGE + 2, None)
    assert [row["seq"] async for row in store.audit_rows()] == list(range(1, PAGE + 3))


def test_the_hash_is_a_fixed_format() -> None:
    row = {
        "seq": 1,
        "time": 1893553445000,
        "actor": "local",
        "action": "createmesh",
        "target": "mesh//a",
        "address": "",
        "domain": "",
        "detail": '{"name":"B\\u00fcro"}',
        "previous": "not covered twice",
    }
    assert row_hash(row, GENESIS) == "85ec4095d9c13f42a6950ccb51ff55bce38f69d2ab95e695934f2ddd909d6e5e"
