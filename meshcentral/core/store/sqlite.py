"""SQLite: the engine, its transactions, its file.

The driver's own transaction handling is switched off and `BEGIN` is ours, so that schema changes are transactional
and a writer takes its lock at once instead of failing half-way. WAL lets readers go on while the writer commits.

Durability: in WAL mode every commit survives the death of the process. `synchronous=FULL` also syncs the log at
each commit, which an administrative change needs to survive a power cut; telemetry commits with `NORMAL` and saves
that sync. The next administrative commit syncs the telemetry that lies before it in the same log.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.pool import QueuePool, StaticPool

from meshcentral.core.store.engine import TRANSACTION, DatabaseError, Transaction

log = logging.getLogger("meshcentral.store")

READERS = 2
BUSY_TIMEOUT_MS = 5000
_PRIVATE = 0o600


def open_engine(path: Path | None, *, read_only: bool = False) -> Engine:
    """An engine on a database file, made owner-only first, or on a private database in memory.

    Raises DatabaseError when the file cannot be created or opened.
    """
    if path is not None and not read_only:
        make_private(path)
    engine = create_engine(
        URL.create("sqlite+pysqlite", database=str(path) if path else ":memory:"),
        poolclass=QueuePool if path else StaticPool,
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_MS / 1000},
        hide_parameters=True,
        **({"pool_size": READERS + 1} if path else {}),
    )
    event.listen(engine, "connect", _configure_reader if read_only else _configure)
    event.listen(engine, "begin", _begin)
    return engine


def _configure(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA temp_store=MEMORY")


def _configure_reader(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA query_only=ON")


def _begin(connection: Connection) -> None:
    match connection.get_execution_options().get(TRANSACTION, Transaction.READ):
        case Transaction.ADMINISTRATIVE:
            connection.exec_driver_sql("PRAGMA synchronous=FULL")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        case Transaction.TELEMETRY:
            connection.exec_driver_sql("PRAGMA synchronous=NORMAL")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        case _:
            connection.exec_driver_sql("BEGIN")


def make_private(path: Path) -> None:
    """Create the file for its owner only, or repair its mode. SQLite gives its log files the mode of this one."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE))
    except OSError as error:
        raise DatabaseError(
            f"the database {path} cannot be opened: {error.strerror}",
            hint="its folder must exist and belong to the account that runs the server",
        ) from error
    for file in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        if file.exists() and (mode := stat.S_IMODE(file.stat().st_mode)) & ~_PRIVATE:
            log.warning("%s had mode %03o and was made owner-only", file, mode)
            file.chmod(_PRIVATE)


def integrity_problems(connection: Connection) -> list[str]:
    """What SQLite finds wrong with the file's structure; empty when it is sound."""
    rows = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
    return [] if rows == ["ok"] else [str(row) for row in rows]


def copy_file(engine: Engine, target: Path) -> None:
    """Write a consistent, synced, owner-only copy of the database; an older copy of that name is replaced."""
    temporary = target.with_name(f"{target.name}.part")
    temporary.unlink(missing_ok=True)
    make_private(temporary)
    with engine.connect() as connection:
        source = connection.connection.driver_connection
        assert isinstance(source, sqlite3.Connection)
        with closing(sqlite3.connect(temporary)) as copy:
            source.backup(copy)
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    temporary.replace(target)


@contextmanager
def schema_transaction(engine: Engine) -> Iterator[Connection]:
    """A transaction for schema changes: all of it or nothing.

    SQLite changes a column by building the table anew; with foreign keys on, dropping the old one would cascade. So
    they are off (which only works outside of a transaction) and checked before the commit.
    """
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        driver.execute("PRAGMA foreign_keys=OFF")
        try:
            connection.execution_options(**{TRANSACTION: Transaction.ADMINISTRATIVE})
            with connection.begin():
                yield connection
                if broken := connection.exec_driver_sql("PRAGMA foreign_key_check").first():
                    raise DatabaseError(f"a migration left rows of {broken[0]} without the row they refer to")
        finally:
            driver.execute("PRAGMA foreign_keys=ON")
