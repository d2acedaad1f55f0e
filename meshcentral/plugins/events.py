"""The event bus contract, and the events that the core itself publishes.

An event is a JSON object sent to a list of targets (architecture, section 7; control-protocol reference, 10). Typed
events are frozen dataclasses; free-form objects from agents and plugins pass as `WireEvent`.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar, Protocol

from meshcentral.plugins.rights import Capability

EVERYTHING = "*"
"""Target of sessions that see all events of their domain: full administrators, AllEvents accounts, the local one."""
ALL_USERS = "server-allusers"
USER_MANAGERS = "server-users"


def wire_time(time: datetime) -> str:
    """ISO 8601 in UTC with milliseconds and `Z`, as the peer writes the time of an event."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of typed events. The docstring of each subclass is its documentation."""

    action: ClassVar[str]
    etype: ClassVar[str]
    stored: ClassVar[bool] = True
    """Whether the event is kept; those that are not carry `nolog` on the wire."""
    message_id: ClassVar[int | None] = None

    domain: str = ""
    text: str = ""
    """English sentence for people (`msg`)."""
    arguments: tuple[Any, ...] = ()
    """Values for a translated sentence (`msgArgs`)."""

    def members(self) -> dict[str, Any]:
        """The members that belong to this kind of event, under their wire names."""
        return {}

    def to_wire(self) -> dict[str, Any]:
        """The JSON object, without `time`."""
        body: dict[str, Any] = {"etype": self.etype, "action": self.action, "domain": self.domain}
        body.update(self.members())
        if self.text:
            body["msg"] = self.text
        if self.message_id is not None:
            body["msgid"] = self.message_id
        if self.arguments:
            body["msgArgs"] = list(self.arguments)
        if not self.stored:
            body["nolog"] = 1
        return body


@dataclass(frozen=True, slots=True)
class WireEvent:
    """A free-form event: the wire object as it is. It is stored unless it has a true `nolog`."""

    body: Mapping[str, Any]

    def to_wire(self) -> dict[str, Any]:
        return dict(self.body)


AnyEvent = Event | WireEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConnectivityChanged(Event):
    """A device connected, disconnected or changed its power state. `conn` bit 1 is the agent."""

    action = "nodeconnect"
    etype = "node"
    stored = False

    node_id: str
    group_id: str
    connectivity: int
    power: int
    connect_time: int | None = None
    """Milliseconds since 1970 when the agent connected."""
    fast_path: bool | None = None
    """Whether a connecting agent knew our web certificate and skipped our signature (ours, not the peer's)."""

    def members(self) -> dict[str, Any]:
        body: dict[str, Any] = {
            "nodeid": self.node_id,
            "meshid": self.group_id,
            "conn": self.connectivity,
            "pwr": self.power,
        }
        if self.connect_time is not None:
            body["ct"] = self.connect_time
        if self.fast_path is not None:
            body["fastpath"] = self.fast_path
        return body


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAdded(Event):
    """A device was added to a group."""

    action = "addnode"
    etype = "node"
    message_id = 84

    node: Mapping[str, Any]
    """The device as sent to clients."""

    def members(self) -> dict[str, Any]:
        return {"node": dict(self.node), "nodeid": self.node["_id"], "meshid": self.node["meshid"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeChanged(Event):
    """Facts or settings of a device changed."""

    action = "changenode"
    etype = "node"

    node: Mapping[str, Any]

    def members(self) -> dict[str, Any]:
        return {"node": dict(self.node), "nodeid": self.node["_id"], "meshid": self.node["meshid"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRemoved(Event):
    """A device was removed, by a person or because it was temporary."""

    action = "removenode"
    etype = "node"
    message_id = 87

    node_id: str
    group_id: str

    def members(self) -> dict[str, Any]:
        return {"nodeid": self.node_id, "meshid": self.group_id}


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentHeld(Event):
    """An agent connected but may not go on; it is kept waiting. `reason` is a stable code."""

    action = "agentheld"
    etype = "server"

    reason: str
    detail: str
    address: str
    node_id: str | None = None

    def members(self) -> dict[str, Any]:
        body = {"reason": self.reason, "detail": self.detail, "remoteaddr": self.address}
        if self.node_id is not None:
            body["nodeid"] = self.node_id
        return body


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateChanged(Event):
    """The server took a new certificate into use; agents re-authenticate fully at their next connect."""

    action = "certificatechange"
    etype = "server"

    purpose: str
    """`web`, `mps`, `agentserver` or `root`."""
    fingerprint: str
    """SHA-384 of the DER certificate, hex."""

    def members(self) -> dict[str, Any]:
        return {"purpose": self.purpose, "fingerprint": self.fingerprint}


@dataclass(frozen=True, slots=True)
class Redaction:
    """A member of an event that only some recipients may see. Applied once per redaction class, not per session."""

    action: str
    """The event's `action`."""
    path: tuple[str, ...]
    """Where the member is, from the event object down."""
    unless: Capability
    """The capability on the event's device or group that lets a recipient see it."""
    replacement: Any = None
    """What the others see; None removes the member."""

    def concerns(self, event: Mapping[str, Any]) -> bool:
        """Whether the event (of the right action) has the member at all."""
        value: Any = event
        for name in self.path:
            if not isinstance(value, Mapping) or name not in value:
                return False
            value = value[name]
        return True

    def applied_to(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """A copy of the event as the others see it; the original is not touched."""
        return _without(event, self.path, self.replacement)


def _without(body: Mapping[str, Any], path: tuple[str, ...], replacement: Any) -> dict[str, Any]:
    copy = dict(body)
    name, *rest = path
    if rest:
        if isinstance(inner := copy.get(name), Mapping):
            copy[name] = _without(inner, tuple(rest), replacement)
    elif replacement is None:
        copy.pop(name, None)
    elif name in copy:
        copy[name] = replacement
    return copy


class SessionControl(enum.Enum):
    """Orders to sessions that travel the same way as events (the peer's magic strings)."""

    CLOSE = "close"
    RESUBSCRIBE = "resubscribe"
    UPDATE_FILES = "updatefiles"


class Subscriber(Protocol):
    """Where events go. All methods are called on the event loop and must not block."""

    def deliver(self, message: bytes) -> bool:
        """Take one encoded `{"action":"event",...}` text. False: not now; the bus queues until `resume()`."""
        ...

    def control(self, signal: SessionControl) -> None: ...

    def overflowed(self) -> None:
        """The queue is full and the subscription was closed: the client must connect again and resync."""
        ...

    def sees(self, redaction: Redaction, event: Mapping[str, Any]) -> bool:
        """Whether this recipient may see the member that the redaction hides."""
        ...


class Subscription(Protocol):
    """One subscriber's registration."""

    def retarget(self, targets: Iterable[str]) -> None: ...
    def resume(self) -> None:
        """The subscriber can take messages again: deliver what is queued, in order."""
        ...

    def close(self) -> None: ...


class Bus(Protocol):
    """Fan-out of events. Order is publish order per subscriber; each gets an event at most once."""

    def publish(self, event: AnyEvent, targets: Iterable[str]) -> None:
        """Never blocks, never raises for a subscriber's fault. Stores the event unless it says otherwise."""
        ...

    def signal(self, control: SessionControl, targets: Iterable[str]) -> None: ...

    def subscribe(self, subscriber: Subscriber, targets: Iterable[str], *, domain: str = "") -> Subscription: ...

    def redacted(
        self, event: Mapping[str, Any], sees: Callable[[Redaction, Mapping[str, Any]], bool]
    ) -> Mapping[str, Any]:
        """A stored event as somebody may see it; `sees` is that of a Subscriber."""
        ...

    def listen(self, targets: Iterable[str]) -> AbstractContextManager[AsyncIterator[Mapping[str, Any]]]:
        """For services and tests: the wire objects of matching events, bounded, ending with Conflict on overflow."""
        ...


@dataclass(frozen=True, slots=True)
class EventType:
    """A documented event; unknown ones still pass."""

    action: str
    etype: str
    stored: bool
    summary: str
    members: tuple[str, ...] = field(default=())

    @classmethod
    def of(cls, event: type[Event]) -> EventType:
        """Describe a typed event from its class."""
        summary = (event.__doc__ or "").strip().splitlines()[0]
        return cls(event.action, event.etype, event.stored, summary)
