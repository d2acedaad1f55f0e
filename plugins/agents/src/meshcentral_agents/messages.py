"""What agents say about themselves, validated. Devices are hostile: every text and list is bounded.

Shapes: agent-protocol reference, 5.1. Members that no model names are ignored.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from meshcentral.plugins import Device, DeviceAgent
from meshcentral_protocol.agent_types import NATIVE_CAPABILITIES

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def _one_line(text: str) -> str:
    return _CONTROL.sub(" ", text).strip()


Line = Annotated[str, StringConstraints(max_length=256), AfterValidator(_one_line)]
Paragraph = Annotated[str, StringConstraints(max_length=4096), AfterValidator(_one_line)]
Argument = Annotated[str, StringConstraints(max_length=4096), AfterValidator(lambda text: _one_line(text)[:256])]
"""Shortened, because a line of the event list has up to 16 of them and is kept for long."""
UserId = Annotated[str, StringConstraints(max_length=256)]
Lines = Annotated[list[Line], Field(max_length=1024)]


class AgentMessage(BaseModel):
    """Base of the models."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class CoreInfo(AgentMessage):
    """`coreinfo`: the core has started, and on what."""

    value: Line = ""
    caps: int | None = Field(default=None, ge=0, le=0xFFFFFFFF)
    osdesc: Line | None = None
    root: bool | None = None
    users: Lines | None = None
    lusers: Lines | None = None
    lastbootuptime: int | None = Field(default=None, ge=0, le=2**53)

    def apply(self, device: Device) -> tuple[Device, list[str]]:
        """The device with these facts, and the names of those that changed, for people."""
        old = device.agent or DeviceAgent()
        capabilities = old.capabilities
        if self.caps is not None:
            capabilities = (capabilities & NATIVE_CAPABILITIES) + (self.caps & ~NATIVE_CAPABILITIES)
        agent = old.model_copy(
            update={
                "capabilities": capabilities,
                "core": self.value or old.core,
                "root": old.root if self.root is None else self.root,
            }
        )
        users = device.users if self.users is None else tuple(self.users)
        locked_users = device.locked_users if self.lusers is None else tuple(self.lusers)
        new = device.with_(
            agent=agent,
            operating_system=self.osdesc or device.operating_system,
            last_boot=self.lastbootuptime or device.last_boot,
            users=users,
            locked_users=locked_users,
        )
        return new, _changed(device, new)


def _changed(old: Device, new: Device) -> list[str]:
    changes: list[str] = []
    before, after = old.agent or DeviceAgent(), new.agent or DeviceAgent()
    if before.core != after.core:
        changes.append("agent core")
    if before.capabilities != after.capabilities:
        changes.append("agent capabilities")
    if before.root != after.root:
        changes.append("agent account")
    if old.operating_system != new.operating_system:
        changes.append("operating system")
    if old.last_boot != new.last_boot:
        changes.append("system start")
    if (old.users, old.locked_users) != (new.users, new.locked_users):
        changes.append("users")
    return changes


class NetworkAddress(AgentMessage):
    """One address of an interface, or the interface without one."""

    mac: Line | None = None
    type: Line | None = None
    status: Line | None = None
    address: Line | None = None
    family: Line | None = None
    netmask: Line | None = None
    gateway: Line | None = None
    fqdn: Line | None = None


class NetworkInfo(AgentMessage):
    """`netinfo`: the interfaces by name."""

    netif2: Annotated[
        dict[Line, Annotated[list[NetworkAddress], Field(max_length=128)]],
        Field(max_length=512),
    ]

    def interfaces(self) -> dict[str, list[dict[str, Any]]]:
        """The JSON that is stored."""
        return {
            name: [address.model_dump(exclude_none=True) for address in addresses]
            for name, addresses in self.netif2.items()
        }


class SessionCounts(AgentMessage):
    """`sessions`: how many sessions of one kind each account has open on the device."""

    type: Literal["kvm", "terminal", "files", "tcp", "udp", "msg", "app", "help"]
    value: Annotated[dict[UserId, Annotated[int, Field(ge=0, le=100_000)]], Field(max_length=1024)] = {}


class LogEntry(AgentMessage):
    """`log`: a line for the device's event list."""

    msg: Paragraph
    msgid: int | None = Field(default=None, ge=0, le=100_000)
    msgArgs: Annotated[list[Argument | int | float | None], Field(max_length=16)] | None = None
    userid: UserId | None = None
    username: Line | None = None
    remoteaddr: Line | None = None
    guestname: Line | None = None
