"""Migrations: one branch per plugin, all or nothing, a copy first, and no Alembic when nothing changed."""

# ruff: noqa: ASYNC221 (nothing else runs on this loop)
from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text
from sqlmodel import SQLModel

from meshcentral.core.store import DatabaseError, DocumentStore, schema, sqlite
from meshcentral.core.store.tables import CORE_TABLES
from meshcentral.plugins.documents import DeviceGroup
from meshcentral.plugins.errors import UsageError
from meshcentral.plugins.store import AuditEntry, MigrationFolder

if TYPE_CHECKING:
    from conftest import FixedClock, OpenStore


class Plugin:
    """A plugin's version folder that grows."""

    def __init__(self, folder: Path, branch: str = "notes") -> None:
        self.folder = folder
        self.branch = branch
        folder.mkdir(parents=True)
        self.last: str | None = None

    @property
    def migrations(self) -> MigrationFolder:
        return MigrationFolder(self.branch, self.folder)

    def add(self, name: str, body: str, *, label: str | None = None) -> None:
        label = label or (self.branch if self.last is None else None)
        script = f"""
            import sqlalchemy as sa
            from alembic import op
            revision = "{name}"
            down_revision = {self.last!r}
            branch_labels = {(label,) if label else None!r}
            depends_on = None
            def upgrade():
                {body}
        """
        (self.folder / f"{name}.py").write_text(textwrap.dedent(script))
        self.last = name


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    plugin = Plugin(tmp_path / "a folder: 100%" / "versions")
    plugin.add("notes_0001", "op.create_table('notes', sa.Column('id', sa.Integer, primary_key=True))")
    return plugin


def schema_of(database: Path) -> list[Any]:
    with closing(sqlite3.connect(database)) as connection:
        tables = connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
        values = connection.execute("SELECT * FROM server_values WHERE key = 'store:schema'").fetchall()
        return [*tables, *values]


async def test_the_migrations_make_exactly_the_declared_tables(open_store: OpenStore, database: Path) -> None:
    await open_store()
    engine = sqlite.open_engine(database)
    ours = {table.name for table in CORE_TABLES}

    def include(_object: Any, name: str | None, kind: str, _reflected: bool, _compared: Any) -> bool:
        return kind != "table" or name in ours

    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": include, "compare_type": True})
        assert compare_metadata(context, SQLModel.metadata) == []
    engine.dispose()


async def test_a_plugin_gets_its_tables_and_later_migrations(open_store: OpenStore, plugin: Plugin) -> None:
    store = await open_store([plugin.migrations])
    plugin.add("notes_0002", "op.add_column('notes', sa.Column('text', sa.Text))")
    store = await open_store([plugin.migrations])
    async with store.change(AuditEntry("local", "addnote")) as change:
        change.execute(text("INSERT INTO notes (id, text) VALUES (:id, :text)"), {"id": 1, "text": "hello"})
    assert [dict(row) for row in await store.rows(text("SELECT * FROM notes"))] == [{"id": 1, "text": "hello"}]


async def test_a_failing_migration_leaves_the_database_as_it_was(
    open_store: OpenStore, plugin: Plugin, database: Path
) -> None:
    store = await open_store([plugin.migrations])
    await store.close()
    before = schema_of(database)
    plugin.add("notes_0002", "op.execute('CREATE TABLE half (id)'); op.execute('INSERT INTO notes (id) VALUES (1)')")
    plugin.add("notes_0003", "raise ValueError('no such luck')")
    with pytest.raises(DatabaseError, match=r"migration of notes failed.*no such luck"):
        await open_store([plugin.migrations])
    assert schema_of(database) == before
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(*) FROM notes").fetchone() == (0,)


async def test_a_migration_that_breaks_references_is_undone(
    open_store: OpenStore, plugin: Plugin, database: Path
) -> None:
    store = await open_store([plugin.migrations])
    store.record_event({"action": "a"}, ["*"])
    await store.close()
    plugin.add("notes_0002", "op.execute('DELETE FROM events')")
    with pytest.raises(DatabaseError, match="event_targets"):
        await open_store([plugin.migrations])
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (1,)


async def test_a_copy_is_made_before_tables_that_hold_something_change(
    open_store: OpenStore, plugin: Plugin, database: Path
) -> None:
    store = await open_store([plugin.migrations])
    assert not list(database.parent.glob("*.bak-*"))
    async with store.change(AuditEntry("local", "createmesh")) as change:
        change.put(DeviceGroup(id="mesh//a", name="A"))
    plugin.add("notes_0002", "op.drop_table('notes')")
    await open_store([plugin.migrations])
    [copy] = database.parent.glob("*.bak-*")
    assert copy.name == "mesh.sqlite3.bak-notes-notes_0001"
    assert copy.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT id FROM documents").fetchall() == [("mesh//a",)]
        assert connection.execute("SELECT count(*) FROM notes").fetchone() == (0,)


async def test_a_changed_comment_is_no_upgrade(open_store: OpenStore, plugin: Plugin, database: Path) -> None:
    await open_store([plugin.migrations])
    script = plugin.folder / "notes_0001.py"
    script.write_text(script.read_text() + "\n# a remark\n")
    await open_store([plugin.migrations])
    assert not list(database.parent.glob("*.bak-*"))


async def test_a_plugin_that_was_taken_out_and_comes_back(open_store: OpenStore, plugin: Plugin) -> None:
    await open_store([plugin.migrations])
    await open_store([])
    plugin.add("notes_0002", "op.add_column('notes', sa.Column('text', sa.Text))")
    await open_store([plugin.migrations])


async def test_a_database_of_a_newer_version_is_not_touched(
    open_store: OpenStore, plugin: Plugin, database: Path, tmp_path: Path
) -> None:
    plugin.add("notes_0002", "op.add_column('notes', sa.Column('text', sa.Text))")
    store = await open_store([plugin.migrations])
    await store.close()
    before = schema_of(database)
    older = Plugin(tmp_path / "older")
    older.add("notes_0001", "pass")
    with pytest.raises(DatabaseError, match="notes_0002, which is not known here") as caught:
        await open_store([older.migrations])
    assert "newer version" in str(caught.value.hint)
    assert schema_of(database) == before


async def test_a_folder_without_its_branch_label_is_refused(open_store: OpenStore, tmp_path: Path) -> None:
    plugin = Plugin(tmp_path / "versions")
    plugin.add("notes_0001", "pass", label="other")
    with pytest.raises(UsageError, match="do not carry that branch label"):
        await open_store([plugin.migrations])


async def test_two_servers_in_one_process_may_start_at_once(tmp_path: Path, clock: FixedClock) -> None:
    stores = await asyncio.gather(
        *(DocumentStore.open(tmp_path / f"{number}.sqlite3", clock=clock) for number in range(4))
    )
    for store in stores:
        assert len(store.devices) == 0
        await store.close()


async def test_alembic_is_not_imported_when_nothing_changed(open_store: OpenStore, database: Path) -> None:
    store = await open_store()
    await store.close()
    program = """
        import asyncio, pathlib, sys
        from meshcentral.core.clock import SystemClock
        from meshcentral.core.store import DocumentStore
        async def main():
            store = await DocumentStore.open(pathlib.Path(sys.argv[1]), clock=SystemClock())
            await store.close()
        asyncio.run(main())
        print(sorted(name for name in sys.modules if name.partition(".")[0] in ("alembic", "quart")))
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(database)], capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"


def test_the_fingerprint_covers_names_and_contents(plugin: Plugin) -> None:
    first = schema.fingerprint(plugin.folder)
    script = plugin.folder / "notes_0001.py"
    renamed = script.rename(plugin.folder / "notes_1.py")
    second = schema.fingerprint(plugin.folder)
    renamed.write_text(renamed.read_text() + "#")
    assert len({first, second, schema.fingerprint(plugin.folder)}) == 3
