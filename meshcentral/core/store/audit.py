"""The audit chain: each row's hash covers the row and the hash before it.

The head (number and hash of the last row) is kept in another table and written in the same transaction, so rows cut
off at the end are noticed like rows changed or taken out of the middle. The chain has no key: it proves that nobody
edited the table in passing, not that nobody with write access to the whole database forged all of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, select

from meshcentral.core.store.documents import encode, storable
from meshcentral.core.store.tables import AUDIT
from meshcentral.core.store.values import AUDIT_HEAD, read_value, write_value
from meshcentral.plugins.store import AuditEntry, AuditReport

GENESIS = "0" * 64
"""What the first row has as its previous hash."""
PAGE = 500

_HASHED = ("seq", "time", "actor", "action", "target", "address", "domain", "detail")


def row_hash(row: Mapping[str, Any], previous: str) -> str:
    """SHA-256, hex, over the previous hash and the row as a JSON array in column order."""
    digest = hashlib.sha256(previous.encode())
    digest.update(encode([row[name] for name in _HASHED]).encode())
    return digest.hexdigest()


def append(connection: Connection, entry: AuditEntry, detail: str, time: int) -> None:
    """Add a row, in the caller's transaction. `detail` is JSON text, `time` milliseconds."""
    head = read_value(connection, AUDIT_HEAD) or {"seq": 0, "hash": GENESIS}
    row: dict[str, Any] = {
        "seq": head["seq"] + 1,
        "time": time,
        "actor": storable(entry.actor),
        "action": storable(entry.action),
        "target": storable(entry.target),
        "address": storable(entry.address),
        "domain": storable(entry.domain),
        "detail": detail,
        "previous": head["hash"],
    }
    row["hash"] = row_hash(row, row["previous"])
    connection.execute(AUDIT.insert(), row)
    write_value(connection, AUDIT_HEAD, {"seq": row["seq"], "hash": row["hash"]})


def page(connection: Connection, after: int) -> list[dict[str, Any]]:
    """The next rows after a sequence number, oldest first."""
    statement = select(AUDIT).where(AUDIT.c.seq > after).order_by(AUDIT.c.seq).limit(PAGE)
    return [dict(row._mapping) for row in connection.execute(statement)]


def verify(connection: Connection) -> AuditReport:
    """Walk the whole chain, in the caller's transaction."""
    rows, last, previous = 0, 0, GENESIS
    broken_at: int | None = None
    for row in _all(connection):
        rows += 1
        if broken_at is None and not _follows(row, last, previous):
            broken_at = row["seq"]
        last, previous = row["seq"], row["hash"]
    head = read_value(connection, AUDIT_HEAD) or {"seq": 0, "hash": GENESIS}
    if broken_at is None and (last, previous) != (head["seq"], head["hash"]):
        # Rows are missing at the end, or stand beyond what was ever acknowledged.
        broken_at = min(last, head["seq"]) + 1
    return AuditReport(rows, broken_at)


def _follows(row: Mapping[str, Any], last: int, previous: str) -> bool:
    numbers_follow: bool = row["seq"] == last + 1
    hashes_follow: bool = row["previous"] == previous and row["hash"] == row_hash(row, previous)
    return numbers_follow and hashes_follow


def _all(connection: Connection) -> Iterator[dict[str, Any]]:
    after = 0
    while rows := page(connection, after):
        yield from rows
        after = rows[-1]["seq"]
