"""The append-only records: events and power states, as rows and as queries."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, select

from meshcentral.core.store.documents import encode, storable
from meshcentral.core.store.tables import EVENT_TARGETS, EVENTS, POWER
from meshcentral.plugins.events import wire_time

_CHUNK = 500
"""Keys in one IN list."""


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One event on its way to the database."""

    row: Mapping[str, Any]
    targets: tuple[str, ...]

    @property
    def weight(self) -> int:
        """Characters of its text, roughly the memory that it takes while it waits."""
        return len(self.row["body"])

    @classmethod
    def of(cls, event: Mapping[str, Any], targets: Iterable[str], now: datetime) -> EventRecord:
        """Take a wire object as it is now. Raises ValueError or TypeError for what JSON cannot hold.

        The `node` member is left out: it repeats the whole device. `ids` are the targets, as the peer stores them.
        """
        targets = tuple(dict.fromkeys(map(storable, targets)))
        time = min(parse_time(event.get("time")) or now, now)
        body = {name: value for name, value in event.items() if name != "node"}
        body |= {"time": wire_time(time), "ids": targets}
        row = {
            "time": milliseconds(time),
            "domain": _text(event, "domain") or "",
            "action": _text(event, "action") or "",
            "node_id": _text(event, "nodeid"),
            "user_id": _text(event, "userid"),
            "body": encode(body),
        }
        return cls(row, targets)


@dataclass(frozen=True, slots=True)
class PowerRecord:
    """One power state on its way to the database."""

    time: int
    device: str
    power: int
    previous: int

    @property
    def weight(self) -> int:
        """As of an event."""
        return len(self.device)


Record = EventRecord | PowerRecord


def append(connection: Connection, records: Sequence[Record]) -> None:
    """Insert records in their order, in the caller's transaction."""
    events = [record for record in records if isinstance(record, EventRecord)]
    power = [
        {"time": record.time, "device": record.device, "power": record.power, "previous": record.previous}
        for record in records
        if isinstance(record, PowerRecord)
    ]
    if events:
        statement = EVENTS.insert().returning(EVENTS.c.seq, sort_by_parameter_order=True)
        numbers = connection.scalars(statement, [record.row for record in events]).all()
        targets = [
            {"target": target, "event": number}
            for number, record in zip(numbers, events, strict=True)
            for target in record.targets
        ]
        if targets:
            connection.execute(EVENT_TARGETS.insert(), targets)
    if power:
        connection.execute(POWER.insert(), power)


def newest_events(
    connection: Connection, targets: Sequence[str] | None, limit: int, before: datetime | None
) -> list[dict[str, Any]]:
    """The newest events for any of the targets (None: all), each once, newest first."""
    older = () if before is None else (EVENTS.c.time < milliseconds(before),)
    if targets is None:
        statement = select(EVENTS.c.body).where(*older).order_by(EVENTS.c.seq.desc()).limit(limit)
        return [json.loads(body) for body in connection.scalars(statement)]
    # One index walk per target stops after `limit` entries; a single query over all targets would sort them all.
    numbers: set[int] = set()
    for target in dict.fromkeys(targets):
        numbers.update(_newest_for(connection, target, limit, older))
    return _bodies(connection, heapq.nlargest(limit, numbers))


def _newest_for(connection: Connection, target: str, limit: int, older: Sequence[ColumnElement[bool]]) -> Iterable[int]:
    statement = select(EVENT_TARGETS.c.event).where(EVENT_TARGETS.c.target == target)
    if older:
        statement = statement.join(EVENTS, EVENTS.c.seq == EVENT_TARGETS.c.event).where(*older)
    return connection.scalars(statement.order_by(EVENT_TARGETS.c.event.desc()).limit(limit))


def _bodies(connection: Connection, numbers: Sequence[int]) -> list[dict[str, Any]]:
    bodies: list[dict[str, Any]] = []
    for start in range(0, len(numbers), _CHUNK):
        chunk = numbers[start : start + _CHUNK]
        statement = select(EVENTS.c.body).where(EVENTS.c.seq.in_(chunk)).order_by(EVENTS.c.seq.desc())
        bodies += [json.loads(body) for body in connection.scalars(statement)]
    return bodies


def milliseconds(time: datetime) -> int:
    """Milliseconds since 1970."""
    return int(time.timestamp() * 1000)


def parse_time(value: object) -> datetime | None:
    """A time from an event: ISO 8601 text; None for anything else (it came from a device, so it may be anything)."""
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value)
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _text(event: Mapping[str, Any], name: str) -> str | None:
    value = event.get(name)
    return storable(value[:255]) if isinstance(value, str) else None
