"""The `agents` plugin: the agent socket, our agent core, and the programs and settings that agents start with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from meshcentral.plugins import Plugin, hookimpl

if TYPE_CHECKING:
    from meshcentral.plugins import (
        AgentAction,
        CoreModule,
        EventType,
        Health,
        Route,
        Server,
        Service,
        SocketRoute,
        UserAction,
    )
    from meshcentral_agents.service import AgentService


class AgentsPlugin(Plugin):
    """Connects MeshAgents."""

    name = "agents"
    summary = "MeshAgent socket, core modules, agent programs and settings"

    def __init__(self) -> None:
        self._service: AgentService | None = None

    def _of(self, server: Server) -> AgentService:
        """The service of the server that this instance belongs to."""
        if self._service is None:
            from meshcentral_agents.service import AgentService

            self._service = AgentService(server)
        return self._service

    # -- declarations -------------------------------------------------------------------------------------------

    @hookimpl
    def register_sockets(self, server: Server) -> Iterable[SocketRoute]:
        """`agent.ashx`, for agents only."""
        from meshcentral.plugins import Access, SocketRoute
        from meshcentral_agents.channel import MAX_HANDSHAKE, MAX_MESSAGE
        from meshcentral_agents.settings import AGENT_PATH

        yield SocketRoute(
            f"/{AGENT_PATH}",
            self._of(server).serve,
            Access.AGENT,
            max_message=MAX_MESSAGE,
            max_untrusted=MAX_HANDSHAKE,
            summary="Control channel of MeshAgents",
        )

    @hookimpl
    def register_routes(self, server: Server) -> Iterable[Route]:
        """Downloads for installing agents."""
        from meshcentral.plugins import Route
        from meshcentral_agents.downloads import Downloads

        downloads = Downloads(server, self._of(server).binaries)
        yield Route("/meshagents", downloads.agent, summary="Agent programs")
        yield Route("/meshsettings", downloads.settings, summary="Agent settings of a device group")

    @hookimpl
    def register_agent_actions(self, server: Server) -> Iterable[AgentAction]:
        """What every core sends."""
        return self._of(server).actions.descriptors()

    @hookimpl
    def register_core_modules(self) -> Iterable[CoreModule]:
        """Our own core."""
        from meshcentral_agents.core_builder import own_modules

        return own_modules()

    @hookimpl
    def register_user_actions(self, server: Server) -> Iterable[UserAction]:
        """Settings files, programs, held agents."""
        from meshcentral_agents.user_actions import AgentUserActions

        return AgentUserActions(server, self._of(server).binaries).descriptors()

    @hookimpl
    def register_event_types(self) -> Iterable[EventType]:
        """Events about agents' cores, networks, sessions and logs."""
        from meshcentral.plugins import EventType
        from meshcentral_agents.events import PUBLISHED

        return [EventType.of(event) for event in PUBLISHED]

    @hookimpl
    def register_services(self, server: Server) -> Iterable[Service]:
        """The watch over core pushes and silent cores."""
        from meshcentral.plugins import Service

        yield Service("agent-cores", self._of(server).watch)

    # -- life -----------------------------------------------------------------------------------------------------

    @hookimpl
    async def on_startup(self, server: Server) -> None:
        """Build the cores of all platforms and read the list of imported programs."""
        service = self._of(server)
        actions = server.hooks.claims("register_agent_actions", names=lambda action: [action.name], server=server)
        service.prepare(
            server.hooks.collect("register_core_modules", server=server), [claim.value for claim in actions]
        )
        await server.run_blocking(service.binaries.load)

    @hookimpl
    async def gather_health(self, server: Server) -> list[Health]:
        """How many agents are connected and held."""
        from meshcentral.plugins import Health

        detail = f"{len(server.agents)} connected, {len(server.agents.held)} held"
        return [Health("agents", True, detail)]

    # -- for meshcentral_agents.api -------------------------------------------------------------------------------

    def sessions_of(self, node_id: str) -> Mapping[str, Mapping[str, int]]:
        """Open remote sessions of a device: kind -> account id -> count."""
        return self._service.sessions_of(node_id) if self._service is not None else {}

    def forget(self, node_id: str) -> None:
        """The device was removed."""
        if self._service is not None:
            self._service.actions.forget(node_id)
