"""Recording what a server publishes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import Any

from meshcentral.plugins.events import EVERYTHING, Bus, Redaction, SessionControl


class BusLog:
    """A subscriber that keeps everything it is given, in order."""

    def __init__(self, bus: Bus, targets: Iterable[str] = (EVERYTHING,), *, domain: str = "") -> None:
        self.events: list[dict[str, Any]] = []
        """The wire objects of events."""
        self.signals: list[SessionControl] = []
        self._changed = asyncio.Event()
        self._subscription = bus.subscribe(self, targets, domain=domain)

    def actions(self) -> list[str]:
        """The `action` of each event."""
        return [event["action"] for event in self.events]

    async def wait_for(self, action: str, timeout: float = 10.0) -> dict[str, Any]:
        """The first event of that action, past or to come. Raises TimeoutError with what came instead."""
        try:
            async with asyncio.timeout(timeout):
                while True:
                    for event in self.events:
                        if event["action"] == action:
                            return event
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise TimeoutError(f"no event {action}; there were {self.actions()}") from None

    def close(self) -> None:
        self._subscription.close()

    def deliver(self, message: bytes) -> bool:
        self.events.append(json.loads(message)["event"])
        self._changed.set()
        return True

    def control(self, signal: SessionControl) -> None:
        self.signals.append(signal)

    def overflowed(self) -> None:
        raise AssertionError("the bus gave up on a subscriber that never refuses a message")

    def sees(self, redaction: Redaction, event: Mapping[str, Any]) -> bool:
        return True
