"""The in-process event bus; implements `meshcentral.plugins.events.Bus`."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from meshcentral.core.bus.index import TargetIndex
from meshcentral.core.bus.publication import Publication
from meshcentral.core.bus.subscriptions import QUEUE_LIMIT, Listener, QueuedSubscription
from meshcentral.core.clock import SystemClock
from meshcentral.plugins.events import AnyEvent, Redaction, SessionControl, Subscriber, wire_time

if TYPE_CHECKING:
    from meshcentral.plugins.server import Clock

log = logging.getLogger("meshcentral.bus")

Record = Callable[[Mapping[str, Any], Iterable[str]], None]
"""Where events that are kept go: `Store.record_event`."""

_Item = tuple[Publication | SessionControl, tuple[str, ...]]


class EventBus:
    """Fan-out of events to the subscribers of one process.

    What is published while an event is being delivered waits until every recipient has that event, so that all see
    the same order.
    """

    def __init__(
        self,
        record: Record | None = None,
        redactions: Iterable[Redaction] = (),
        *,
        clock: Clock | None = None,
        queue_limit: int = QUEUE_LIMIT,
    ) -> None:
        self._record = record
        self._redactions: dict[str, list[Redaction]] = {}
        for redaction in redactions:
            self._redactions.setdefault(redaction.action, []).append(redaction)
        self._clock: Clock = clock or SystemClock()
        self._queue_limit = queue_limit
        self._index = TargetIndex()
        self._outbox: deque[_Item] = deque()
        self._dispatching = False

    def publish(self, event: AnyEvent, targets: Iterable[str]) -> None:
        """Send an event to everyone who subscribed to one of the targets, and keep it unless it says otherwise."""
        body = event.to_wire()
        targets = tuple(targets)
        if stored := not body.get("nolog"):
            body.setdefault("time", wire_time(self._clock.now()))
        try:
            publication = Publication(body, self._redactions.get(str(body.get("action")), ()))
        except (ValueError, TypeError) as error:
            log.error("the event %r is not JSON and was dropped: %s", body.get("action"), error)
            return
        if stored:
            self._keep(body, targets)
        self._send(publication, targets)

    def signal(self, control: SessionControl, targets: Iterable[str]) -> None:
        """Send an order to the sessions subscribed to one of the targets; keeps its place among the events."""
        self._send(control, tuple(targets))

    def subscribe(self, subscriber: Subscriber, targets: Iterable[str], *, domain: str = "") -> QueuedSubscription:
        """Register a subscriber for events of its domain (and those that name none)."""
        subscription = QueuedSubscription(self._index, subscriber, domain, limit=self._queue_limit)
        subscription.retarget(targets)
        return subscription

    def redacted(
        self, event: Mapping[str, Any], sees: Callable[[Redaction, Mapping[str, Any]], bool]
    ) -> Mapping[str, Any]:
        """A stored event as somebody may see it; `sees` is that of a Subscriber."""
        for redaction in self._redactions.get(str(event.get("action")), ()):
            if redaction.concerns(event) and not sees(redaction, event):
                event = redaction.applied_to(event)
        return event

    @contextmanager
    def listen(self, targets: Iterable[str]) -> Iterator[AsyncIterator[Mapping[str, Any]]]:
        """The wire objects of matching events of all domains, unredacted: for the server's own parts and tests.

        They are shared with other recipients and must not be changed. The iterator raises Conflict when its reader
        fell too far behind, and ends with the block.
        """
        listener = Listener(limit=self._queue_limit)
        self._index.register(listener, targets)
        try:
            yield listener
        finally:
            self._index.register(listener, ())
            listener.close()

    def _keep(self, body: Mapping[str, Any], targets: tuple[str, ...]) -> None:
        if self._record is None:
            return
        try:
            self._record(body, targets)
        except Exception:
            log.exception("the event %r could not be kept", body.get("action"))

    def _send(self, content: Publication | SessionControl, targets: tuple[str, ...]) -> None:
        self._outbox.append((content, targets))
        if self._dispatching:
            return
        self._dispatching = True
        try:
            while self._outbox:
                self._dispatch(*self._outbox.popleft())
        finally:
            self._dispatching = False

    def _dispatch(self, content: Publication | SessionControl, targets: tuple[str, ...]) -> None:
        recipients = self._index.find(targets)
        if isinstance(content, SessionControl):
            for recipient in recipients:
                recipient.control(content)
        else:
            for recipient in recipients:
                recipient.offer(content)
