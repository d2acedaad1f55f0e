"""One timer for everything that waits for a silent peer.

A timer per connection costs memory and heap work for each message. Here each item says when it wants to be looked at
next (`due`, loop time) and one timer looks at all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

INTERVAL = 1.0
"""Seconds between two looks, and so the precision of every time-out that is kept here."""


class Sweepable(Protocol):
    """Something with a deadline."""

    due: float

    def expire(self, now: float) -> None:
        """`due` has passed: act, and set the next one."""
        ...


T = TypeVar("T", bound=Sweepable)


class Sweep(Generic[T]):
    """The set of live items and their one timer, which runs only while there are items."""

    def __init__(self, interval: float = INTERVAL) -> None:
        self._interval = interval
        self._items: dict[T, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._empty: list[asyncio.Future[None]] = []

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        """A snapshot, oldest first."""
        return iter(list(self._items))

    def add(self, item: T) -> None:
        self._items[item] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._interval, self._tick)

    def discard(self, item: T) -> None:
        self._items.pop(item, None)
        if not self._items:
            self._stop()

    def oldest(self) -> T:
        """The item that was added first; KeyError-free only when there are items."""
        return next(iter(self._items))

    async def wait_empty(self) -> None:
        """Wait until the last item was discarded."""
        if self._items:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._empty.append(future)
            await future

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._empty = self._empty, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._timer = loop.call_later(self._interval, self._tick)
        for item in [item for item in self._items if item.due <= now]:
            item.expire(now)
