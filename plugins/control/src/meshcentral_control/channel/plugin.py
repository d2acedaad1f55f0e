"""The `channel` plugin: the socket, its sessions, and what agents say to them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from meshcentral.plugins.agents import AgentAction, AgentSession
from meshcentral.plugins.hookspecs import hookimpl
from meshcentral.plugins.plugin import Plugin
from meshcentral.plugins.web import Access, SocketRoute

if TYPE_CHECKING:
    from meshcentral.plugins.server import Server
    from meshcentral_control.channel.agent_messages import AgentMessages
    from meshcentral_control.channel.directory import Directory
    from meshcentral_control.channel.endpoint import ControlEndpoint


class ChannelPlugin(Plugin):
    """`control.ashx`: authentication, the action registry and dispatch."""

    name = "channel"
    requires = ("accounts",)
    summary = "Control channel: sessions, action registry, dispatch"

    directory: Directory
    agent_messages: AgentMessages

    def __init__(self) -> None:
        from meshcentral_control.channel.agent_messages import AgentMessages
        from meshcentral_control.channel.directory import Directory

        self.directory = Directory()
        self.agent_messages = AgentMessages(self.directory)
        self._endpoint: ControlEndpoint | None = None

    @hookimpl
    def register_sockets(self, server: Server) -> Iterable[SocketRoute]:
        """The one socket of people and their tools."""
        from meshcentral_control.channel.endpoint import MAX_UNTRUSTED, ControlEndpoint

        self._endpoint = ControlEndpoint(server, self.directory, self.agent_messages)
        yield SocketRoute(
            "/control.ashx",
            self._endpoint.serve,
            Access.USER,
            max_untrusted=MAX_UNTRUSTED,
            summary="Control channel: one JSON object per text frame",
        )

    @hookimpl
    def register_agent_actions(self) -> Iterable[AgentAction]:
        """What agents say to sessions."""
        yield AgentAction("msg", self.agent_messages.handle, "Pass a message on to control sessions.")

    @hookimpl
    async def on_startup(self) -> None:
        """Check all declared actions now, not at the first request."""
        if self._endpoint is not None:
            self._endpoint.build_registry()

    @hookimpl
    async def on_agent_disconnected(self, agent: AgentSession) -> None:
        """Whoever waits for this agent's answer is told."""
        self.agent_messages.agent_left(agent.node_id)

    @hookimpl
    async def on_shutdown(self) -> None:
        """Stop waiting."""
        self.agent_messages.close()
