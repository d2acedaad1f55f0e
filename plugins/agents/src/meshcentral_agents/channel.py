"""One connected agent after its authentication: core hash, push, and the JSON phase (agent-protocol reference, 4, 5).

Messages of one agent are handled strictly one after another; agents do not wait for each other, except that core
pushes run at most `PARALLEL_PUSHES` at a time.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from meshcentral.plugins import AgentAction, AgentSession, MeshError, Server, SocketClosed, targets
from meshcentral_agents.core_sync import CoreSync, Step
from meshcentral_agents.events import AgentCoreChanged
from meshcentral_protocol.agent_commands import AgentTag, CoreHash, CoreModule, CoreOk, decode
from meshcentral_protocol.errors import CommandError

if TYPE_CHECKING:
    from meshcentral_agents.core_builder import Core

log = logging.getLogger("meshcentral.agents")

OWNER = "agents"
MAX_MESSAGE = 16 * 1024 * 1024
MAX_HANDSHAKE = 64 * 1024
"""Bytes of a message of an agent that has not proved its key; the longest holds a certificate and a signature."""
PARALLEL_PUSHES = 32
RATE_WINDOW_SECONDS = 10.0
RATE_MESSAGES = 500
"""Messages of one agent in a window; more are not lost, reading pauses until the window ends."""
MAX_BAD_MESSAGES = 20
"""Per connection: messages that are not JSON objects. Then the agent is disconnected."""
MAX_TAG = 256
MAX_LOGGED = 64
"""Characters of an agent's own words in a log entry."""
MAX_DEPTH = 64
"""Levels of nested arrays and objects; a deeper message is malformed."""


class AgentChannel:
    """Serves one `AgentSession` until its socket is done."""

    __slots__ = (
        "_actions",
        "_bad_messages",
        "_core",
        "_leave_core",
        "_push_slot",
        "_push_slots",
        "_server",
        "_unknown",
        "_window_end",
        "_window_messages",
        "core_confirmed_at",
        "core_info_received",
        "push_started_at",
        "ready",
        "reported_silent",
        "session",
        "session_counts",
        "sync",
    )

    def __init__(
        self,
        server: Server,
        session: AgentSession,
        *,
        core: Core | None,
        leave_core: bool,
        actions: Mapping[str, AgentAction],
        push_slots: asyncio.Semaphore,
    ) -> None:
        """`core` None: we have none for this kind of agent, and remove the one it has; `leave_core`: it is a program
        that brings its own and must not be touched."""
        self.session = session
        self.sync = CoreSync(core.hash if core else None)
        self.session_counts: dict[str, dict[str, int]] = {}
        self.core_info_received = False
        self.core_confirmed_at: float | None = None
        self.push_started_at: float | None = None
        self.reported_silent = False
        self.ready = False
        self._server = server
        self._core = core
        self._leave_core = leave_core
        self._actions = actions
        self._push_slots = push_slots
        self._push_slot = False
        self._unknown: set[str] = set()
        self._bad_messages = 0
        self._window_end = 0.0
        self._window_messages = 0

    async def run(self) -> str:
        """Ask for the core hash, then handle messages until the socket ends. Returns why it ended."""
        if self._leave_core:
            self.sync.settled = True
            self.session.send_json({"action": "serverInfo"})
        else:
            self.session.send_command(CoreHash().encode())
        try:
            while True:
                await self._handle(await self.session.socket.receive())
        except SocketClosed:
            return "closed"
        finally:
            self.release_push_slot()

    async def _handle(self, message: str | bytes) -> None:
        """Dispatch on the first byte, never on the kind of frame."""
        if self.session.superseded:
            return  # the socket stays open, since the agent would answer a close with a reconnect
        await self._pace()
        if message[:1] in ("{", b"{"):
            await self._handle_json(message)
        elif isinstance(message, bytes):
            await self._handle_command(message)
        else:
            self._bad_message("text that is not a JSON object")

    # -- binary commands --------------------------------------------------------------------------------------------

    async def _handle_command(self, frame: bytes) -> None:
        try:
            command = decode(frame)
        except CommandError as error:
            self._bad_message(str(error))
            return
        match command:
            case CoreHash(hash=found) if not self._leave_core:
                await self._core_reported(found)
            case AgentTag(text=text) if text:
                self._tagged(text)
            case _:
                log.debug("agent command without meaning here", extra={"node": self.session.node_id})

    async def _core_reported(self, found: bytes | None) -> None:
        self.release_push_slot()
        step = self.sync.reported(found)
        match step:
            case Step.PUSH:
                await self._push()
            case Step.CONFIRM:
                self.session.send_command(CoreOk().encode())
                self._core_runs("confirmed", found)
            case Step.KEEP:
                self._core_runs("custom", found)
            case Step.CLEAR:
                self.session.send_command(CoreModule().encode())
                self.publish_core("cleared", found)
            case Step.GIVE_UP:
                log.warning(
                    "agent does not take the core", extra={"node": self.session.node_id, "pushes": self.sync.pushes}
                )
                self.publish_core("failed", found)
            case Step.NOTHING:
                pass

    async def _push(self) -> None:
        assert self._core is not None  # only a wanted core is pushed
        await self._push_slots.acquire()
        self._push_slot = True
        self.push_started_at = self._server.clock.monotonic()
        self.session.send_command(CoreModule(self._core.data, self._core.hash).encode())
        self.publish_core("pushed", self._core.hash)

    def release_push_slot(self) -> None:
        """Let another agent be served: the push was answered, took too long, or the agent left."""
        if self._push_slot:
            self._push_slot = False
            self.push_started_at = None
            self._push_slots.release()

    def _core_runs(self, step: str, found: bytes | None) -> None:
        self.core_confirmed_at = self._server.clock.monotonic()
        self.publish_core(step, found)
        self.session.send_json({"action": "serverInfo"})
        self._check_ready()

    def _tagged(self, text: str) -> None:
        """The installer's tag: the first line that is no `~` directive."""
        lines = (line.strip() for line in text.splitlines())
        tag = next((line for line in lines if line and not line.startswith("~")), "")[:MAX_TAG]
        device = self.session.device
        if tag.isprintable() and tag and device.agent is not None and device.agent.tag != tag:
            self._server.store.note(device.with_(agent=device.agent.model_copy(update={"tag": tag})))

    # -- JSON -------------------------------------------------------------------------------------------------------

    async def _pace(self) -> None:
        now = self._server.clock.monotonic()
        if now >= self._window_end:
            self._window_end = now + RATE_WINDOW_SECONDS
            self._window_messages = 0
        self._window_messages += 1
        if self._window_messages > RATE_MESSAGES:
            log.warning("agent sends too fast, reading pauses", extra={"node": self.session.node_id})
            await asyncio.sleep(self._window_end - now)

    async def _handle_json(self, text: str | bytes) -> None:
        message = parse_object(text)
        name = message.get("action") if message is not None else None
        if message is None or not isinstance(name, str):
            self._bad_message("not a JSON object with an action")
            return
        action = self._actions.get(name)
        if action is None:
            self._note_unknown(name)
            return
        try:
            await action.handler(self.session, message)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            # The path may have keys of the message in it, as long as the agent likes.
            member = ".".join(map(str, first["loc"]))[:MAX_LOGGED]
            extra = {"node": self.session.node_id, "action": name, "member": member, "rule": first["msg"][:MAX_LOGGED]}
            log.warning("agent message refused", extra=extra)
        except MeshError as error:
            log.warning(
                "agent message refused", extra={"node": self.session.node_id, "action": name, "why": str(error)}
            )
        except Exception:
            log.exception("agent action failed", extra={"node": self.session.node_id, "action": name})

    def _note_unknown(self, name: str) -> None:
        """Once per name and connection; a hostile agent cannot grow the set or the log."""
        name = name[:MAX_LOGGED]
        if len(self._unknown) < 32 and name not in self._unknown:
            self._unknown.add(name)
            log.info("unknown agent action", extra={"node": self.session.node_id, "action": name})

    def _bad_message(self, why: str) -> None:
        self._bad_messages += 1
        if self._bad_messages == 1:
            log.warning("malformed agent message", extra={"node": self.session.node_id, "why": why})
        if self._bad_messages > MAX_BAD_MESSAGES:
            self.session.disconnect("too many malformed messages")

    # -- readiness --------------------------------------------------------------------------------------------------

    def core_info_arrived(self) -> None:
        """The core reported itself; it may do so before its push is confirmed."""
        self.core_info_received = True
        self._check_ready()

    def _check_ready(self) -> None:
        if self.ready or not (self.sync.settled and self.core_info_received):
            return
        self.ready = True
        self.publish_core("ready", self.sync.wanted)

    def publish_core(self, step: str, core_hash: bytes | None) -> None:
        """Tell where the agent's core stands."""
        device = self.session.device
        self._server.bus.publish(
            AgentCoreChanged(
                domain=self.session.domain,
                node_id=device.id,
                group_id=device.group_id,
                step=step,
                core_hash=(core_hash or b"")[:8].hex(),
                text=f"Agent core of {device.name}: {step}",
            ),
            targets.of_device(self._server.store, device),
        )


def parse_object(text: str | bytes) -> dict[str, Any] | None:
    """A JSON object, or None for anything else, however it is malformed."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError):  # ValueError covers bad UTF-8, syntax and endless digits
        return None
    return value if isinstance(value, dict) and not _is_deep(value) else None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    """`1e999` is JSON, but what Python makes of it cannot be written as JSON again."""
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("the number is too large")
    return number


def _is_deep(value: Any) -> bool:
    """Level by level: whoever handles the message may recurse through it safely when this is False."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in (parent.values() if isinstance(parent, dict) else parent)]
        level = [child for child in level if isinstance(child, dict | list)]
        if not level:
            return False
    return True
