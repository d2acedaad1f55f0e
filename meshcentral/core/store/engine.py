"""The database as the store uses it: one writer thread, a few reader threads, one error type.

Nothing here or above knows which database it is; what SQLite needs is in `sqlite.py`, which sets up the engine and
honours the `TRANSACTION` execution option. Another database is another such module.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from meshcentral.plugins.errors import Conflict, MeshError

T = TypeVar("T")

TRANSACTION = "mesh_transaction"
"""Name of the execution option that carries the `Transaction` of a connection to the engine's begin handler."""


class Transaction(enum.Enum):
    """What a transaction is for, which decides how it locks and what its commit guarantees."""

    ADMINISTRATIVE = "administrative"
    """Survives a power cut: on the medium when the commit returns."""
    TELEMETRY = "telemetry"
    """Survives a crash of the process; a power cut may take the last moments, never the consistency."""
    READ = "read"
    """A consistent view; takes no write lock."""


class DatabaseError(MeshError):
    """The database refused: full disk, broken file, lost connection. Nothing of the transaction was kept."""

    code = "database"


def database_error(error: SQLAlchemyError) -> MeshError:
    """Our error for one of SQLAlchemy's. The statement's parameters may be secrets and are never part of it."""
    reason = str(getattr(error, "orig", None) or error).splitlines()[0]
    if isinstance(error, IntegrityError):
        return Conflict(f"the database holds something that excludes this change: {reason}")
    return DatabaseError(
        f"the database could not do this: {reason}",
        hint="check free space and permissions of the data folder, then `mesh db check`",
    )


class Database:
    """Runs blocking work on a SQLAlchemy engine, each piece in a transaction of its own.

    All writes go through one thread, in the order in which they were asked for: the store relies on that order.
    """

    def __init__(self, engine: Engine, *, readers: int) -> None:
        """`readers` is the number of reader threads; 0 makes the writer read too (a shared in-memory database)."""
        self.engine = engine
        self._closed = False
        self._writer = ThreadPoolExecutor(1, "mesh-store-writer")
        self._reader = ThreadPoolExecutor(readers, "mesh-store-reader") if readers else self._writer

    def write(
        self, work: Callable[[Connection], T], transaction: Transaction = Transaction.ADMINISTRATIVE
    ) -> asyncio.Future[T]:
        """Queue work for the writer thread. It is in the queue when this returns, and cannot be cancelled there."""
        return self._submit(self._writer, lambda: self._run(work, transaction))

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run work in a reader thread, in one consistent view."""
        return await self._submit(self._reader, lambda: self._run(work, Transaction.READ))

    async def exclusively(self, work: Callable[[Engine], T]) -> T:
        """Run work that makes its own transactions, such as a migration, in the writer thread."""
        return await finished(self._submit(self._writer, lambda: self._guarded(work)))

    async def close(self) -> None:
        """Wait for what is queued, then close every connection. What is asked for later is refused."""
        self._closed = True
        await asyncio.to_thread(self._close)

    def _submit(self, pool: ThreadPoolExecutor, work: Callable[[], T]) -> asyncio.Future[T]:
        if self._closed:
            raise DatabaseError("the database is closed: the server is stopping")
        return asyncio.get_running_loop().run_in_executor(pool, work)

    def _close(self) -> None:
        self._writer.shutdown()
        self._reader.shutdown()
        self.engine.dispose()

    def _run(self, work: Callable[[Connection], T], transaction: Transaction) -> T:
        try:
            with self.engine.connect() as connection:
                connection.execution_options(**{TRANSACTION: transaction})
                with connection.begin():
                    return work(connection)
        except SQLAlchemyError as error:
            raise database_error(error) from error

    def _guarded(self, work: Callable[[Engine], T]) -> T:
        try:
            return work(self.engine)
        except SQLAlchemyError as error:
            raise database_error(error) from error


async def settled(future: asyncio.Future[T]) -> asyncio.CancelledError | None:
    """Wait until the future is done, even when we are cancelled meanwhile; returns that cancellation.

    A transaction that was handed to the writer takes place whatever happens to the task that wanted it, so its
    outcome must be seen. The caller raises the cancellation after it has dealt with the outcome.
    """
    interruption: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait((future,))
        except asyncio.CancelledError as cancelled:
            interruption = cancelled
    return interruption


async def finished(future: asyncio.Future[T]) -> T:
    """The future's result; a cancellation takes effect only after it is there."""
    if interruption := await settled(future):
        future.exception()
        raise interruption
    return future.result()
