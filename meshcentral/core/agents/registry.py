"""All live agents of this process: the door, the sessions, and those who wait outside."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Sequence

from meshcentral.core.agents.admission import Refused, admit
from meshcentral.core.agents.authentication import Authenticator
from meshcentral.core.agents.bookkeeping import Bookkeeper
from meshcentral.core.agents.held import HeldAgents
from meshcentral.core.agents.host import AgentHost
from meshcentral.core.agents.reconnects import ReconnectCounter, Verdict
from meshcentral.core.agents.session import ConnectedAgent
from meshcentral.plugins.agents import AgentSession, HeldAgent
from meshcentral.plugins.errors import SocketClosed
from meshcentral.plugins.events import EVERYTHING, AgentHeld
from meshcentral.plugins.web import Socket
from meshcentral_protocol.agent_commands import CoreModule
from meshcentral_protocol.handshake import AUTH_CONFIRM, AuthenticatedAgent, HoldReason
from meshcentral_protocol.identifiers import node_id

HOLD_SECONDS = 900.0
"""How long an agent that is not let in is kept from trying again. The listener ends silent ones before."""
HELD_MESSAGES = 256
HELD_BYTES = 1024 * 1024
"""What one held agent may send before it is dropped."""
MAX_HOLDING = 5000
"""Sockets that are held at once; beyond, agents are turned away."""

CLEAR_CORE = CoreModule().encode()

SUPERSEDED = "superseded"

log = logging.getLogger("meshcentral.agents")


class Agents:
    """Implements `meshcentral.plugins.agents.AgentRegistry`."""

    def __init__(self, host: AgentHost) -> None:
        self._host = host
        self._authenticator = Authenticator(host)
        self._bookkeeper = Bookkeeper(host)
        self._reconnects = ReconnectCounter(host.clock.monotonic())
        self._held = HeldAgents()
        self._holding = 0
        self._sessions: dict[str, ConnectedAgent] = {}

    def get(self, node_id: str) -> ConnectedAgent | None:
        """The session of a device, None when its agent is not connected."""
        return self._sessions.get(node_id)

    def __iter__(self) -> Iterator[ConnectedAgent]:
        """A snapshot: sessions may come and go meanwhile."""
        return iter(tuple(self._sessions.values()))

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def held(self) -> Sequence[HeldAgent]:
        """Who was not let in lately, oldest first."""
        return self._held.entries()

    @property
    def waiting(self) -> int:
        """How many sockets are held at this moment."""
        return self._holding

    async def accept(self, socket: Socket) -> ConnectedAgent | None:
        """Authenticate the agent, store its device, send message 4 and register the session.

        None when the agent left, or was held until it left.
        """
        try:
            outcome: AuthenticatedAgent | ConnectedAgent | Refused = await self._authenticator.authenticate(socket)
        except SocketClosed:
            return None
        if isinstance(outcome, AuthenticatedAgent):
            outcome = self._admit(outcome, socket)
        if isinstance(outcome, Refused):
            await self._hold(socket, outcome)
            return None
        await self._register(outcome)
        return outcome

    async def release(self, session: AgentSession, reason: str) -> None:
        """The session's socket is done. Nothing happens for one that was superseded or released before."""
        mine = self._sessions.get(session.node_id)
        if mine is None or mine is not session:
            return
        del self._sessions[mine.node_id]
        self._reconnects.disconnected(mine.node_id, self._host.clock.monotonic())
        log.info("agent disconnected", extra={"node_id": mine.node_id, "reason": reason})
        self._bookkeeper.disconnected(mine)
        await self._notify_disconnected(mine, reason)

    def _admit(self, agent: AuthenticatedAgent, socket: Socket) -> ConnectedAgent | Refused:
        """Decide and store; on the way in, message 4 is the last thing done."""
        host, connection = self._host, socket.connection
        identifier = node_id(agent.key_hash, connection.domain)
        verdict = self._reconnects.verdict(identifier, host.clock.monotonic())
        tired = Refused(
            HoldReason.TOO_MANY_RECONNECTS,
            "the agent disconnected too often within two minutes",
            identifier,
            agent.info.host_name,
        )
        if verdict is Verdict.REFUSE:
            return tired
        admitted = admit(
            agent,
            domain=connection.domain,
            address=connection.remote_address,
            now=host.clock.milliseconds(),
            stored=host.store.devices.get(identifier),
            find_group=host.store.groups.get,
        )
        if isinstance(admitted, Refused):
            return admitted
        device = self._bookkeeper.admitted(admitted, connection)
        if verdict is Verdict.CLEAR_CORE:
            socket.send(AUTH_CONFIRM)
            socket.send(CLEAR_CORE)
            return tired
        socket.trust()
        socket.send(AUTH_CONFIRM)
        return ConnectedAgent(agent, device, host.store.devices, socket, host.clock.now())

    async def _register(self, session: ConnectedAgent) -> None:
        """The newest session of a device wins; an older one is muted but stays open."""
        older = self._sessions.get(session.node_id)
        if older is not None:
            older.superseded = True
            self._reconnects.disconnected(session.node_id, self._host.clock.monotonic())
        self._sessions[session.node_id] = session
        self._held.forget(session.node_id)
        log.info(
            "agent connected",
            extra={"node_id": session.node_id, "address": session.remote_address, "fast_path": session.fast_path},
        )
        self._bookkeeper.connected(session, again=older is not None)
        if older is None:
            return
        try:
            await self._notify_disconnected(older, SUPERSEDED)
        except asyncio.CancelledError:
            # The caller never gets the session, so nobody else would release it.
            await self.release(session, "cancelled")
            raise

    async def _notify_disconnected(self, session: ConnectedAgent, reason: str) -> None:
        await self._host.hooks.notify("on_agent_disconnected", server=self._host, agent=session, reason=reason)

    async def _hold(self, socket: Socket, refused: Refused) -> None:
        """Keep the agent from trying again at once: it reads an open socket as "wait" and a closed one as "retry"."""
        if refused.reason is HoldReason.TIMEOUT:
            log.info("agent handshake timed out", extra={"address": socket.connection.remote_address})
            socket.abort()
            return
        self._announce(socket, refused)
        # An agent of another server may have more addresses to try: it moves on only when this one is closed.
        if refused.reason is HoldReason.WRONG_SERVER or self._holding >= MAX_HOLDING:
            socket.close(1008, refused.reason.value)
            return
        self._holding += 1
        try:
            with contextlib.suppress(SocketClosed, TimeoutError):
                async with asyncio.timeout(HOLD_SECONDS):
                    await _discard(socket)
        finally:
            self._holding -= 1
        socket.close(1008, refused.reason.value)

    def _announce(self, socket: Socket, refused: Refused) -> None:
        connection = socket.connection
        held = HeldAgent(
            remote_address=connection.remote_address,
            reason=refused.reason.value,
            detail=refused.detail,
            since=self._host.clock.now(),
            node_id=refused.node_id,
            host_name=refused.host_name,
        )
        if not self._held.add(held, self._host.clock.monotonic()):
            return
        log.warning("agent held", extra={"reason": held.reason, "detail": held.detail, "address": held.remote_address})
        event = AgentHeld(
            domain=connection.domain,
            reason=held.reason,
            detail=held.detail,
            address=held.remote_address,
            node_id=held.node_id,
            text=f"An agent from {held.remote_address} is kept waiting: {held.detail}",
        )
        self._host.bus.publish(event, [EVERYTHING])


async def _discard(socket: Socket) -> None:
    """Read until the agent leaves or has sent too much."""
    size = 0
    for _ in range(HELD_MESSAGES):
        size += len(await socket.receive())
        if size > HELD_BYTES:
            return
