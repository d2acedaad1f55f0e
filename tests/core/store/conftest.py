"""Stores on real SQLite files and in memory, with a clock that stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from meshcentral.core.store import DocumentStore
from meshcentral.plugins.store import MigrationFolder, Retention


class FixedClock:
    """Implements `meshcentral.plugins.server.Clock`; moves only when told to."""

    def __init__(self) -> None:
        self.time = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def milliseconds(self) -> int:
        return int(self.time.timestamp() * 1000)

    def monotonic(self) -> float:
        return self.time.timestamp()

    def advance(self, **by: float) -> None:
        self.time += timedelta(**by)


OpenStore = Callable[..., Awaitable[DocumentStore]]


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "mesh.sqlite3"


@pytest.fixture
async def open_store(database: Path, clock: FixedClock) -> AsyncIterator[OpenStore]:
    """Open the file's store, as often as the test likes; closed at the end."""
    opened: list[DocumentStore] = []

    async def open_one(
        migrations: Iterable[MigrationFolder] = (), retention: Iterable[Retention] = ()
    ) -> DocumentStore:
        for store in opened:
            await store.close()
        opened[:] = [await DocumentStore.open(database, tuple(migrations), tuple(retention), clock=clock)]
        return opened[0]

    yield open_one
    for store in opened:
        await store.close()


@pytest.fixture(params=["memory", "file"])
async def store(request: pytest.FixtureRequest, database: Path, clock: FixedClock) -> AsyncIterator[DocumentStore]:
    """An empty store of each kind."""
    path = database if request.param == "file" else None
    opened = await DocumentStore.open(path, clock=clock)
    yield opened
    await opened.close()
