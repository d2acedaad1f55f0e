"""Real time."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class SystemClock:
    """The clock of the machine; implements `meshcentral.plugins.server.Clock`."""

    __slots__ = ()

    def now(self) -> datetime:
        """Aware, UTC."""
        return datetime.now(UTC)

    def milliseconds(self) -> int:
        """Milliseconds since 1970, for the wire."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds, for intervals."""
        return time.monotonic()
