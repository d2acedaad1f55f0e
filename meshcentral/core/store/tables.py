"""The tables of the core, declared with SQLModel and used through SQLAlchemy Core statements.

Documents live in one JSON column beside their keys: hot reads come from memory, so the columns exist only for what
is asked of the database itself. Every append-only table has a `time` column in milliseconds since 1970: retention
works on that name.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import BigInteger, Column, ColumnElement, ForeignKey, Index, Integer, String, Table, Text
from sqlalchemy.dialects.sqlite import Insert, insert
from sqlalchemy.types import TypeEngine
from sqlmodel import Field, SQLModel

TIME = "time"
"""Name of the column that retention looks at."""


def _sequence() -> TypeEngine[int]:
    """The type of a growing number; SQLite generates only a plain INTEGER."""
    return BigInteger().with_variant(Integer, "sqlite")


class DocumentRow(SQLModel, table=True):
    """One stored document: account, device group, device, or a kind that only a plugin knows."""

    __tablename__ = "documents"

    id: str = Field(sa_column=Column(String(255), primary_key=True))
    kind: str = Field(sa_column=Column(String(32), nullable=False, index=True))
    domain: str = Field(sa_column=Column(String(64), nullable=False))
    version: int = Field(sa_column=Column(BigInteger, nullable=False))
    """Counts the writes of this document, so that another process can tell that its copy is old."""
    body: str = Field(sa_column=Column(Text, nullable=False))


class EventRow(SQLModel, table=True):
    """One event as it was published."""

    __tablename__ = "events"
    __table_args__ = ({"sqlite_autoincrement": True},)

    seq: int | None = Field(default=None, sa_column=Column(_sequence(), primary_key=True, autoincrement=True))
    time: int = Field(sa_column=Column(BigInteger, nullable=False, index=True))
    domain: str = Field(sa_column=Column(String(64), nullable=False))
    action: str = Field(sa_column=Column(String(64), nullable=False))
    node_id: str | None = Field(default=None, sa_column=Column(String(255)))
    user_id: str | None = Field(default=None, sa_column=Column(String(255)))
    body: str = Field(sa_column=Column(Text, nullable=False))


class EventTargetRow(SQLModel, table=True):
    """Who an event was for. The primary key is the index that answers "newest first for this target"."""

    __tablename__ = "event_targets"
    __table_args__ = ({"sqlite_with_rowid": False},)

    target: str = Field(sa_column=Column(String(255), primary_key=True))
    event: int = Field(
        sa_column=Column(_sequence(), ForeignKey("events.seq", ondelete="CASCADE"), primary_key=True, index=True)
    )


class PowerRow(SQLModel, table=True):
    """One change of a device's power state."""

    __tablename__ = "power"
    __table_args__ = (Index("ix_power_device", "device", "time"), {"sqlite_autoincrement": True})

    seq: int | None = Field(default=None, sa_column=Column(_sequence(), primary_key=True, autoincrement=True))
    time: int = Field(sa_column=Column(BigInteger, nullable=False, index=True))
    device: str = Field(sa_column=Column(String(255), nullable=False))
    power: int = Field(sa_column=Column(Integer, nullable=False))
    previous: int = Field(sa_column=Column(Integer, nullable=False))


class AuditRow(SQLModel, table=True):
    """One link of the audit chain. The server numbers the rows itself: a gap is a deletion."""

    __tablename__ = "audit"

    seq: int = Field(sa_column=Column(_sequence(), primary_key=True, autoincrement=False))
    time: int = Field(sa_column=Column(BigInteger, nullable=False))
    actor: str = Field(sa_column=Column(String(255), nullable=False))
    action: str = Field(sa_column=Column(String(64), nullable=False))
    target: str = Field(sa_column=Column(Text, nullable=False))
    address: str = Field(sa_column=Column(String(255), nullable=False))
    domain: str = Field(sa_column=Column(String(64), nullable=False))
    detail: str = Field(sa_column=Column(Text, nullable=False))
    previous: str = Field(sa_column=Column(String(64), nullable=False))
    hash: str = Field(sa_column=Column(String(64), nullable=False))


class ServerValueRow(SQLModel, table=True):
    """A JSON value that the server keeps for itself."""

    __tablename__ = "server_values"

    key: str = Field(sa_column=Column(String(255), primary_key=True))
    value: str = Field(sa_column=Column(Text, nullable=False))


def _table(model: type[SQLModel]) -> Table:
    return SQLModel.metadata.tables[str(model.__tablename__)]


DOCUMENTS = _table(DocumentRow)
EVENTS = _table(EventRow)
EVENT_TARGETS = _table(EventTargetRow)
POWER = _table(PowerRow)
AUDIT = _table(AuditRow)
SERVER_VALUES = _table(ServerValueRow)

CORE_TABLES = (DOCUMENTS, EVENTS, EVENT_TARGETS, POWER, AUDIT, SERVER_VALUES)


@cache
def upsert(table: Table) -> Insert:
    """Insert, or replace all but the key: the one statement that databases spell differently.

    A `version` column counts up instead of being replaced.
    """
    statement = insert(table)
    changed: dict[str, ColumnElement[Any]] = {
        column.name: statement.excluded[column.name] for column in table.columns if not column.primary_key
    }
    if "version" in changed:
        changed["version"] = table.c.version + 1
    return statement.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=changed)
