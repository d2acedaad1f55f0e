"""Whether an authenticated agent may come in, and as which device. Pure decisions.

Source: agent-protocol reference, 3.4 and 3.5.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from meshcentral.plugins.documents import Device, DeviceAgent, DeviceGroup
from meshcentral_protocol.agent_types import NATIVE_CAPABILITIES, AgentCapability
from meshcentral_protocol.handshake import AuthenticatedAgent, HoldReason
from meshcentral_protocol.identifiers import group_id, node_id

AGENT_GROUP = 2
"""`mtype` of device groups that hold agents."""
FOLLOW_HOST_NAME = 2
"""Group flag: a device is renamed when its host name changes."""
REMOVE_ON_DISCONNECT = 1
"""Group flag: a device is removed when its agent disconnects."""
NAMELESS = "Unknown"


@dataclass(frozen=True, slots=True)
class Refused:
    """The agent is not let in."""

    reason: HoldReason
    detail: str
    node_id: str | None = None
    """None while the agent has not proved its key."""
    host_name: str | None = None


@dataclass(frozen=True, slots=True)
class Admitted:
    """The agent is let in."""

    device: Device
    """As it is to be stored."""
    stored: Device | None
    """As it is stored now."""
    group: DeviceGroup | None
    """None for a recovery agent: it has no device record, so `device` is only what the session shows."""
    changes: tuple[str, ...] = ()
    """Wire names of what changed in a stored device."""


def admit(
    agent: AuthenticatedAgent,
    *,
    domain: str,
    address: str,
    now: int,
    stored: Device | None,
    find_group: Callable[[str], DeviceGroup | None],
) -> Admitted | Refused:
    """Decide. `stored` is the device record with the agent's id, `now` is in milliseconds since 1970."""
    named = group_id(agent.info.group, domain)
    if stored is None and agent.info.capabilities & AgentCapability.RECOVERY:
        return Admitted(_new_device(agent, named, domain, address, now), None, None)
    # The stored group wins: the one in message 3 is only what the agent was installed for.
    wanted = named if stored is None else stored.group_id
    group = find_group(wanted)
    if group is None:
        return _refuse(agent, domain, HoldReason.UNKNOWN_GROUP, f"there is no device group {wanted}")
    if group.group_type != AGENT_GROUP:
        detail = f"the device group {group.name} is of type {group.group_type}, which takes no agents"
        return _refuse(agent, domain, HoldReason.WRONG_GROUP_TYPE, detail)
    if stored is None:
        return Admitted(_new_device(agent, group.id, domain, address, now), None, group)
    fields = _changed_fields(agent, group, stored, address)
    changes = tuple(Device.model_fields[name].alias or name for name in fields)
    return Admitted(stored.with_(**fields) if fields else stored, stored, group, changes)


def leaves_no_trace(device: Device, group: DeviceGroup | None, capabilities: int) -> bool:
    """Whether the device is removed when its agent disconnects."""
    flags = group.flags if group is not None and group.id == device.group_id else 0
    return bool(capabilities & AgentCapability.TEMPORARY or flags & REMOVE_ON_DISCONNECT)


def _refuse(agent: AuthenticatedAgent, domain: str, reason: HoldReason, detail: str) -> Refused:
    return Refused(reason, detail, node_id(agent.key_hash, domain), agent.info.host_name)


def _new_device(agent: AuthenticatedAgent, group: str, domain: str, address: str, now: int) -> Device:
    info = agent.info
    return Device(
        id=node_id(agent.key_hash, domain),
        domain=domain,
        group_id=group,
        group_type=AGENT_GROUP,
        name=agent.agent_name or info.host_name or NAMELESS,
        host_name=info.host_name,
        icon=info.icon,
        address=address,
        agent=DeviceAgent(version=info.version, type_id=info.type_id, capabilities=info.capabilities),
        first_connected=now,
    )


def _changed_fields(agent: AuthenticatedAgent, group: DeviceGroup, stored: Device, address: str) -> dict[str, Any]:
    """What differs from the stored device, by Python names."""
    info = agent.info
    known = stored.agent or DeviceAgent(capabilities=info.capabilities)
    # A core may have added to the capabilities; the executable's own bits are the agent's to tell.
    capabilities = known.capabilities & ~NATIVE_CAPABILITIES | info.capabilities & NATIVE_CAPABILITIES
    present = {"version": info.version, "type_id": info.type_id, "capabilities": capabilities}
    fields: dict[str, Any] = {
        "host_name": info.host_name,
        "address": address,
        "agent": known.model_copy(update=present),
    }
    if group.flags & FOLLOW_HOST_NAME:
        fields["name"] = agent.agent_name or info.host_name or stored.name
    return {name: value for name, value in fields.items() if getattr(stored, name) != value}
