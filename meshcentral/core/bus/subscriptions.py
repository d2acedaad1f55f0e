"""The two kinds of registration on the bus: a subscriber with its overflow queue, and a listener in the process."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from meshcentral.core.bus.index import TargetIndex
from meshcentral.core.bus.publication import Publication
from meshcentral.plugins.errors import Conflict
from meshcentral.plugins.events import SessionControl, Subscriber

log = logging.getLogger("meshcentral.bus")

QUEUE_LIMIT = 1000
"""Events that wait for one slow recipient."""


class QueuedSubscription:
    """A subscriber's registration; implements `meshcentral.plugins.events.Subscription`.

    Messages wait here only while `deliver` answers False. A subscriber that raises is closed: what it has seen is
    unknown, and a gap would be silent.
    """

    __slots__ = ("_domain", "_index", "_limit", "_queue", "_resuming", "_subscriber", "closed", "targets")

    def __init__(self, index: TargetIndex, subscriber: Subscriber, domain: str, *, limit: int = QUEUE_LIMIT) -> None:
        self.targets: frozenset[str] = frozenset()
        self.closed = False
        self._index = index
        self._subscriber = subscriber
        self._domain = domain
        self._limit = limit
        self._queue: deque[bytes] = deque()
        self._resuming = False

    def retarget(self, targets: Iterable[str]) -> None:
        """Replace the targets; takes effect with the next event. Does nothing once closed."""
        if not self.closed:
            self._index.register(self, targets)

    def resume(self) -> None:
        """Deliver what is queued, in order, until the subscriber says "not now" again."""
        if not self._resuming:
            self._resuming = True
            self._guarded(self._deliver_queued)
            self._resuming = False

    def close(self) -> None:
        """End the registration and forget what is queued."""
        self.closed = True
        self._queue.clear()
        self._index.register(self, ())

    def offer(self, publication: Publication) -> None:
        """Deliver an event, or queue it behind those that wait."""
        if self.closed or not publication.for_domain(self._domain):
            return
        try:  # not `_guarded`: this runs for every event and recipient, where a closure counts
            self._take(publication.encoded_for(self._subscriber))
        except Exception:
            self._failed()

    def control(self, signal: SessionControl) -> None:
        """Pass an order on."""
        if not self.closed:
            self._guarded(lambda: self._subscriber.control(signal))

    def _take(self, message: bytes) -> None:
        if not self._queue and self._subscriber.deliver(message):
            return
        if len(self._queue) < self._limit:
            self._queue.append(message)
            return
        log.warning("%r does not keep up: %d events wait; it must connect again", self._subscriber, self._limit)
        self.close()
        self._subscriber.overflowed()

    def _deliver_queued(self) -> None:
        # The head stays in the queue until it is taken, so that what is published inside `deliver` waits behind it.
        while self._queue and self._subscriber.deliver(self._queue[0]):
            if not self.closed:
                self._queue.popleft()

    def _guarded(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception:
            self._failed()

    def _failed(self) -> None:
        log.exception("%r failed and gets no more events", self._subscriber)
        self.close()


class Listener:
    """A service's or test's registration: the wire objects of all domains, as an asynchronous iterator."""

    def __init__(self, *, limit: int = QUEUE_LIMIT) -> None:
        self.targets: frozenset[str] = frozenset()
        self._limit = limit
        self._queue: deque[Mapping[str, Any]] = deque()
        self._overflowed = False
        self._closed = False
        self._waiter: asyncio.Future[None] | None = None

    def offer(self, publication: Publication) -> None:
        """Queue the event."""
        if self._overflowed:
            return
        if len(self._queue) < self._limit:
            self._queue.append(publication.body)
        else:
            self._overflowed = True
        self._wake()

    def control(self, signal: SessionControl) -> None:
        """Orders are for sessions."""

    def close(self) -> None:
        """End the iteration after what is queued."""
        self._closed = True
        self._wake()

    def __aiter__(self) -> Listener:
        return self

    async def __anext__(self) -> Mapping[str, Any]:
        while not self._queue:
            if self._overflowed:
                raise Conflict(f"more than {self._limit} events were waiting; some were missed")
            if self._closed:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._queue.popleft()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
