"""The data access contract: what a plugin may ask of the store.

Two classes of durability (architecture, section 7). An administrative change is made in `Store.change()`: all its
parts and its audit row commit in one transaction before the block ends. Telemetry goes through `Collection.note()`
and the `record_*` methods: it is visible at once and written behind.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from meshcentral.plugins.documents import Device, DeviceGroup, Document, User

if TYPE_CHECKING:
    from sqlalchemy import Executable
    from sqlalchemy.engine import RowMapping

D = TypeVar("D", bound=Document)
DocumentT_co = TypeVar("DocumentT_co", bound=Document, covariant=True)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what to which object. Stored in a hash chain; `detail` holds no secret."""

    actor: str
    """Account id, `local` for the local administrator, or `server`."""
    action: str
    target: str = ""
    address: str = ""
    domain: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditReport:
    """Result of walking the audit chain."""

    rows: int
    broken_at: int | None
    """Sequence number of the first row that does not verify, None when all do."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long an append-only collection is kept. `collection` is a table name; rows have a `time` column in ms."""

    collection: str
    default_days: int


@dataclass(frozen=True, slots=True)
class MigrationFolder:
    """An Alembic version folder; `branch` is the branch label and equals the plugin's name."""

    branch: str
    folder: Path


class Collection(Protocol[DocumentT_co]):
    """All documents of one kind, in memory. Reading never waits."""

    def get(self, document_id: str) -> DocumentT_co | None: ...
    def __iter__(self) -> Iterator[DocumentT_co]: ...
    def __len__(self) -> int: ...
    def encoded(self, document_id: str) -> bytes:
        """The stored JSON of one document, kept beside it and rebuilt only after a change. KeyError if unknown."""
        ...


class Change(Protocol):
    """An administrative change being put together. Nothing is visible or durable before the block ends."""

    def put(self, document: Document) -> None:
        """Insert or replace a whole document."""
        ...

    def update(self, document: Document, **fields: Any) -> None:
        """Change some fields (Python names) of a stored document; other fields keep what telemetry last wrote."""
        ...

    def delete(self, document: Document) -> None: ...

    def execute(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> None:
        """A statement on a plugin's own table, run in the same transaction, in order."""
        ...

    def audit(self, **detail: Any) -> None:
        """Add members to the audit row's detail."""
        ...


class Store(Protocol):
    """Documents in memory, append-only records on disk."""

    @property
    def users(self) -> Collection[User]: ...
    @property
    def groups(self) -> Collection[DeviceGroup]: ...
    @property
    def devices(self) -> Collection[Device]: ...

    def change(self, audit: AuditEntry) -> AbstractAsyncContextManager[Change]:
        """Open an administrative change. Changes are serialised: what is read inside the block is still true when
        it commits. An exception inside the block drops all of it. Leaving the block waits for the commit."""
        ...

    def note(self, document: Document) -> None:
        """Replace (or add) a document by telemetry: seen at once, written behind."""
        ...

    def note_deleted(self, document: Document) -> None:
        """Remove a document by telemetry (a temporary agent left)."""
        ...

    def record_event(self, event: Mapping[str, Any], targets: Iterable[str]) -> None:
        """Append to the events, behind. `event` is the wire object; `time` is added when missing."""
        ...

    def record_power(self, device_id: str, power: int, previous: int) -> None:
        """Append a power state (1 on .. 8 off, 0 unknown), behind."""
        ...

    async def events(
        self, targets: Sequence[str] | None, *, limit: int, before: datetime | None = None
    ) -> list[dict[str, Any]]:
        """Newest first; `targets` None means all."""
        ...

    async def rows(self, statement: Executable) -> Sequence[RowMapping]:
        """Read from a plugin's own table (a SQLAlchemy select)."""
        ...

    async def value(self, key: str) -> Any | None:
        """A JSON value kept by the server itself (keys, schema facts), None when unset."""
        ...

    async def set_value(self, key: str, value: Any) -> None:
        """Durable when it returns; not audited: for the server's own secrets and marks."""
        ...

    async def flush(self) -> None:
        """Wait until everything noted so far is on disk."""
        ...

    async def verify_audit(self) -> AuditReport: ...

    def audit_rows(self) -> AsyncIterator[Mapping[str, Any]]:
        """The audit chain, oldest first, in pages."""
        ...
