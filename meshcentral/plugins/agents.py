"""What plugins see of connected agents."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from meshcentral.plugins.documents import Device
from meshcentral.plugins.web import Socket


class AgentSession(Protocol):
    """An agent that has proved itself and whose device record exists."""

    @property
    def node_id(self) -> str:
        """`node/<domain>/<64 characters>`, derived from the agent's key only."""
        ...

    @property
    def domain(self) -> str: ...

    @property
    def group_id(self) -> str: ...

    @property
    def device(self) -> Device:
        """The stored device as it is now."""
        ...

    @property
    def type_id(self) -> int:
        """Agent type (agent-protocol reference, 8.1)."""
        ...

    @property
    def capabilities(self) -> int: ...

    @property
    def connected_at(self) -> datetime: ...

    @property
    def remote_address(self) -> str: ...

    @property
    def fast_path(self) -> bool:
        """The agent knew our web certificate and skipped our signature."""
        ...

    @property
    def shown_certificate(self) -> bytes:
        """Full SHA-384 hash of the outer certificate that this agent saw: the one to name in `servertlshash`."""
        ...

    @property
    def superseded(self) -> bool:
        """A newer connection of the same device has taken over. The socket stays open, because the agent would answer
        a close with an instant reconnect, but what it says is to be discarded and nothing is sent to it."""
        ...

    @property
    def socket(self) -> Socket: ...

    def send_json(self, message: Mapping[str, Any]) -> None:
        """Send to the agent's core. Everything to an agent is a binary frame."""
        ...

    def send_command(self, data: bytes) -> None:
        """Send a binary command (agent-protocol reference, section 4)."""
        ...

    def disconnect(self, reason: str) -> None: ...


@dataclass(frozen=True, slots=True)
class HeldAgent:
    """An agent that was let in to the socket but not past the door, and why. Shown to administrators."""

    remote_address: str
    reason: str
    """One of the stable codes in `meshcentral_protocol.handshake.HoldReason`."""
    detail: str
    since: datetime
    node_id: str | None = None
    host_name: str | None = None


class AgentRegistry(Protocol):
    """All live agents of this process."""

    def get(self, node_id: str) -> AgentSession | None: ...
    def __iter__(self) -> Iterator[AgentSession]: ...
    def __len__(self) -> int: ...

    @property
    def held(self) -> Sequence[HeldAgent]: ...

    async def accept(self, socket: Socket) -> AgentSession | None:
        """Run the secondary authentication on a fresh socket. Returns the registered session after message 4 was
        sent, or None when the agent was held until it left."""
        ...

    async def release(self, session: AgentSession, reason: str) -> None:
        """The session's socket is done: unregister, publish the disconnect, run `on_agent_disconnected`. Does nothing
        for a session that was released before or superseded (its hook ran then, with reason `superseded`)."""
        ...


@dataclass(frozen=True, slots=True)
class AgentAction:
    """A JSON `action` that an agent's core may send, and who handles it. Messages of one agent are handled strictly
    in order: a handler that takes long should spawn."""

    name: str
    handler: Callable[[AgentSession, Mapping[str, Any]], Awaitable[None]]
    summary: str = ""


@dataclass(frozen=True, slots=True)
class CoreModule:
    """JavaScript (ES5) that is put into the agent core."""

    name: str
    source: str
    platforms: frozenset[str] = frozenset({"linux", "windows", "macos", "bsd"})
    main: bool = False
    """A main module is appended as it is; others are wrapped in `addModule(name, source)`."""
