"""How many of its events a device may have kept: a rogue agent must not fill the disk."""

from __future__ import annotations

import enum

from meshcentral.plugins.server import Clock

EVENTS = 60
SECONDS = 60.0
"""A device that says something each second is busy; one that says more is broken or hostile."""


class Verdict(enum.Enum):
    """What becomes of an event."""

    KEEP = "keep"
    FIRST_OVER = "first-over"
    """Not kept, and the one to warn of."""
    OVER = "over"
    """Not kept."""


class EventBudget:
    """Counts stored events per device in fixed windows; all devices share one window, so that forgetting is free."""

    def __init__(self, clock: Clock, *, events: int = EVENTS, seconds: float = SECONDS) -> None:
        self._clock = clock
        self._events = events
        self._seconds = seconds
        self._began = clock.monotonic()
        self._counts: dict[str, int] = {}

    def take(self, node_id: str) -> Verdict:
        """Count one event of a device."""
        now = self._clock.monotonic()
        if now - self._began >= self._seconds:
            self._began = now
            self._counts.clear()
        count = self._counts[node_id] = self._counts.get(node_id, 0) + 1
        if count <= self._events:
            return Verdict.KEEP
        return Verdict.FIRST_OVER if count == self._events + 1 else Verdict.OVER
