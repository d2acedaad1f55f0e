"""Purges append-only tables, in small batches so that other writes get their turn."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from sqlalchemy import BigInteger, Connection, column, delete, select, table

from meshcentral.core.store.engine import Database, DatabaseError, Transaction
from meshcentral.core.store.records import milliseconds
from meshcentral.core.store.tables import AUDIT, DOCUMENTS, TIME
from meshcentral.plugins.errors import UsageError
from meshcentral.plugins.store import Retention

log = logging.getLogger("meshcentral.store")

CORE = (Retention("events", 20), Retention("power", 10))
"""What the peer keeps, and for how long."""
BATCH = 500

_KEPT = frozenset({AUDIT.name, DOCUMENTS.name})


def rules(retention: Iterable[Retention]) -> Mapping[str, int]:
    """Days by table: the core's, overridden by the given ones. Zero days keep everything."""
    days = {rule.collection: rule.default_days for rule in (*CORE, *retention)}
    for name, count in days.items():
        if name in _KEPT:
            raise UsageError(f"{name} has no retention: its rows are kept")
        if count < 0:
            raise UsageError(f"the retention of {name} is {count} days; it must be 0 (keep all) or more")
    return days


async def purge(database: Database, days: Mapping[str, int], now: datetime) -> dict[str, int]:
    """Delete what is older; returns the rows deleted by table. A table that cannot be purged is logged and skipped."""
    purged: dict[str, int] = {}
    for name, count in days.items():
        if count == 0:
            continue
        cutoff = milliseconds(now - timedelta(days=count))
        try:
            purged[name] = await _purge_table(database, name, cutoff)
        except DatabaseError as error:
            log.error("old rows of %s could not be deleted: %s", name, error)
    return purged


async def _purge_table(database: Database, name: str, cutoff: int) -> int:
    total = 0
    while True:
        deleted, more = await database.write(
            lambda connection: _delete_batch(connection, name, cutoff), Transaction.TELEMETRY
        )
        total += deleted
        if not more:
            return total


def _delete_batch(connection: Connection, name: str, cutoff: int) -> tuple[int, bool]:
    """Delete the oldest rows; returns how many and whether there are more. Needs no key but the time."""
    rows = table(name, column(TIME, BigInteger))
    time = rows.c[TIME]
    old = select(time).where(time < cutoff).order_by(time).offset(BATCH).limit(1)
    last = connection.scalar(old)
    condition = time < cutoff if last is None else time <= last
    return connection.execute(delete(rows).where(condition)).rowcount, last is not None
