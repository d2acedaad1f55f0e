"""Messages of agents for control sessions, and the answers that agents still owe (control-protocol reference, 9.1)."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meshcentral.plugins.actions import ActionContext
from meshcentral.plugins.agents import AgentSession
from meshcentral.plugins.errors import Conflict
from meshcentral_control.channel.directory import Directory
from meshcentral_control.channel.messages import encode

if TYPE_CHECKING:
    from meshcentral_control.channel.session import ControlSession

log = logging.getLogger("meshcentral.control")

MAX_WAITING = 1000
"""Answers that one session may wait for at a time."""
MAX_REPEATS = 30
"""An agent that sends the same console text so many times in a row is disconnected, as the peer does."""

_Key = tuple[str, str, str, str]
"""Session id, node id, message type, response id as JSON."""


@dataclass(slots=True)
class _Waiting:
    context: ActionContext
    node_id: str
    timer: asyncio.TimerHandle


@dataclass(slots=True)
class _Repetition:
    digest: int
    count: int = 1


class AgentMessages:
    """Routes `msg` from agents to the sessions that may see them; implements `AgentReplies`."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._waiting: dict[_Key, _Waiting] = {}
        self._count_of: dict[str, int] = {}
        self._answer_kinds: set[str] = set()
        """Message types that somebody has waited for: they count as answers only, and only from who was asked."""
        self._console: dict[str, _Repetition] = {}

    # -- routing ------------------------------------------------------------------------------------------------

    async def handle(self, agent: AgentSession, message: Mapping[str, Any]) -> None:
        """Pass a message on. Who is named by neither session nor account gets it only while keeping up."""
        if self._repeats_itself(agent, message):
            agent.disconnect("the same console text too many times")
            return
        session_id, user_id = message.get("sessionid"), message.get("userid")
        body = {name: value for name, value in message.items() if name != "sessionid"}
        try:
            encoded = encode({**body, "nodeid": agent.node_id})
        except (ValueError, RecursionError):
            log.warning("message of an agent that JSON cannot express", extra={"node": agent.node_id})
            return
        awaited = isinstance(session_id, str) and self._answered(session_id, agent.node_id, message)
        if not awaited and str(message.get("type")) in self._answer_kinds:
            log.info("answer of an agent that nobody waits for", extra={"node": agent.node_id})
        elif isinstance(session_id, str):
            self._send(encoded, agent, filter(None, [self._directory.get(session_id)]))
        elif isinstance(user_id, str):
            self._send(encoded, agent, self._directory.of_user(user_id))
        else:
            self._send(encoded, agent, (session for session in self._directory.all() if session.writable))

    def _send(self, encoded: bytes, agent: AgentSession, sessions: Iterable[ControlSession]) -> None:
        device = agent.device
        for session in sessions:
            if session.capabilities_on(device):
                session.send_encoded(encoded)

    def _repeats_itself(self, agent: AgentSession, message: Mapping[str, Any]) -> bool:
        if message.get("type") != "console":
            return False
        digest = hash(str(message.get("value")))
        last = self._console.get(agent.node_id)
        if last is None or last.digest != digest:
            self._console[agent.node_id] = _Repetition(digest)
            return False
        last.count += 1
        return last.count >= MAX_REPEATS

    # -- answers that are owed ----------------------------------------------------------------------------------

    def expect(self, context: ActionContext, node_id: str, kind: str, seconds: float) -> None:
        session_id = context.session.id
        key = (session_id, node_id, kind, _as_text(context.response_id))
        self._forget(key)
        if self._count_of.get(session_id, 0) >= MAX_WAITING:
            raise Conflict(f"Too many answers are waited for: at most {MAX_WAITING}", hint="Wait for some of them.")
        timer = asyncio.get_running_loop().call_later(seconds, self._fail, key, "Timeout")
        self._answer_kinds.add(kind)
        self._waiting[key] = _Waiting(context, node_id, timer)
        self._count_of[session_id] = self._count_of.get(session_id, 0) + 1

    def agent_left(self, node_id: str) -> None:
        """Tell everybody who waits for this agent that it will not answer."""
        self._console.pop(node_id, None)
        for key in [key for key, waiting in self._waiting.items() if waiting.node_id == node_id]:
            self._fail(key, "Agent not connected")

    def session_left(self, session_id: str) -> None:
        """Nobody waits any more."""
        for key in [key for key in self._waiting if key[0] == session_id]:
            self._forget(key)

    def close(self) -> None:
        """Stop all timers."""
        for key in list(self._waiting):
            self._forget(key)

    def _answered(self, session_id: str, node_id: str, message: Mapping[str, Any]) -> bool:
        """Whether the session waited for this from the device; it does no more."""
        key = (session_id, node_id, str(message.get("type")), _as_text(message.get("responseid")))
        return self._forget(key) is not None

    def _fail(self, key: _Key, text: str) -> None:
        waiting = self._forget(key)
        if waiting is not None:
            waiting.context.reply(result=text, nodeid=waiting.node_id)

    def _forget(self, key: _Key) -> _Waiting | None:
        waiting = self._waiting.pop(key, None)
        if waiting is not None:
            waiting.timer.cancel()
            self._count_of[key[0]] -= 1
            if not self._count_of[key[0]]:
                del self._count_of[key[0]]
        return waiting


def _as_text(response_id: Any) -> str:
    return json.dumps(response_id, sort_keys=True)
