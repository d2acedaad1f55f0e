"""Login attempts by address: who guesses is slowed down and stopped, without locking anybody else out."""

from __future__ import annotations

import asyncio
import ipaddress
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from meshcentral.plugins.errors import NotAuthorised
from meshcentral.plugins.server import Clock

MAX_FAILURES = 10
WINDOW_SECONDS = 600.0
MAX_AT_ONCE = 4
"""Password checks of one address that run at a time; the others wait in line and are counted when they come on."""
MAX_WAITING = 64
"""Attempts of one address that wait in line; one more is turned away, whoever it is."""
MAX_SOURCES = 10_000


class LoginThrottled(NotAuthorised):
    """Too many failed logins from this address."""

    code = "throttled"


@dataclass(slots=True)
class _Source:
    failures: deque[float] = field(default_factory=deque)
    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_AT_ONCE))
    waiting: int = 0


class LoginThrottle:
    """Counts failures per address in a sliding window."""

    def __init__(self, clock: Clock, *, max_failures: int = MAX_FAILURES, window: float = WINDOW_SECONDS) -> None:
        self._clock = clock
        self._max_failures = max_failures
        self._window = window
        self._sources: OrderedDict[str, _Source] = OrderedDict()

    def is_closed(self, address: str) -> bool:
        """Whether this address has to wait before it may try again."""
        source = self._sources.get(source_of(address))
        return source is not None and self._failures(source) >= self._max_failures

    @asynccontextmanager
    async def attempt(self, address: str) -> AsyncIterator[None]:
        """Wait for a turn. Raises LoginThrottled, also after waiting when the others in line have failed."""
        source = self._source(source_of(address))
        if source.waiting >= MAX_WAITING:
            raise LoginThrottled("Too many logins at once from this address", hint="Try again in a moment.")
        source.waiting += 1
        try:
            async with source.gate:
                if self._failures(source) >= self._max_failures:
                    raise LoginThrottled("Too many failed logins from this address", hint="Try again in a while.")
                yield
        finally:
            source.waiting -= 1

    def failed(self, address: str) -> None:
        """Count a failure."""
        self._source(source_of(address)).failures.append(self._clock.monotonic())

    def _failures(self, source: _Source) -> int:
        oldest = self._clock.monotonic() - self._window
        while source.failures and source.failures[0] <= oldest:
            source.failures.popleft()
        return len(source.failures)

    def _source(self, key: str) -> _Source:
        source = self._sources.setdefault(key, _Source())
        self._sources.move_to_end(key)
        if len(self._sources) > MAX_SOURCES:
            self._forget_oldest()
        return source

    def _forget_oldest(self) -> None:
        for key, source in self._sources.items():
            if not source.waiting:
                del self._sources[key]
                return


def source_of(address: str) -> str:
    """What counts as one source: an IPv4 address, or the /64 network of an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, 64), strict=False))
