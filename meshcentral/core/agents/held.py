"""The list of agents that were not let in, for administrators. What fills it is hostile input: all of it is bounded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from meshcentral.plugins.agents import HeldAgent

MAX_HELD = 500
"""Entries that are kept; the oldest goes first."""
MAX_ANNOUNCED = 30
"""Events in `ANNOUNCE_WINDOW` seconds: strangers from many addresses must not fill the event log."""
ANNOUNCE_WINDOW = 60.0

_Key = tuple[str, str]


class HeldAgents:
    """One entry per device (or address, while the device is not proved) and reason; the newest is last."""

    __slots__ = ("_announced", "_entries", "_window_ends")

    def __init__(self) -> None:
        self._entries: OrderedDict[_Key, HeldAgent] = OrderedDict()
        self._announced = 0
        self._window_ends = 0.0

    def add(self, held: HeldAgent, now: float) -> bool:
        """Keep an entry. True when it is new and is to be announced."""
        key = (held.node_id or held.remote_address, held.reason)
        known = key in self._entries
        self._entries[key] = held
        self._entries.move_to_end(key)
        if len(self._entries) > MAX_HELD:
            self._entries.popitem(last=False)
        return not known and self._may_announce(now)

    def forget(self, node_id: str) -> None:
        """The device was let in after all."""
        if self._entries:
            for key in [key for key in self._entries if key[0] == node_id]:
                del self._entries[key]

    def entries(self) -> Sequence[HeldAgent]:
        """All entries, oldest first."""
        return tuple(self._entries.values())

    def _may_announce(self, now: float) -> bool:
        if now >= self._window_ends:
            self._window_ends = now + ANNOUNCE_WINDOW
            self._announced = 0
        self._announced += 1
        return self._announced <= MAX_ANNOUNCED
