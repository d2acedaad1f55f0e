"""Agents that come and go too often are put to rest (agent-protocol reference, 3.4)."""

from __future__ import annotations

import enum
from collections import Counter

WINDOW = 120.0
"""Seconds after which all counts start again."""
MAX_TROUBLE = 4
"""Disconnects in a window above which the core is taken for broken: it is cleared and the agent waits."""
MAX_STORM = 6
"""Disconnects in a window above which the agent is not even let in."""


class Verdict(enum.Enum):
    """What a count of disconnects means for the next connection."""

    WELCOME = "welcome"
    CLEAR_CORE = "clear-core"
    REFUSE = "refuse"


class ReconnectCounter:
    """Disconnects per device in the present window. Memory is bounded by what leaves within a window."""

    __slots__ = ("_counts", "_window_ends")

    def __init__(self, now: float) -> None:
        self._counts: Counter[str] = Counter()
        self._window_ends = now + WINDOW

    def disconnected(self, node_id: str, now: float) -> None:
        """Count one disconnect."""
        self._renew(now)
        self._counts[node_id] += 1

    def verdict(self, node_id: str, now: float) -> Verdict:
        """How to receive this device's agent."""
        self._renew(now)
        count = self._counts.get(node_id, 0)
        if count > MAX_STORM:
            return Verdict.REFUSE
        return Verdict.CLEAR_CORE if count > MAX_TROUBLE else Verdict.WELCOME

    def _renew(self, now: float) -> None:
        if now >= self._window_ends:
            self._counts.clear()
            self._window_ends = now + WINDOW
