"""The event bus's contract (`meshcentral.plugins.events`)."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcentral.core.bus import EventBus
from meshcentral.core.bus.subscriptions import QUEUE_LIMIT
from meshcentral.plugins.errors import Conflict
from meshcentral.plugins.events import (
    EVERYTHING,
    AgentHeld,
    Bus,
    NodeConnectivityChanged,
    NodeRemoved,
    Redaction,
    SessionControl,
    Subscriber,
    Subscription,
    WireEvent,
)
from meshcentral.plugins.rights import Capability


class Session:
    """A subscriber that notes what it gets, and does what the test tells it."""

    def __init__(self, *capabilities: Capability) -> None:
        self.capabilities = capabilities
        self.messages: list[bytes] = []
        self.signals: list[SessionControl] = []
        self.ready = True
        self.overflows = 0
        self.before: Callable[[bytes], None] | None = None

    def deliver(self, message: bytes) -> bool:
        if not self.ready:
            return False
        self.messages.append(message)
        if self.before is not None:
            self.before(message)
        return True

    def control(self, signal: SessionControl) -> None:
        self.signals.append(signal)

    def overflowed(self) -> None:
        self.overflows += 1

    def sees(self, redaction: Redaction, event: Mapping[str, Any]) -> bool:
        return redaction.unless in self.capabilities

    @property
    def events(self) -> list[dict[str, Any]]:
        decoded = [json.loads(message) for message in self.messages]
        assert all(set(message) == {"action", "event"} and message["action"] == "event" for message in decoded)
        return [message["event"] for message in decoded]

    @property
    def numbers(self) -> list[int]:
        return [event["n"] for event in self.events]


class StillClock:
    def now(self) -> datetime:
        return datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)

    def milliseconds(self) -> int:
        return 0

    def monotonic(self) -> float:
        return 0.0


def numbered(number: int, **members: Any) -> WireEvent:
    return WireEvent({"action": "test", "n": number, "nolog": 1, **members})


@pytest.fixture
def bus() -> EventBus:
    return EventBus()


def test_the_bus_implements_the_public_protocol(bus: EventBus) -> None:
    public: Bus = bus
    subscriber: Subscriber = Session()
    subscription: Subscription = public.subscribe(subscriber, ["*"])
    subscription.close()


def test_an_event_reaches_its_targets_once(bus: EventBus) -> None:
    ann, bob = Session(), Session()
    bus.subscribe(ann, ["user//ann", "mesh//a", EVERYTHING])
    bus.subscribe(bob, ["user//bob"])
    bus.publish(numbered(1), ["*", "mesh//a", "node//1", "mesh//a"])
    bus.publish(numbered(2), ["user//bob"])
    bus.publish(numbered(3), ["nobody"])
    bus.publish(numbered(4), [])
    assert (ann.numbers, bob.numbers) == ([1], [2])


def test_typed_events_have_the_wire_form_of_the_peer(bus: EventBus) -> None:
    session = Session()
    bus.subscribe(session, ["*"])
    bus.publish(
        NodeConnectivityChanged(node_id="node//1", group_id="mesh//a", connectivity=1, power=1, connect_time=5), ["*"]
    )
    assert session.messages == [
        b'{"action":"event","event":{"etype":"node","action":"nodeconnect","domain":"","nodeid":"node//1",'
        b'"meshid":"mesh//a","conn":1,"pwr":1,"ct":5,"nolog":1}}'
    ]


def test_stored_events_get_a_time_and_are_kept() -> None:
    kept: list[tuple[Mapping[str, Any], tuple[str, ...]]] = []

    def record(event: Mapping[str, Any], targets: Iterable[str]) -> None:
        kept.append((event, tuple(targets)))

    bus, session = EventBus(record, clock=StillClock()), Session()
    bus.subscribe(session, ["*"])
    bus.publish(AgentHeld(reason="x", detail="y", address="z"), iter(["*", "server-users"]))
    bus.publish(WireEvent({"action": "timed", "time": "2001-01-01T00:00:00.000Z"}), ["*"])
    bus.publish(numbered(1), ["*"])
    assert [event.get("time") for event in session.events] == [
        "2030-01-02T03:04:05.678Z",
        "2001-01-01T00:00:00.000Z",
        None,
    ]
    assert [(event["action"], targets) for event, targets in kept] == [
        ("agentheld", ("*", "server-users")),
        ("timed", ("*",)),
    ]


def test_a_failing_store_does_not_stop_delivery(caplog: pytest.LogCaptureFixture) -> None:
    def record(event: Mapping[str, Any], targets: Iterable[str]) -> None:
        raise OSError("no room")

    bus, session = EventBus(record), Session()
    bus.subscribe(session, ["*"])
    bus.publish(NodeRemoved(node_id="node//1", group_id="mesh//a"), ["*"])
    assert len(session.messages) == 1
    assert "'removenode' could not be kept" in caplog.text


@pytest.mark.parametrize("value", [float("nan"), object(), {"a": {1, 2}}])
def test_an_event_that_is_not_json_is_dropped_and_blamed_on_nobody(
    bus: EventBus, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    session = Session()
    bus.subscribe(session, ["*"])
    bus.publish(numbered(1, value=value), ["*"])
    bus.publish(numbered(2, text="\ud800"), ["*"])
    assert session.numbers == [2]
    assert "is not JSON" in caplog.text


def test_events_of_another_domain_are_not_delivered(bus: EventBus) -> None:
    default, customer = Session(), Session()
    bus.subscribe(default, ["*"])
    bus.subscribe(customer, ["*"], domain="customer")
    bus.publish(numbered(1, domain=""), ["*"])
    bus.publish(numbered(2, domain="customer"), ["*"])
    bus.publish(numbered(3), ["*"])
    bus.publish(numbered(4, domain="third"), ["*"])
    assert (default.numbers, customer.numbers) == ([1, 3], [2, 3])


def test_one_encoding_serves_all_who_see_the_same() -> None:
    share = Redaction("share", ("share", "url"), Capability.GUEST_SHARING)
    password = Redaction("share", ("secret",), Capability.EDIT_GROUP, replacement=1)
    unrelated = Redaction("share", ("absent", "member"), Capability.AMT)
    bus = EventBus(redactions=[share, password, unrelated])
    nobody, other_nobody, guest, owner = (
        Session(),
        Session(Capability.AMT),
        Session(Capability.GUEST_SHARING),
        Session(Capability.GUEST_SHARING, Capability.EDIT_GROUP),
    )
    for session in (nobody, other_nobody, guest, owner):
        bus.subscribe(session, ["*"])
    body = {"action": "share", "share": {"url": "https://x", "id": 7}, "secret": "s", "nolog": 1}
    bus.publish(WireEvent(body), ["*"])
    rest = {"action": "share", "nolog": 1}
    assert nobody.events == [rest | {"share": {"id": 7}, "secret": 1}]
    assert guest.events == [rest | {"share": {"id": 7, "url": "https://x"}, "secret": 1}]
    assert owner.events == [body]
    assert nobody.messages[0] is other_nobody.messages[0]
    assert body["secret"] == "s"
    bus.publish(numbered(1), ["*"])
    assert nobody.messages[1] is owner.messages[1]


def test_a_slow_subscriber_gets_everything_in_order_later(bus: EventBus) -> None:
    session = Session()
    subscription = bus.subscribe(session, ["*"])
    bus.publish(numbered(0), ["*"])
    session.ready = False
    for number in range(1, 5):
        bus.publish(numbered(number), ["*"])
    session.ready = True
    bus.publish(numbered(5), ["*"])
    assert session.numbers == [0]
    subscription.resume()
    bus.publish(numbered(6), ["*"])
    assert session.numbers == [0, 1, 2, 3, 4, 5, 6]


def test_resume_stops_when_the_subscriber_is_full_again(bus: EventBus) -> None:
    session = Session()
    subscription = bus.subscribe(session, ["*"])
    session.ready = False
    for number in range(4):
        bus.publish(numbered(number), ["*"])
    session.ready = True
    session.before = lambda message: setattr(session, "ready", len(session.messages) < 2)
    subscription.resume()
    assert session.numbers == [0, 1]
    session.before, session.ready = None, True
    subscription.resume()
    assert session.numbers == [0, 1, 2, 3]


def test_a_stalled_subscriber_costs_itself_and_no_other(bus: EventBus, caplog: pytest.LogCaptureFixture) -> None:
    stalled, healthy = Session(), Session()
    subscription = bus.subscribe(stalled, ["*"])
    bus.subscribe(healthy, ["*"])
    stalled.ready = False
    for number in range(QUEUE_LIMIT + 5):
        bus.publish(numbered(number), ["*"])
    assert stalled.overflows == 1
    assert healthy.numbers == list(range(QUEUE_LIMIT + 5))
    assert "does not keep up" in caplog.text
    stalled.ready = True
    subscription.resume()
    subscription.retarget(["*"])
    bus.publish(numbered(9999), ["*"])
    assert stalled.messages == []


def test_a_queue_that_is_exactly_full_loses_nothing(bus: EventBus) -> None:
    session = Session()
    subscription = bus.subscribe(session, ["*"])
    session.ready = False
    for number in range(QUEUE_LIMIT):
        bus.publish(numbered(number), ["*"])
    session.ready = True
    subscription.resume()
    assert session.numbers == list(range(QUEUE_LIMIT))
    assert session.overflows == 0


class Broken(Session):
    def __init__(self, method: str) -> None:
        super().__init__()
        self.method = method

    def deliver(self, message: bytes) -> bool:
        return self._fail("deliver", super().deliver(message))

    def sees(self, redaction: Redaction, event: Mapping[str, Any]) -> bool:
        return self._fail("sees", True)

    def control(self, signal: SessionControl) -> None:
        self._fail("control", True)

    def overflowed(self) -> None:
        self._fail("overflowed", True)

    def _fail(self, method: str, result: bool) -> bool:
        if method == self.method:
            raise LookupError("broken subscriber")
        return result


@pytest.mark.parametrize("method", ["deliver", "sees", "control", "overflowed"])
def test_a_subscriber_that_raises_is_closed_and_the_others_are_not(
    method: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    bus = EventBus(redactions=[Redaction("test", ("n",), Capability.AMT, replacement=0)], queue_limit=3)
    broken, healthy = Broken(method), Session(Capability.AMT)
    bus.subscribe(broken, ["*"])
    bus.subscribe(healthy, ["*"])
    bus.signal(SessionControl.CLOSE, ["*"])
    broken.ready = method != "overflowed"
    for number in range(10):
        bus.publish(numbered(number), ["*"])
    assert healthy.numbers == list(range(10))
    assert healthy.signals == [SessionControl.CLOSE]
    assert len(broken.messages) == (1 if method == "deliver" else 0)
    assert caplog.text.count("gets no more events") == 1


def test_retarget_and_close_take_effect_at_once(bus: EventBus) -> None:
    ann, bob = Session(), Session()
    subscription = bus.subscribe(ann, ["mesh//a", "mesh//b"])
    bus.subscribe(bob, ["mesh//a"])
    subscription.retarget(["mesh//b", "mesh//c"])
    for number, target in enumerate(["mesh//a", "mesh//b", "mesh//c"]):
        bus.publish(numbered(number), [target])
    subscription.close()
    subscription.close()
    bus.publish(numbered(9), ["mesh//a", "mesh//b", "mesh//c"])
    assert ann.numbers == [1, 2]
    assert bob.numbers == [0, 9]


def test_what_is_published_inside_deliver_comes_after_for_everyone(bus: EventBus) -> None:
    first, second = Session(), Session()
    bus.subscribe(first, ["*"])
    bus.subscribe(second, ["*"])
    first.before = lambda message: (
        bus.publish(numbered(first.numbers[-1] + 1), ["*"]) if first.numbers[-1] < 5 else None
    )
    second.before = lambda message: bus.signal(SessionControl.RESUBSCRIBE, ["*"]) if second.numbers[-1] == 2 else None
    bus.publish(numbered(1), ["*"])
    assert first.numbers == second.numbers == [1, 2, 3, 4, 5]
    assert first.signals == second.signals == [SessionControl.RESUBSCRIBE]


def test_a_subscriber_may_resume_publish_and_close_inside_deliver(bus: EventBus) -> None:
    session = Session()
    subscription = bus.subscribe(session, ["*"])
    session.ready = False
    for number in range(4):
        bus.publish(numbered(number), ["*"])
    session.ready = True

    def before(message: bytes) -> None:
        subscription.resume()
        if session.numbers[-1] == 1:
            bus.publish(numbered(4), ["*"])
        if session.numbers[-1] == 3:
            subscription.close()

    session.before = before
    subscription.resume()
    assert session.numbers == [0, 1, 2, 3]


def test_a_subscriber_may_close_another_inside_deliver(bus: EventBus) -> None:
    first, second = Session(), Session()
    bus.subscribe(first, ["*"])
    subscription = bus.subscribe(second, ["*"])
    first.before = lambda message: subscription.close()
    bus.publish(numbered(1), ["*"])
    assert (first.numbers, second.numbers) == ([1], [])


def test_signals_go_by_target(bus: EventBus) -> None:
    ann, bob = Session(), Session()
    bus.subscribe(ann, ["user//ann", "mesh//a"])
    subscription = bus.subscribe(bob, ["user//bob"])
    bus.signal(SessionControl.UPDATE_FILES, ["user//ann", "mesh//a"])
    subscription.close()
    bus.signal(SessionControl.CLOSE, ["user//bob"])
    assert (ann.signals, bob.signals) == ([SessionControl.UPDATE_FILES], [])


async def test_a_listener_gets_wire_objects_of_all_domains() -> None:
    bus = EventBus(redactions=[Redaction("test", ("n",), Capability.AMT)])
    with bus.listen(["*", "node//1"]) as events:
        bus.publish(numbered(1, domain="customer"), ["*", "node//1"])
        bus.signal(SessionControl.CLOSE, ["*"])
        bus.publish(numbered(2), ["node//1"])
        assert [(await anext(events))["n"], (await anext(events))["n"]] == [1, 2]
        bus.publish(numbered(3), ["*"])
    bus.publish(numbered(4), ["*"])
    assert [event["n"] async for event in events] == [3]


async def test_a_listener_waits_for_the_next_event(bus: EventBus) -> None:
    with bus.listen(["*"]) as events:
        asyncio.get_running_loop().call_soon(bus.publish, numbered(1), ["*"])
        assert (await anext(events))["n"] == 1


async def test_a_listener_that_falls_behind_learns_it() -> None:
    bus = EventBus(queue_limit=3)
    with bus.listen(["*"]) as events:
        for number in range(5):
            bus.publish(numbered(number), ["*"])
        assert [(await anext(events))["n"] for _ in range(3)] == [0, 1, 2]
        with pytest.raises(Conflict, match="missed"):
            await anext(events)


TARGETS = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=4)


STEPS = st.tuples(st.sampled_from(["subscribe", "publish"]), st.integers(0, 3), TARGETS)


@given(st.lists(STEPS, max_size=40))
def test_the_index_is_a_set_per_subscriber(steps: list[tuple[str, int, list[str]]]) -> None:
    bus = EventBus()
    sessions = [Session() for _ in range(4)]
    subscriptions = [bus.subscribe(session, []) for session in sessions]
    wanted: list[set[str]] = [set() for _ in sessions]
    expected: list[list[int]] = [[] for _ in sessions]
    for number, (step, index, targets) in enumerate(steps):
        if step == "subscribe":
            subscriptions[index].retarget(targets)
            wanted[index] = set(targets)
        else:
            bus.publish(numbered(number), targets)
            for position, wants in enumerate(wanted):
                if wants & set(targets):
                    expected[position].append(number)
    assert [session.numbers for session in sessions] == expected
