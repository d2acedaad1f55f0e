"""Events that this plugin publishes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meshcentral.plugins import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class _DeviceEvent(Event):
    node_id: str
    group_id: str

    def members(self) -> dict[str, Any]:
        return {"nodeid": self.node_id, "meshid": self.group_id}


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentCoreChanged(_DeviceEvent):
    """A step in bringing an agent to the core that it should run.

    `step`: `pushed`, `confirmed`, `ready` (and it has reported itself), `custom` (left alone), `cleared` (no core for
    this kind of agent), `failed` (pushes do not help), `silent` (it runs but says nothing).
    """

    action = "agentcore"
    etype = "node"
    stored = False

    step: str
    core_hash: str = ""
    """First 16 hex digits of the SHA-384 hash of the core in question."""

    def members(self) -> dict[str, Any]:
        return {"nodeid": self.node_id, "meshid": self.group_id, "step": self.step, "corehash": self.core_hash}


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkChanged(_DeviceEvent):
    """The network interfaces of a device changed: fetch them again."""

    action = "ifchange"
    etype = "node"
    stored = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSessionsChanged(_DeviceEvent):
    """Remote sessions on a device were opened or closed."""

    action = "devicesessions"
    etype = "node"
    stored = False

    sessions: Mapping[str, Mapping[str, int]]
    """Kind of session -> account id -> count."""

    def members(self) -> dict[str, Any]:
        body: dict[str, Any] = {"nodeid": self.node_id, "meshid": self.group_id}
        if self.sessions:
            body["sessions"] = {kind: dict(users) for kind, users in self.sessions.items()}
        return body


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentLogged(_DeviceEvent):
    """A device wrote a line into its event list."""

    action = "agentlog"
    etype = "node"

    sentence: int | None = None
    """Number of the translated sentence (`msgid`)."""
    user_id: str | None = None
    user_name: str | None = None
    guest_name: str | None = None

    def members(self) -> dict[str, Any]:
        body: dict[str, Any] = {"nodeid": self.node_id, "meshid": self.group_id}
        optional = {
            "msgid": self.sentence,
            "userid": self.user_id,
            "username": self.user_name,
            "guestname": self.guest_name,
        }
        body.update({name: value for name, value in optional.items() if value is not None})
        return body


PUBLISHED = (AgentCoreChanged, NetworkChanged, DeviceSessionsChanged, AgentLogged)
