"""The real clock, and that the test clock keeps the same promises."""

from __future__ import annotations

from datetime import UTC, timedelta

import pytest

from meshcentral.core.clock import SystemClock
from meshcentral.plugins.server import Clock
from meshcentral.plugins.testing.clock import ManualClock


@pytest.mark.parametrize("clock", [SystemClock(), ManualClock()])
def test_times_are_aware_and_agree(clock: Clock) -> None:
    before = clock.now()
    assert before.tzinfo is UTC
    assert abs(clock.milliseconds() - before.timestamp() * 1000) < 60_000
    assert clock.monotonic() <= clock.monotonic()


def test_a_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock()
    now, elapsed = clock.now(), clock.monotonic()
    clock.advance(90)
    assert clock.now() - now == timedelta(seconds=90)
    assert clock.monotonic() - elapsed == 90
