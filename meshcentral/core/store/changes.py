"""Administrative changes: put together in memory, committed with their audit row, then made visible.

Memory changes only after the commit, so what anybody has seen is on disk. Telemetry may arrive for the same
documents while the commit is under way. It is kept: the change's fields are laid over the document as it is when the
commit returns, and the write-behind queue does not touch these documents in between, so that no older body can
overwrite the acknowledged one on disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Executable

from meshcentral.core.store import audit
from meshcentral.core.store.behind import DocumentWrite, WriteBehind, write_documents
from meshcentral.core.store.documents import DocumentCollection, Documents, encode
from meshcentral.core.store.engine import Database, settled
from meshcentral.plugins.documents import Document
from meshcentral.plugins.errors import Busy, NotFound, UsageError
from meshcentral.plugins.store import AuditEntry

if TYPE_CHECKING:
    from meshcentral.plugins.server import Clock

PATIENCE = 30.0
"""Seconds to wait for the change before this one."""


@dataclass(frozen=True, slots=True)
class Put:
    """The whole document is replaced."""

    document: Document

    def apply(self, current: Document | None) -> Document | None:
        return self.document


@dataclass(frozen=True, slots=True)
class Update:
    """Some fields are replaced. A document that telemetry has removed stays removed."""

    fields: Mapping[str, Any]

    def apply(self, current: Document | None) -> Document | None:
        return None if current is None else current.with_(**self.fields)


@dataclass(frozen=True, slots=True)
class Delete:
    """The document goes."""

    def apply(self, current: Document | None) -> Document | None:
        return None


Edit = Put | Update | Delete


@dataclass(frozen=True, slots=True)
class Resolved:
    """An edit and what it makes of the document that was in memory when the change was sealed."""

    id: str
    collection: DocumentCollection[Any]
    edit: Edit
    before: Document | None
    after: tuple[Document, bytes] | None
    """As `DocumentCollection.checked` returned it; None when the document goes."""

    def to_write(self) -> DocumentWrite:
        """The row to store."""
        kind = self.collection.type.kind
        if self.after is None:
            return DocumentWrite(self.id, kind, "", None)
        document, encoded = self.after
        return DocumentWrite(self.id, kind, document.domain, encoded.decode())

    def show(self) -> None:
        """Make it visible, over whatever telemetry did since."""
        current, after = self.collection.get(self.id), self.after
        if current is not self.before:
            merged = self.edit.apply(current)
            after = None if merged is None else self.collection.checked(merged)
        if after is None:
            self.collection.discard(self.id)
        else:
            self.collection.replace(*after)


class PendingChange:
    """What a `change()` block has asked for so far; implements `meshcentral.plugins.store.Change`."""

    def __init__(self, documents: Documents, entry: AuditEntry) -> None:
        self._documents = documents
        self._entry = entry
        self._open = True
        self._edits: dict[str, tuple[DocumentCollection[Any], Edit]] = {}
        self._statements: list[tuple[Executable, Mapping[str, Any] | None]] = []
        self._detail = dict(entry.detail)

    def put(self, document: Document) -> None:
        """Insert or replace a whole document."""
        self._set(document, Put(document))

    def update(self, document: Document, **fields: Any) -> None:
        """Change some fields of a stored document. Raises NotFound when there is none."""
        collection = self._documents.of(document)
        for name, field in collection.type.model_fields.items():
            if field.alias in fields and field.alias != name:
                raise UsageError(f"{field.alias!r} is the stored name of a field whose Python name is {name!r}")
        if "id" in fields:
            raise UsageError("the id of a document does not change")
        _, earlier = self._edits.get(document.id, (collection, None))
        match earlier:
            case Put(staged):
                self._set(document, Put(staged.with_(**fields)))
            case Update(before):
                self._set(document, Update({**before, **fields}))
            case None if collection.get(document.id) is not None:
                self._set(document, Update(fields))
            case _:
                raise NotFound(f"there is no {document.id}")

    def delete(self, document: Document) -> None:
        """Remove a document; one that is already gone is fine."""
        self._set(document, Delete())

    def execute(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement on a plugin's own table in the same transaction, after the documents, in order."""
        self._require_open()
        self._statements.append((statement, parameters))

    def audit(self, **detail: Any) -> None:
        """Add members to the audit row's detail."""
        self._require_open()
        self._detail.update(detail)

    def seal(self) -> None:
        """The block has ended: later calls are defects."""
        self._open = False

    def resolve(self) -> list[Resolved]:
        """Lay the edits over memory as it is now. Raises NotFound or UsageError when one cannot be."""
        resolved: list[Resolved] = []
        for document_id, (collection, edit) in self._edits.items():
            before = collection.get(document_id)
            after = edit.apply(before)
            if after is None and isinstance(edit, Update):
                raise NotFound(f"{document_id} was removed meanwhile")
            checked = None if after is None else collection.checked(after)
            resolved.append(Resolved(document_id, collection, edit, before, checked))
        return resolved

    def audit_detail(self) -> str:
        """The audit row's detail as JSON text."""
        try:
            return encode(self._detail)
        except (ValueError, TypeError) as error:
            raise UsageError(f"the audit detail of {self._entry.action} is not JSON: {error}") from error

    def write(self, connection: Connection, writes: Sequence[DocumentWrite], detail: str, time: int) -> None:
        """Everything, in the caller's transaction."""
        write_documents(connection, writes)
        for statement, parameters in self._statements:
            connection.execute(statement, parameters)
        audit.append(connection, self._entry, detail, time)

    def _set(self, document: Document, edit: Edit) -> None:
        self._require_open()
        self._edits[document.id] = (self._documents.of(document), edit)

    def _require_open(self) -> None:
        if not self._open:
            raise RuntimeError(f"the change for {self._entry.action} has already ended")


class Changes:
    """Makes administrative changes, one after another."""

    def __init__(
        self,
        database: Database,
        documents: Documents,
        behind: WriteBehind,
        clock: Clock,
        *,
        patience: float = PATIENCE,
    ) -> None:
        self._database = database
        self._documents = documents
        self._behind = behind
        self._clock = clock
        self._patience = patience
        self._lock = asyncio.Lock()
        self._holder: tuple[asyncio.Task[Any] | None, str] = (None, "")

    @asynccontextmanager
    async def open(self, entry: AuditEntry) -> AsyncIterator[PendingChange]:
        """One change. Raises Busy when the one before it does not end, and what the commit raises."""
        await self._acquire(entry)
        try:
            change = PendingChange(self._documents, entry)
            try:
                yield change
            finally:
                change.seal()
            await self._commit(change)
        finally:
            self._holder = (None, "")
            self._lock.release()

    async def _acquire(self, entry: AuditEntry) -> None:
        task = asyncio.current_task()
        holder, action = self._holder
        if holder is not None and holder is task:
            raise RuntimeError(f"{entry.action} opens a change inside that of {action}: it would wait for itself")
        try:
            async with asyncio.timeout(self._patience):
                await self._lock.acquire()
        except TimeoutError as error:
            raise Busy(
                f"another change ({self._holder[1]}) has not ended in {self._patience:.0f} s; nothing was changed",
                hint="try again; if it stays so, restart the server and report it",
            ) from error
        self._holder = (task, entry.action)

    async def _commit(self, change: PendingChange) -> None:
        resolved = change.resolve()
        writes = [item.to_write() for item in resolved]
        detail, time = change.audit_detail(), self._clock.milliseconds()
        ids = [item.id for item in resolved]
        # No await between resolving and queueing: a telemetry batch queued before us is also written before us.
        future = self._database.write(lambda connection: change.write(connection, writes, detail, time))
        self._behind.hold(ids)
        interruption = await settled(future)
        failure = future.exception()
        if failure is None:
            for item in resolved:
                item.show()
        self._behind.release(ids)
        if interruption is not None:
            raise interruption
        if failure is not None:
            raise failure
