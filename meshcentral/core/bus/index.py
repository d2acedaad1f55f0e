"""Which registrations want which target."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from meshcentral.core.bus.publication import Publication
from meshcentral.plugins.events import SessionControl


class Registration(Protocol):
    """What the index holds. Neither method raises."""

    targets: frozenset[str]

    def offer(self, publication: Publication) -> None: ...
    def control(self, signal: SessionControl) -> None: ...


class TargetIndex:
    """Registrations by target, each in the order in which it came."""

    __slots__ = ("_by_target",)

    def __init__(self) -> None:
        self._by_target: dict[str, dict[Registration, None]] = {}

    def register(self, registration: Registration, targets: Iterable[str]) -> None:
        """Replace the targets of a registration; none removes it."""
        wanted = frozenset(targets)
        for target in registration.targets - wanted:
            registrations = self._by_target[target]
            del registrations[registration]
            if not registrations:
                del self._by_target[target]
        for target in wanted - registration.targets:
            self._by_target.setdefault(target, {})[registration] = None
        registration.targets = wanted

    def find(self, targets: Iterable[str]) -> Sequence[Registration]:
        """Everyone who wants one of the targets, each once."""
        found: dict[Registration, None] = {}
        for target in targets:
            found.update(self._by_target.get(target, {}))
        return tuple(found)
