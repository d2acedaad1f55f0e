"""What other plugins may import.

`run_commands_message` and `set_caller` are pure; `network_of` and `sessions_of` read what agents reported.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from meshcentral.plugins import Server

if TYPE_CHECKING:
    from meshcentral_agents.plugin import AgentsPlugin

EXIT_CODE = "exitcode"
"""Member of a `runcommands` answer of our core: the commands' exit code, None where the platform gives none."""


class Shell(enum.IntEnum):
    """`type` of a `runcommands` message."""

    DEFAULT = 0
    """cmd on Windows, sh elsewhere."""
    CMD = 1
    POWERSHELL = 2
    SH = 3


class RunAs(enum.IntEnum):
    """`runAsUser` of a `runcommands` message."""

    AGENT = 0
    USER_IF_POSSIBLE = 1
    USER_ONLY = 2


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf a message goes to an agent; the agent checks `rights` itself."""

    session_id: str
    """Comes back in the answer, to find the session it is for."""
    user_id: str
    user_name: str
    rights: int
    """The peer's mask (control-protocol reference, 3.2)."""
    remote_address: str
    consent: int = 0
    real_name: str | None = None

    def members(self) -> dict[str, Any]:
        """The members that the server adds to every routed command (agent-protocol reference, 5.2)."""
        body: dict[str, Any] = {
            "sessionid": self.session_id,
            "userid": self.user_id,
            "username": self.user_name,
            "rights": self.rights,
            "consent": self.consent,
            "remoteaddr": self.remote_address,
        }
        if self.real_name:
            body["realname"] = self.real_name
        return body


def routed_message(message: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
    """A client's message as it goes to the agent: the caller's members win over what the client sent."""
    body = {name: value for name, value in message.items() if name not in ("nodeid", "nodeids")}
    body.update(caller.members())
    return body


def run_commands_message(
    caller: Caller,
    commands: str,
    *,
    response_id: Any = None,
    shell: Shell = Shell.DEFAULT,
    run_as: RunAs = RunAs.AGENT,
    reply: bool = True,
    timeout: float | None = None,
) -> dict[str, Any]:
    """The `runcommands` message for an agent. `timeout` in seconds (1 to 86400, ours; the core's default is 3600).

    Our core answers `{"action": "msg", "type": "runcommands", "result", "exitcode", "sessionid", "responseid"}`, with
    `error` (and no exit code) when it could not run them.
    """
    body: dict[str, Any] = {
        "action": "runcommands",
        "type": int(shell),
        "cmds": commands,
        "runAsUser": int(run_as),
        "reply": reply,
        **caller.members(),
    }
    if response_id is not None:
        body["responseid"] = response_id
    if timeout is not None:
        body["timeout"] = timeout
    return body


async def network_of(server: Server, node_id: str) -> dict[str, Any] | None:
    """The stored `ifinfo` document of a device: `netif2`, `updateTime` (ms). None before its first report."""
    from meshcentral_agents.agent_actions import network_key

    stored = await server.store.value(network_key(node_id))
    return stored if isinstance(stored, dict) else None


async def forget_device(server: Server, node_id: str) -> None:
    """The device was removed: drop what is kept about it besides its document."""
    from meshcentral_agents.agent_actions import network_key

    _plugin(server).forget(node_id)
    if await server.store.value(network_key(node_id)) is not None:
        await server.store.set_value(network_key(node_id), None)


def sessions_of(server: Server, node_id: str) -> Mapping[str, Mapping[str, int]]:
    """Open remote sessions of a connected device: kind -> account id -> count."""
    return _plugin(server).sessions_of(node_id)


def _plugin(server: Server) -> AgentsPlugin:
    return cast("AgentsPlugin", next(record.plugin for record in server.plugins if record.name == "agents"))
