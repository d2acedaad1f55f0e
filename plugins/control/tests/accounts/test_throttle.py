"""What counts as one source, and that memory stays bounded."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from meshcentral_control.accounts import throttle
from meshcentral_control.accounts.throttle import LoginThrottle, LoginThrottled, source_of


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("local", "local"),
        ("", ""),
    ],
)
def test_sources(address, source):
    assert source_of(address) == source


def test_the_window_slides(manual_clock):
    gate = LoginThrottle(manual_clock, max_failures=2, window=60)
    gate.failed("192.0.2.1")
    manual_clock.advance(40)
    gate.failed("192.0.2.1")
    assert gate.is_closed("192.0.2.1")
    manual_clock.advance(20)
    assert not gate.is_closed("192.0.2.1")


def test_sources_are_forgotten_when_there_are_too_many(manual_clock, monkeypatch):
    monkeypatch.setattr(throttle, "MAX_SOURCES", 100)
    gate = LoginThrottle(manual_clock, max_failures=1)
    for number in range(500):
        gate.failed(f"198.51.100.{number}")
    assert len(gate._sources) == 100
    assert gate.is_closed("198.51.100.499")
    assert not gate.is_closed("198.51.100.1")


async def test_a_crowd_from_one_address_is_turned_away_and_others_come_in(manual_clock, monkeypatch):
    monkeypatch.setattr(throttle, "MAX_WAITING", 3)
    gate = LoginThrottle(manual_clock)
    async with AsyncExitStack() as inside:
        for _ in range(3):
            await inside.enter_async_context(gate.attempt("192.0.2.1"))
        with pytest.raises(LoginThrottled, match="at once"):
            await inside.enter_async_context(gate.attempt("192.0.2.1"))
        await inside.enter_async_context(gate.attempt("192.0.2.2"))
    async with gate.attempt("192.0.2.1"):
        assert not gate.is_closed("192.0.2.1")
