"""What commands show of accounts, groups and devices: our field names, from the peer's documents.

These names are an API. Times become ISO 8601 in UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from meshcentral.plugins.errors import Conflict, NotFound

FULL_RIGHTS = 0xFFFFFFFF
_LOCKED = 32
_AGENT_CONNECTED = 1

GROUP_TYPES = {1: "amt", 2: "agent", 3: "local", 4: "ip-kvm"}

Record = dict[str, Any]


def user_record(user: Mapping[str, Any]) -> Record:
    """An account in its safe form (control-protocol reference, 5.1)."""
    rights = _integer(user.get("siteadmin")) or 0
    return {
        "id": user.get("_id"),
        "name": user.get("name"),
        "email": user.get("email"),
        "real_name": user.get("realname"),
        "site_admin": rights == FULL_RIGHTS,
        "site_rights": rights,
        "locked": rights != FULL_RIGHTS and bool(rights & _LOCKED),
        "created": _from_seconds(user.get("creation")),
        "last_login": _from_seconds(user.get("login")),
    }


def held_record(agent: Mapping[str, Any]) -> Record:
    """An agent that waits outside, and why (agent-protocol reference, 3.4)."""
    return {
        "id": agent.get("nodeid"),
        "name": agent.get("name"),
        "address": agent.get("remoteaddr"),
        "reason": agent.get("reason"),
        "detail": agent.get("detail"),
        "since": _from_milliseconds(agent.get("since")),
    }


def group_record(group: Mapping[str, Any]) -> Record:
    """A device group (control-protocol reference, 5.2)."""
    kind = _integer(group.get("mtype")) or 2
    return {
        "id": group.get("_id"),
        "name": group.get("name"),
        "description": group.get("desc"),
        "type": GROUP_TYPES.get(kind, str(kind)),
        "created": _from_milliseconds(group.get("creation")),
    }


def device_record(device: Mapping[str, Any], group_id: str, group_name: str | None, last_connect: Any = None) -> Record:
    """A device with its live state (control-protocol reference, 5.3)."""
    return {
        "id": device.get("_id"),
        "name": device.get("name"),
        "host_name": device.get("rname"),
        "group": group_name,
        "group_id": group_id,
        "connected": bool((_integer(device.get("conn")) or 0) & _AGENT_CONNECTED),
        "agent": _agent_record(device.get("agent")),
        "os": device.get("osdesc"),
        "address": device.get("ip"),
        "description": device.get("desc"),
        "tags": list(device.get("tags") or ()),
        "users": list(device.get("users") or ()),
        "first_connect": _from_milliseconds(device.get("firstconnect")),
        "last_connect": _from_milliseconds(device.get("agct") or last_connect),
        "last_boot": _from_milliseconds(device.get("lastbootuptime")),
    }


def device_records(
    nodes: Mapping[str, Any], groups: Iterable[Mapping[str, Any]], last_connects: Mapping[str, Any]
) -> list[Record]:
    """All devices of a `nodes` reply (group id -> devices), sorted by group and name."""
    names = {group.get("_id"): group.get("name") for group in groups}
    records = [
        device_record(device, group_id, names.get(group_id), last_connects.get(device.get("_id")))
        for group_id, devices in nodes.items()
        for device in devices
    ]
    return sorted(records, key=lambda record: (record["group"] or "", record["name"] or "", record["id"] or ""))


def find(records: Iterable[Record], wanted: str, noun: str, *, key: str = "name") -> Record:
    """The object with this id, short id or unique name (member `key`). NotFound, or Conflict when it is not unique."""
    by_name = []
    for record in records:
        identity = str(record.get("id") or "")
        if identity and wanted in (identity, identity.rpartition("/")[2]):
            return record
        if record.get(key) == wanted:
            by_name.append(record)
    if not by_name:
        raise NotFound(f"there is no {noun} {wanted!r}", hint=f"`mesh {noun} list` shows what there is")
    if len(by_name) > 1:
        ids = ", ".join(str(record.get("id")) for record in by_name)
        raise Conflict(f"{len(by_name)} of these are named {wanted!r}", hint=f"name one by its id: {ids}")
    return by_name[0]


def _agent_record(agent: Any) -> Record | None:
    if not isinstance(agent, Mapping):
        return None
    return {
        "type_id": _integer(agent.get("id")),
        "version": _integer(agent.get("ver")),
        "capabilities": _integer(agent.get("caps")),
        "core": agent.get("core"),
    }


def _integer(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) else None


def _from_seconds(value: Any) -> str | None:
    return _from_milliseconds(value * 1000) if isinstance(value, int | float) else None


def _from_milliseconds(value: Any) -> str | None:
    """ISO 8601 with a `Z`; None for what is no time, or out of range."""
    if not isinstance(value, int | float):
        return None
    try:
        return datetime.fromtimestamp(value / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return None
