"""The list of devices for clients: stored rows joined with live values, fast for ten thousand of them.

A row is encoded once and kept until its document or its agent's session changes; documents are immutable and live
values belong to a session for its whole life, so identity tells.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

from meshcentral.plugins.actions import EncodedJson, UserSession
from meshcentral.plugins.agents import AgentSession
from meshcentral.plugins.documents import Device
from meshcentral.plugins.views import device_for_clients, is_same_for_everyone, live_members

if TYPE_CHECKING:
    from meshcentral.plugins.server import Server

_SLACK = 1000


class Inventory:
    """Encoded rows of one server's devices."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._rows: dict[str, tuple[Device, AgentSession | None, bytes]] = {}

    def visible(self, session: UserSession) -> Iterable[Device]:
        """Every device that the session may know of."""
        devices = self._server.store.devices
        user = session.user
        if session.local:
            return devices
        if user is None:
            return ()
        linked, domain = user.links.keys(), user.domain
        return (
            device
            for device in devices
            if (device.group_id in linked or device.id in linked) and device.domain == domain
        )

    def encode(self, devices: Iterable[Device], user_id: str | None) -> EncodedJson:
        """`{group id: [device without meshid, ...]}` as JSON."""
        # Ten thousand turns of this loop are most of the reply, so it looks rows up by itself.
        known_row, connected = self._rows.get, self._server.agents.get
        groups: defaultdict[str, list[bytes]] = defaultdict(list)
        for device in devices:
            device_id = device.id
            known, agent = known_row(device_id), connected(device_id)
            if known is not None and known[0] is device and known[1] is agent:
                row = known[2]
            else:
                row = self._make_row(device, agent, user_id)
            groups[device.group_id].append(row)
        self._forget_removed()
        # Left in parts: the whole is megabytes, and each copy of it costs as much as the loop.
        parts: list[bytes] = []
        for group_id, rows in groups.items():
            parts += [b"," if parts else b"{", _encode(group_id), b":["]
            parts += chain.from_iterable(zip(rows, repeat(b",")))
            parts[-1] = b"]"
        return EncodedJson([*parts, b"}"] if parts else [b"{}"])

    def _make_row(self, device: Device, agent: AgentSession | None, user_id: str | None) -> bytes:
        body = device_for_clients(device, user_id)
        body.pop("meshid")
        if agent is not None:
            body.update(live_members(agent))
        row = _encode(body)
        if is_same_for_everyone(device):
            self._rows[device.id] = (device, agent, row)
        return row

    def _forget_removed(self) -> None:
        devices = self._server.store.devices
        if len(self._rows) > len(devices) + _SLACK:
            self._rows = {key: row for key, row in self._rows.items() if devices.get(key) is row[0]}


def _encode(value: str | Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")
