"""The write-behind queue: telemetry reaches the disk in batches and never delays the event loop.

A changed document is only marked; what is written is the document as it is in memory when its batch is made, so a
thousand changes of one device within a tenth of a second are one row. Events and power states are rows of their own
and wait in order. When the disk is stuck, the oldest of these are dropped and counted; documents stay marked.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import Connection, delete

from meshcentral.core.store import records
from meshcentral.core.store.documents import DocumentCollection
from meshcentral.core.store.engine import Database, DatabaseError, Transaction
from meshcentral.core.store.records import Record
from meshcentral.core.store.tables import DOCUMENTS, upsert
from meshcentral.plugins.documents import Document

log = logging.getLogger("meshcentral.store")

INTERVAL = 0.1
"""Seconds from the first mark to the write."""
RETRY_INTERVAL = 1.0
"""Seconds to the next try after a write failed."""
BATCH = 500
"""Rows that start a write at once; one write holds at most so many documents and so many records."""
MAX_RECORDS = 20_000
"""Events and power states that may wait for a stuck disk."""
MAX_RECORD_BYTES = 32 * 1024 * 1024
"""What these may weigh together: text of devices can be long."""


@dataclass(frozen=True, slots=True)
class DocumentWrite:
    """A document as it is to be stored; `body` None deletes the row."""

    id: str
    kind: str
    domain: str
    body: str | None

    @classmethod
    def of(cls, document_id: str, collection: DocumentCollection[Any]) -> DocumentWrite:
        """The document as it is in memory now."""
        document: Document | None = collection.get(document_id)
        if document is None:
            return cls(document_id, collection.type.kind, "", None)
        return cls(document_id, collection.type.kind, document.domain, collection.encoded(document_id).decode())


def write_documents(connection: Connection, writes: Iterable[DocumentWrite]) -> None:
    """Store or delete documents, in the caller's transaction."""
    stored: list[dict[str, Any]] = []
    deleted: list[str] = []
    for write in writes:
        if write.body is None:
            deleted.append(write.id)
        else:
            stored.append(
                {"id": write.id, "kind": write.kind, "domain": write.domain, "version": 1, "body": write.body}
            )
    if stored:
        connection.execute(upsert(DOCUMENTS), stored)
    if deleted:
        connection.execute(delete(DOCUMENTS).where(DOCUMENTS.c.id.in_(deleted)))


@dataclass(slots=True)
class _Mark:
    """A document whose row is older than memory."""

    number: int
    collection: DocumentCollection[Any]


@dataclass(slots=True)
class _Batch:
    """What one write takes along: enough to put it back when the write fails."""

    oldest: float
    """Number of the oldest thing in it."""
    marks: dict[str, _Mark]
    documents: list[DocumentWrite]
    records: list[tuple[int, Record]]

    def write(self, connection: Connection) -> None:
        """Runs in the writer thread."""
        write_documents(connection, self.documents)
        records.append(connection, [record for _, record in self.records])


class WriteBehind:
    """Marks, waits, writes. All methods are called on the event loop; none but `flush` waits."""

    def __init__(self, database: Database, *, interval: float = INTERVAL, max_records: int = MAX_RECORDS) -> None:
        self.dropped = 0
        """Records lost because the disk was stuck, since the start."""
        self._database = database
        self._interval = interval
        self._max_records = max_records
        self._number = 0
        self._marks: dict[str, _Mark] = {}
        self._records: deque[tuple[int, Record]] = deque()
        self._weight = 0
        self._held: set[str] = set()
        self._batch: _Batch | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._failing = False
        self._closed = False
        self._progress: asyncio.Future[BaseException | None] | None = None

    def mark(self, document_id: str, collection: DocumentCollection[Any]) -> None:
        """The document changed in memory or was removed from it."""
        self._number += 1
        if document_id not in self._marks:
            self._marks[document_id] = _Mark(self._number, collection)
        self._schedule()

    def append(self, record: Record) -> None:
        """Queue a record. The oldest is dropped when too many wait."""
        self._number += 1
        self._records.append((self._number, record))
        self._weight += record.weight
        self._bound()
        self._schedule()

    def hold(self, document_ids: Iterable[str]) -> None:
        """Do not write these documents: a transaction on them is under way whose outcome memory does not show yet."""
        self._held.update(document_ids)

    def release(self, document_ids: Iterable[str]) -> None:
        """Memory shows the outcome: the documents may be written again."""
        self._held.difference_update(document_ids)
        self._schedule()

    async def flush(self) -> None:
        """Wait until all that is queued now is on disk. Raises the error of the write that failed."""
        goal = self._number
        while self._oldest() <= goal:
            self._start()
            if self._progress is None:
                self._progress = asyncio.get_running_loop().create_future()
            if error := await asyncio.shield(self._progress):
                raise error

    async def close(self) -> None:
        """Write what is left and stop; what comes later is not written. A failure is logged: nobody is left to tell."""
        try:
            await self.flush()
        except Exception:
            log.exception("the last telemetry could not be written")
        finally:
            self._closed = True
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _oldest(self) -> float:
        """Number of the oldest thing that is not on disk."""
        waiting = _first_number(self._marks, self._records)
        return waiting if self._batch is None else min(waiting, self._batch.oldest)

    def _schedule(self) -> None:
        if self._closed or self._batch is not None or not (self._marks or self._records):
            return
        if self._failing:
            self._start_in(RETRY_INTERVAL)
        elif self._progress is not None or len(self._marks) + len(self._records) >= BATCH:
            self._start()
        else:
            self._start_in(self._interval)

    def _start_in(self, delay: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(delay, self._start)

    def _start(self) -> None:
        """Begin a write unless one is under way or there is nothing that may be written."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._batch is not None or (batch := self._take()) is None:
            return
        self._batch = batch
        self._database.write(batch.write, Transaction.TELEMETRY).add_done_callback(self._written)

    def _take(self) -> _Batch | None:
        ready = list(islice((document_id for document_id in self._marks if document_id not in self._held), BATCH))
        marks = {document_id: self._marks.pop(document_id) for document_id in ready}
        taken = [self._records.popleft() for _ in range(min(BATCH, len(self._records)))]
        self._weight -= sum(record.weight for _, record in taken)
        if not (marks or taken):
            return None
        documents = [DocumentWrite.of(document_id, mark.collection) for document_id, mark in marks.items()]
        return _Batch(_first_number(marks, taken), marks, documents, taken)

    def _written(self, future: asyncio.Future[None]) -> None:
        batch, self._batch = self._batch, None
        error = future.exception()
        if batch is not None and error is not None:
            self._failed(batch, error)
        elif self._failing:
            self._failing = False
            log.warning("telemetry is written again; %d records were dropped so far", self.dropped)
        if (progress := self._progress) is not None:
            self._progress = None
            progress.set_result(error)
        self._schedule()

    def _failed(self, batch: _Batch, error: BaseException) -> None:
        if isinstance(error, DatabaseError):
            if not self._failing:
                self._failing = True
                log.error("telemetry cannot be written and waits in memory: %s", error)
            self._put_back(batch)
        else:
            # Not the database but something in the batch: kept, it would block everything behind it for ever.
            self.dropped += len(batch.records)
            log.error("%d rows of telemetry were dropped", len(batch.marks) + len(batch.records), exc_info=error)

    def _put_back(self, batch: _Batch) -> None:
        # A document that was marked again meanwhile keeps its older number: it is still not on disk.
        self._marks = batch.marks | {
            document_id: mark for document_id, mark in self._marks.items() if document_id not in batch.marks
        }
        self._records.extendleft(reversed(batch.records))
        self._weight += sum(record.weight for _, record in batch.records)
        self._bound()

    def _bound(self) -> None:
        while len(self._records) > self._max_records or self._weight > MAX_RECORD_BYTES:
            self._weight -= self._records.popleft()[1].weight
            if self.dropped % self._max_records == 0:
                log.error("the disk is stuck: the oldest events are being dropped (%d so far)", self.dropped)
            self.dropped += 1


def _first_number(marks: dict[str, _Mark], waiting: Sequence[tuple[int, Record]]) -> float:
    """Number of the oldest of both; each is in the order of its numbers."""
    oldest = float("inf")
    for mark in islice(marks.values(), 1):
        oldest = mark.number
    for number, _ in islice(waiting, 1):
        oldest = min(oldest, number)
    return oldest
