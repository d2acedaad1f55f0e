"""The agents of one server: their channels, their cores, and the watch over cores that never report."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping

from meshcentral.plugins import AgentAction, AgentSession, CoreModule, Server, Socket
from meshcentral_agents.agent_actions import AgentActions
from meshcentral_agents.binaries import AgentBinaries
from meshcentral_agents.channel import PARALLEL_PUSHES, AgentChannel
from meshcentral_agents.core_builder import Core, build_cores, platform_of
from meshcentral_protocol.agent_types import AGENT_TYPES

log = logging.getLogger("meshcentral.agents")

WATCH_SECONDS = 10.0
PUSH_SECONDS = 30.0
"""A push that is not answered in this time no longer keeps others from being served."""
CORE_INFO_SECONDS = 60.0
"""A core that says nothing this long after it was confirmed is reported: it may have thrown at its start."""


class AgentService:
    """Owns what the plugin keeps for one server."""

    def __init__(self, server: Server) -> None:
        self.binaries = AgentBinaries(server.paths.agents)
        self.actions = AgentActions(server, self.channel_of)
        self._server = server
        self._channels: dict[str, AgentChannel] = {}
        self._cores: Mapping[str, Core] = {}
        self._handlers: Mapping[str, AgentAction] = {}
        self._push_slots = asyncio.Semaphore(PARALLEL_PUSHES)

    def prepare(self, modules: Iterable[CoreModule], actions: Iterable[AgentAction]) -> None:
        """Build the cores and the table of actions, whose names are unique."""
        self._cores = build_cores(modules)
        self._handlers = {action.name: action for action in actions}

    def channel_of(self, session: AgentSession) -> AgentChannel | None:
        """The channel that serves this very session."""
        channel = self._channels.get(session.node_id)
        return channel if channel is not None and channel.session is session else None

    def sessions_of(self, node_id: str) -> Mapping[str, Mapping[str, int]]:
        """Open remote sessions of a device: kind -> account id -> count."""
        channel = self._channels.get(node_id)
        return channel.session_counts if channel is not None else {}

    async def serve(self, socket: Socket) -> None:
        """Authenticate whoever opened the agent socket and serve it to its end."""
        session = await self._server.agents.accept(socket)
        if session is None:
            return
        channel = self._open_channel(session)
        reason = "closed"
        try:
            reason = await channel.run()
        finally:
            self._close_channel(channel)
            await self._server.agents.release(session, reason)

    def _open_channel(self, session: AgentSession) -> AgentChannel:
        agent_type = AGENT_TYPES.get(session.type_id)
        platform = platform_of(agent_type) if agent_type is not None else None
        channel = AgentChannel(
            self._server,
            session,
            core=self._cores.get(platform) if platform is not None else None,
            leave_core=agent_type is not None and platform is None,
            actions=self._handlers,
            push_slots=self._push_slots,
        )
        self._channels[session.node_id] = channel
        return channel

    def _close_channel(self, channel: AgentChannel) -> None:
        node_id = channel.session.node_id
        if self._channels.get(node_id) is not channel:
            return  # a newer connection of the device has taken over
        del self._channels[node_id]
        device = self._server.store.devices.get(node_id)
        if channel.session_counts and device is not None:
            self.actions.publish_sessions(device, {})

    async def watch(self) -> None:
        """Every few seconds: end pushes that nobody answers, and name the cores that keep silent."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            self._check_all()

    def _check_all(self) -> None:
        now = self._server.clock.monotonic()
        for channel in list(self._channels.values()):
            self._check(channel, now)

    def _check(self, channel: AgentChannel, now: float) -> None:
        if channel.push_started_at is not None and now - channel.push_started_at > PUSH_SECONDS:
            log.warning("agent does not answer a core push", extra={"node": channel.session.node_id})
            channel.release_push_slot()
        confirmed = channel.core_confirmed_at
        if confirmed is None or channel.core_info_received or channel.reported_silent:
            return
        if now - confirmed > CORE_INFO_SECONDS:
            channel.reported_silent = True
            log.warning("agent core runs but does not report", extra={"node": channel.session.node_id})
            channel.publish_core("silent", channel.sync.wanted)
