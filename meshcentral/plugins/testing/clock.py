"""A clock under the test's control."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class ManualClock:
    """Stands still until `advance()`; implements `meshcentral.plugins.server.Clock`."""

    def __init__(self, start: datetime | None = None) -> None:
        """`start` is aware; now, when absent, so that fresh certificates are valid."""
        self._now = start or datetime.now(UTC)
        self._elapsed = 0.0

    def now(self) -> datetime:
        """Aware, UTC."""
        return self._now

    def milliseconds(self) -> int:
        """Milliseconds since 1970."""
        return int(self._now.timestamp() * 1000)

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return self._elapsed

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += timedelta(seconds=seconds)
        self._elapsed += seconds
