"""Every hook: one signature and one docstring each. The prefix of the name is the contract (architecture, 5.1).

`register_` sync, once, before listening, iterables concatenated; failure unloads the plugin.
`on_`       async, all at once, 5 s each, results ignored.
`gather_`   async, all at once, 5 s each, lists.
An implementation may leave arguments out. A hook enters this file only with its first user and a test.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from meshcentral.plugins.actions import UserAction
    from meshcentral.plugins.agents import AgentAction, AgentSession, CoreModule
    from meshcentral.plugins.events import EventType, Redaction
    from meshcentral.plugins.server import Server
    from meshcentral.plugins.services import Health, Service
    from meshcentral.plugins.store import MigrationFolder, Retention
    from meshcentral.plugins.web import Route, SocketRoute

PROJECT = "meshcentral"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class Specs:
    """The hooks of API version 1.0."""

    @hookspec
    def register_migrations(self, server: Server) -> Iterable[MigrationFolder]:  # type: ignore[empty-body]
        """Alembic version folders for a plugin's own tables."""

    @hookspec
    def register_services(self, server: Server) -> Iterable[Service]:  # type: ignore[empty-body]
        """Background jobs that run while the server serves."""

    @hookspec
    def register_routes(self, server: Server) -> Iterable[Route]:  # type: ignore[empty-body]
        """HTTP pages and downloads. Who claims a path and method of another plugin is unloaded."""

    @hookspec
    def register_sockets(self, server: Server) -> Iterable[SocketRoute]:  # type: ignore[empty-body]
        """WebSocket endpoints. Who claims a path of another plugin is unloaded."""

    @hookspec
    def register_user_actions(self, server: Server) -> Iterable[UserAction]:  # type: ignore[empty-body]
        """Control-channel actions. Who claims a name of another plugin is unloaded."""

    @hookspec
    def register_agent_actions(self, server: Server) -> Iterable[AgentAction]:  # type: ignore[empty-body]
        """JSON actions that agents send. Who claims a name of another plugin is unloaded."""

    @hookspec
    def register_core_modules(self, server: Server) -> Iterable[CoreModule]:  # type: ignore[empty-body]
        """JavaScript for the agent core, in the order in which it is to be joined."""

    @hookspec
    def register_event_types(self, server: Server) -> Iterable[EventType]:  # type: ignore[empty-body]
        """Events that the plugin publishes, for the manual and for filters."""

    @hookspec
    def register_redactions(self, server: Server) -> Iterable[Redaction]:  # type: ignore[empty-body]
        """Members of events that only some recipients may see."""

    @hookspec
    def register_retention(self, server: Server) -> Iterable[Retention]:  # type: ignore[empty-body]
        """Append-only collections and how long they are kept."""

    @hookspec
    async def on_startup(self, server: Server) -> None:
        """Open resources, before listening. May raise NotReady, which is retried with back-off."""

    @hookspec
    async def on_shutdown(self, server: Server) -> None:
        """Drain and close; 20 s in all."""

    @hookspec
    async def on_agent_disconnected(self, server: Server, agent: AgentSession, reason: str) -> None:
        """The agent is gone; its session is already unregistered."""

    @hookspec
    async def gather_health(self, server: Server) -> list[Health]:  # type: ignore[empty-body]
        """Lines of the health report. The first one that is not ready turns `/ready` into 503."""
