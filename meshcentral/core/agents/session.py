"""The session of one connected agent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from meshcentral.plugins.documents import Device
from meshcentral.plugins.store import Collection
from meshcentral.plugins.web import Socket
from meshcentral_protocol.handshake import AuthenticatedAgent

MAX_CLOSE_REASON = 123
"""Bytes of a WebSocket close reason (RFC 6455, 5.5)."""


class ConnectedAgent:
    """An agent that has proved itself; implements `meshcentral.plugins.agents.AgentSession`."""

    __slots__ = ("_agent", "_device", "_devices", "connected_at", "domain", "node_id", "socket", "superseded")

    def __init__(
        self,
        agent: AuthenticatedAgent,
        device: Device,
        devices: Collection[Device],
        socket: Socket,
        connected_at: datetime,
    ) -> None:
        self._agent = agent
        self._device = device
        self._devices = devices
        self.node_id = device.id
        self.domain = device.domain
        self.socket = socket
        self.connected_at = connected_at
        self.superseded = False

    def __repr__(self) -> str:
        return f"<ConnectedAgent {self.node_id} from {self.remote_address}>"

    @property
    def device(self) -> Device:
        """The stored device as it is now; as it was at connect when there is no record (any more)."""
        return self._devices.get(self.node_id) or self._device

    @property
    def group_id(self) -> str:
        return self.device.group_id

    @property
    def type_id(self) -> int:
        return self._agent.info.type_id

    @property
    def capabilities(self) -> int:
        """As in message 3: what the executable says of itself."""
        return self._agent.info.capabilities

    @property
    def remote_address(self) -> str:
        return self.socket.connection.remote_address

    @property
    def fast_path(self) -> bool:
        return self._agent.fast_path

    @property
    def shown_certificate(self) -> bytes:
        return self._agent.shown_certificate

    def send_json(self, message: Mapping[str, Any]) -> None:
        """Send to the agent's core, as a binary frame like everything to an agent."""
        self.send_command(json.dumps(message, separators=(",", ":")).encode())

    def send_command(self, data: bytes) -> None:
        """Send a binary command. Does nothing once superseded or closed."""
        if not self.superseded:
            self.socket.send(data)

    def disconnect(self, reason: str) -> None:
        """Begin to close the socket; whoever reads it releases the session."""
        self.socket.close(1000, reason.encode()[:MAX_CLOSE_REASON].decode("utf-8", "ignore"))
