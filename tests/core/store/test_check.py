"""The offline check finds what is broken and changes nothing."""

# ruff: noqa: ASYNC240 (nothing else runs on this loop)
from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from meshcentral.core.store.check import check_database
from meshcentral.plugins.documents import Device, DeviceGroup, Link, User
from meshcentral.plugins.errors import NotFound
from meshcentral.plugins.store import AuditEntry, AuditReport

if TYPE_CHECKING:
    from conftest import OpenStore

ALL = 0xFFFFFFFF
DEEP = f"'{'[' * 100_000}'"


@pytest.fixture
async def database_file(open_store: OpenStore, database: Path) -> Path:
    """A closed, sound database."""
    store = await open_store()
    async with store.change(AuditEntry("local", "createmesh")) as change:
        change.put(User(id="user//ann", name="ann", links={"mesh//a": Link(rights=ALL), "ugrp//x": Link(rights=1)}))
        change.put(DeviceGroup(id="mesh//a", name="A", links={"user//ann": Link(rights=ALL, name="ann")}))
    store.note(Device(id="node//1", group_id="mesh//a", name="PC"))
    store.record_event({"action": "a"}, ["*"])
    await store.close()
    return database


def execute(database: Path, script: str) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(script)


async def test_a_sound_database(database_file: Path) -> None:
    content = database_file.read_bytes()
    report = check_database(database_file)
    assert report.sound
    assert (report.documents, report.events, report.audit) == (3, 1, AuditReport(1, None))
    assert database_file.read_bytes() == content


@pytest.mark.parametrize(
    ("script", "check", "subject", "problem"),
    [
        ("UPDATE audit SET actor = 'x'", "audit", "1", "changed"),
        ("DROP TABLE power", "tables", "power", "missing"),
        ("UPDATE documents SET body = '{' WHERE id = 'node//1'", "document", "node//1", "Expecting"),
        ("UPDATE documents SET body = json_set(body, '$.icon', 9) WHERE kind = 'node'", "document", "node//1", "icon"),
        ("INSERT INTO documents VALUES ('nt1', 'note', '', 1, 'x')", "document", "nt1", "Expecting"),
        (
            "UPDATE documents SET body = DEEP WHERE kind = 'node'".replace("DEEP", DEEP),
            "document",
            "node//1",
            "too deeply",
        ),
        (
            "INSERT INTO documents VALUES ('nt1', 'note', '', 1, DEEP)".replace("DEEP", DEEP),
            "document",
            "nt1",
            "too deeply",
        ),
        ("UPDATE server_values SET value = '{'", "file", "mesh.sqlite3", "store:audit-head of the database is damaged"),
        ("DELETE FROM documents WHERE kind = 'mesh'", "link", "user//ann", "does not exist"),
        ("DELETE FROM documents WHERE kind = 'user'", "link", "mesh//a", "does not exist"),
        (
            "UPDATE documents SET body = json_set(body, '$.links', json('{}')) WHERE kind = 'mesh'",
            "link",
            "user//ann",
            "does not link back",
        ),
        (
            "UPDATE documents SET body = replace(body, '4294967295', '8') WHERE kind = 'mesh'",
            "link",
            "user//ann",
            "4294967295 here, 8 there",
        ),
    ],
)
async def test_what_is_wrong_is_named(database_file: Path, script: str, check: str, subject: str, problem: str) -> None:
    execute(database_file, script)
    report = check_database(database_file)
    [finding] = report.findings
    assert (finding.check, finding.subject) == (check, subject)
    assert problem in finding.problem
    assert not report.sound


async def test_damaged_pages_are_found(database_file: Path) -> None:
    content = bytearray(database_file.read_bytes())
    content[8192:] = bytes(len(content) - 8192)
    database_file.write_bytes(content)
    assert not check_database(database_file).sound


async def test_a_file_that_is_no_database(database: Path) -> None:
    database.write_bytes(b"no database" * 1000)
    [finding] = check_database(database).findings
    assert finding.check == "file"
    with pytest.raises(NotFound):
        check_database(database.with_name("elsewhere"))
