"""The store: documents in memory, everything on disk; implements `meshcentral.plugins.store.Store`."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, Executable
from sqlalchemy.engine import RowMapping

from meshcentral.core.store import audit, schema, sqlite
from meshcentral.core.store.behind import WriteBehind
from meshcentral.core.store.changes import Changes, PendingChange
from meshcentral.core.store.documents import DocumentCollection, Documents
from meshcentral.core.store.engine import Database, DatabaseError, finished
from meshcentral.core.store.records import EventRecord, PowerRecord, newest_events
from meshcentral.core.store.retention import purge, rules
from meshcentral.core.store.values import OWN_PREFIX, read_value, write_value
from meshcentral.plugins.documents import Device, DeviceGroup, Document, User
from meshcentral.plugins.errors import UsageError
from meshcentral.plugins.store import AuditEntry, AuditReport, MigrationFolder, Retention

if TYPE_CHECKING:
    from meshcentral.plugins.server import Clock

log = logging.getLogger("meshcentral.store")

POWER_STATES = range(9)


class DocumentStore:
    """Opened with `await DocumentStore.open(...)`, closed with `await store.close()`."""

    def __init__(self, database: Database, documents: Documents, days: Mapping[str, int], clock: Clock) -> None:
        """Use `open`."""
        self._database = database
        self._documents = documents
        self._days = days
        self._clock = clock
        self._behind = WriteBehind(database)
        self._changes = Changes(database, documents, self._behind, clock)

    @classmethod
    async def open(
        cls,
        database: Path | None,
        migrations: Sequence[MigrationFolder] = (),
        retention: Sequence[Retention] = (),
        *,
        clock: Clock,
    ) -> DocumentStore:
        """Open (or create) the database file, bring its tables up to date and load the documents.

        None is a private database in memory. Raises DatabaseError, with the file as it was.
        """
        days = rules(retention)
        engine = sqlite.open_engine(database)
        opened = Database(engine, readers=0 if database is None else sqlite.READERS)
        documents = Documents()

        def prepare(engine: Engine) -> None:
            def back_up(label: str) -> None:
                if database is not None:
                    copy = database.with_name(f"{database.name}.bak-{label}")
                    sqlite.copy_file(engine, copy)
                    log.info("copied the database to %s before changing its tables", copy)

            schema.bring_up_to_date(engine, migrations, back_up)
            with engine.connect() as connection:
                documents.load(connection)

        try:
            await opened.exclusively(prepare)
        except BaseException:
            await opened.close()
            raise
        return cls(opened, documents, days, clock)

    async def close(self) -> None:
        """Write what is queued and close the database."""
        await self._behind.close()
        await self._database.close()

    @property
    def users(self) -> DocumentCollection[User]:
        """All accounts."""
        return self._documents.users

    @property
    def groups(self) -> DocumentCollection[DeviceGroup]:
        """All device groups, deleted ones that may come back included."""
        return self._documents.groups

    @property
    def devices(self) -> DocumentCollection[Device]:
        """All devices."""
        return self._documents.devices

    @property
    def dropped_records(self) -> int:
        """Events and power states that a stuck disk has cost since the start."""
        return self._behind.dropped

    def change(self, audit: AuditEntry) -> AbstractAsyncContextManager[PendingChange]:
        """Open an administrative change. Changes are serialised; leaving the block waits for the commit."""
        return self._changes.open(audit)

    def note(self, document: Document) -> None:
        """Replace (or add) a document by telemetry. Raises UsageError for one that could not be read again."""
        collection = self._documents.of(document)
        collection.replace(*collection.checked(document))
        self._behind.mark(document.id, collection)

    def note_deleted(self, document: Document) -> None:
        """Remove a document by telemetry."""
        collection = self._documents.of(document)
        collection.discard(document.id)
        self._behind.mark(document.id, collection)

    def record_event(self, event: Mapping[str, Any], targets: Iterable[str]) -> None:
        """Append to the events, behind. Raises UsageError for an event that is not JSON."""
        try:
            record = EventRecord.of(event, targets, self._clock.now())
        except (ValueError, TypeError) as error:
            raise UsageError(f"the event {event.get('action')!r} cannot be stored: {error}") from error
        self._behind.append(record)

    def record_power(self, device_id: str, power: int, previous: int) -> None:
        """Append a power state, behind. Raises UsageError for a state that does not exist."""
        if power not in POWER_STATES or previous not in POWER_STATES:
            raise UsageError(f"power states are 0 to 8, not {power} after {previous}")
        self._behind.append(PowerRecord(self._clock.milliseconds(), device_id, power, previous))

    async def events(
        self, targets: Sequence[str] | None, *, limit: int, before: datetime | None = None
    ) -> list[dict[str, Any]]:
        """Newest first; `targets` None means all. What was recorded before the call is there."""
        if limit < 1:
            return []
        try:
            await self.flush()
        except DatabaseError as error:
            log.warning("the newest events are still in memory and not listed: %s", error)
        return await self._database.read(lambda connection: newest_events(connection, targets, limit, before))

    async def rows(self, statement: Executable) -> Sequence[RowMapping]:
        """Read from a plugin's own table."""
        return await self._database.read(lambda connection: connection.execute(statement).mappings().all())

    async def value(self, key: str) -> Any | None:
        """A JSON value kept by the server itself, None when unset."""
        return await self._database.read(lambda connection: read_value(connection, key))

    async def set_value(self, key: str, value: Any) -> None:
        """Set a JSON value; durable when it returns."""
        if key.startswith(OWN_PREFIX):
            raise UsageError(f"the key {key!r} belongs to the store: no key may begin with {OWN_PREFIX!r}")
        await finished(self._database.write(lambda connection: write_value(connection, key, value)))

    async def flush(self) -> None:
        """Wait until everything noted so far is on disk. Raises DatabaseError when it cannot be written."""
        await self._behind.flush()

    async def verify_audit(self) -> AuditReport:
        """Walk the audit chain."""
        return await self._database.read(audit.verify)

    async def audit_rows(self) -> AsyncIterator[Mapping[str, Any]]:
        """The audit chain, oldest first, read in pages."""
        after = 0
        while page := await self._database.read(partial(audit.page, after=after)):
            for row in page:
                yield row
            after = page[-1]["seq"]

    async def purge(self) -> dict[str, int]:
        """Delete records older than their retention; returns the rows deleted by table."""
        return await purge(self._database, self._days, self._clock.now())
