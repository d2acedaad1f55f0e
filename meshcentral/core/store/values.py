"""JSON values that the server keeps for itself, in one table of keys."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, select

from meshcentral.core.store.engine import DatabaseError
from meshcentral.core.store.tables import SERVER_VALUES, upsert

OWN_PREFIX = "store:"
"""Keys of the store itself; nobody else sets them."""
AUDIT_HEAD = f"{OWN_PREFIX}audit-head"
SCHEMA = f"{OWN_PREFIX}schema"


def read_value(connection: Connection, key: str) -> Any | None:
    """The value of a key, None when unset. Raises DatabaseError for one that is not JSON."""
    text = connection.scalar(select(SERVER_VALUES.c.value).where(SERVER_VALUES.c.key == key))
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DatabaseError(
            f"the value {key} of the database is damaged: {error}", hint="restore the database from a backup"
        ) from error


def write_value(connection: Connection, key: str, value: Any) -> None:
    """Set a key, in the caller's transaction."""
    connection.execute(upsert(SERVER_VALUES), {"key": key, "value": json.dumps(value)})
