"""The server: what it owns, and the order in which the parts start and stop.

Two servers in one process share nothing. An offline command runs the same server without listeners.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from meshcentral.core import systemd
from meshcentral.core.agents import Agents
from meshcentral.core.builtin import CorePlugin
from meshcentral.core.bus import EventBus
from meshcentral.core.certificates import CertificateSettings, CertificateStore, Purpose
from meshcentral.core.clock import SystemClock
from meshcentral.core.config import Configuration
from meshcentral.core.lock import DataFolderLock
from meshcentral.core.paths import DataPaths
from meshcentral.core.store import DocumentStore
from meshcentral.core.supervisor import Supervisor, once_ready
from meshcentral.core.tasks import BlockingPools, Tasks
from meshcentral.core.websocket.memory import memory_pair
from meshcentral.plugins.dispatch import HookFailure, Hooks
from meshcentral.plugins.errors import NotFound
from meshcentral.plugins.events import EVERYTHING, CertificateChanged
from meshcentral.plugins.manager import PluginManager
from meshcentral.plugins.plugin import Plugin
from meshcentral.plugins.records import PluginRecord
from meshcentral.plugins.server import Clock, Pool, PublicAddress
from meshcentral.plugins.services import Health
from meshcentral.plugins.web import CertificateHashes, Connection, Socket, SocketRoute

if TYPE_CHECKING:
    from meshcentral.core.listeners import Listeners
    from meshcentral.core.tls import LiveContext

log = logging.getLogger("meshcentral.server")

T = TypeVar("T")

DRAIN_SECONDS = 5.0
SHUTDOWN_HOOK_SECONDS = 20.0
WEB_PURPOSES = frozenset({Purpose.WEB, Purpose.WEB_ECDSA})
"""A change of either of the two concerns the TLS port."""


class Server:
    """One server; implements `meshcentral.plugins.server.Server`."""

    def __init__(
        self,
        configuration: Configuration,
        paths: DataPaths,
        *,
        plugins: Sequence[type[Plugin]] | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`plugins` None means all that are installed; a list is used as it is (tests)."""
        self.configuration = configuration
        self.paths = paths
        self.clock: Clock = clock or SystemClock()
        self.address: PublicAddress = configuration.address
        self.serving = False
        self.store: DocumentStore
        self.bus: EventBus
        self.certificates: CertificateStore
        self.agents: Agents
        self.hooks: Hooks
        self._plugin_classes = plugins
        self._manager: PluginManager
        self._tasks = Tasks()
        self._pools = BlockingPools()
        self._lock = DataFolderLock(paths)
        self._supervisor = Supervisor(self._tasks, self.clock)
        self._closers: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self._sockets: dict[str, SocketRoute] = {}
        self._listeners: Listeners | None = None
        self._port = 0
        self._tls: LiveContext | None = None
        self._late_starts: list[HookFailure] = []

    # -- what plugins see (meshcentral.plugins.server.Server) ---------------------------------------------------

    @property
    def plugins(self) -> Sequence[PluginRecord]:
        return self._manager.records

    @property
    def domains(self) -> Sequence[str]:
        return self.configuration.domain_ids

    @property
    def port(self) -> int:
        """The port that the TLS listener really has; `address` has the one that clients use."""
        return self._port

    def spawn(self, coro: Coroutine[Any, Any, T], *, name: str, owner: str) -> asyncio.Task[T]:
        return self._tasks.spawn(coro, name=name, owner=owner)

    async def run_blocking(self, function: Callable[[], T], *, pool: Pool = "general") -> T:
        return await self._pools.run(function, pool=pool)

    async def open_local(self, path: str) -> Socket:
        route = self._sockets.get(path)
        if route is None:
            raise NotFound(f"no plugin serves the socket {path}", hint="`mesh plugins list` says what is loaded.")
        connection = Connection(
            method="GET",
            path=path,
            query={},
            headers={},
            remote_address="local",
            remote_port=0,
            secure=True,
            local=True,
        )
        client, served = memory_pair(connection)
        served.run_handler(route, self.spawn)
        return client

    # -- start ----------------------------------------------------------------------------------------------------

    async def start(self, *, listen: bool = True) -> None:
        """Take the data folder, open everything, then listen. On any error all of it is closed again.

        Raises Busy when another process has the folder, ConfigurationError when settings or files cannot work.
        """
        self.paths.create()
        self._lock.acquire()
        self._closers.append(self._release_lock)
        try:
            await self._open()
            if listen:
                await self._listen()
        except BaseException:
            await self.stop()
            raise

    async def _open(self) -> None:
        self.paths.clear_temporary()
        settings = CertificateSettings(
            name=self.configuration.settings.cert, fast=self.configuration.settings.fast_cert
        )
        self.certificates = await self.run_blocking(lambda: CertificateStore.load(self.paths, settings, self.clock))
        self._manager = PluginManager(disabled=self.configuration.plugins.disabled)
        self._manager.load([CorePlugin(self)], classes=self._plugin_classes)
        self.hooks = self._manager.hooks
        self._manager.check_required(self.configuration.plugins.required)
        self.store = await DocumentStore.open(
            self.paths.database,
            migrations=self.hooks.collect("register_migrations", server=self),
            retention=self.hooks.collect("register_retention", server=self),
            clock=self.clock,
        )
        self._closers.append(self.store.close)
        self.bus = EventBus(
            record=self.store.record_event,
            redactions=self.hooks.collect("register_redactions", server=self),
            clock=self.clock,
        )
        self.agents = Agents(self)
        self._closers.append(self._end_tasks)
        sockets = self.hooks.claims("register_sockets", names=lambda route: [route.path], server=self)
        self._sockets = {claim.value.path: claim.value for claim in sockets}
        self._late_starts = await self.hooks.notify("on_startup", server=self)
        # A plugin may have been unloaded while what it declared was looked at more closely.
        self._sockets = {claim.value.path: claim.value for claim in sockets if self._manager.get(claim.plugin)}
        self._closers.append(self._shut_down_plugins)

    async def _listen(self) -> None:
        # A third of the import time of the server, which offline commands need not pay.
        from meshcentral.core.app import create_application
        from meshcentral.core.listeners import Listeners
        from meshcentral.core.tls import LiveContext

        settings = self.configuration.settings
        bind = [settings.bind] if settings.bind else []
        routes = self.hooks.claims(
            "register_routes",
            names=lambda route: [f"{method} {route.path}" for method in route.methods],
            server=self,
        )
        services = self.hooks.contributions("register_services", server=self)
        listeners = Listeners(
            app=create_application(
                [claim.value for claim in routes],
                self.domains,
                health=self.health,
                origins=self._origins,
                run_blocking=self.run_blocking,
                shown_certificates=self._shown_certificates,
            ),
            sockets=list(self._sockets.values()),
            domains=self.domains,
            origins=self._origins,
            shown_certificates=self._shown_certificates,
            spawn=self.spawn,
            agent_idle=settings.agent_idle_timeout,
        )
        self._listeners = listeners
        self._closers.append(self._drain)
        self._tls = LiveContext(settings.tls_profile, self.certificates.web_files())
        port = await listeners.open_tls(bind, settings.port, self._tls.listening)
        redirect_port = None
        if settings.redirect_port is not None:
            redirect_port = await listeners.open_redirect(bind, settings.redirect_port, self._redirect_target)
        self._port = port
        public_port = port if settings.alias_port is None else settings.alias_port
        self.address = dataclasses.replace(self.address, port=public_port, redirect_port=redirect_port)
        await listeners.open_local(self.paths.control_socket)
        self._closers.append(self._supervisor.stop)
        self._supervisor.start(once_ready(self.hooks, self._late_starts, server=self))
        for service in services:
            self._supervisor.start([service.value], owner=service.plugin)
        self.serving = True
        systemd.ready(f"listening on port {port}")
        log.info("listening", extra={"port": port, "url": self.address.https()})

    # -- stop -----------------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Close in the reverse order of opening. A part that fails to close does not keep the others open."""
        self.serving = False
        while self._closers:
            close = self._closers.pop()
            try:
                await close()
            except Exception:
                log.exception("a part of the server did not close cleanly")

    async def _drain(self) -> None:
        systemd.stopping()
        if self._listeners is not None:
            await self._listeners.drain(DRAIN_SECONDS)

    async def _shut_down_plugins(self) -> None:
        await self.hooks.notify("on_shutdown", server=self, timeout=SHUTDOWN_HOOK_SECONDS)

    async def _end_tasks(self) -> None:
        await self._tasks.cancel_all(timeout=DRAIN_SECONDS)

    async def _release_lock(self) -> None:
        await self._tasks.cancel_all(timeout=DRAIN_SECONDS)
        self._pools.close()
        self._lock.release()

    # -- certificates ---------------------------------------------------------------------------------------------

    async def refresh_certificates(self) -> None:
        """Take changed files into use and renew what is due. Called every few seconds while serving."""
        changed = await self.run_blocking(self.certificates.refresh)
        await self._certificates_changed(changed)

    async def rotate_certificate(self, purpose: str) -> None:
        """Issue a new certificate from our root and take it into use at once."""
        await self.run_blocking(lambda: self.certificates.rotate(purpose))
        await self._certificates_changed([purpose])

    async def _certificates_changed(self, purposes: Sequence[str]) -> None:
        if self._tls is not None and WEB_PURPOSES.intersection(purposes):
            self._tls.replace(self.certificates.web_files())
        for purpose in purposes:
            certificate = self.certificates.of(purpose)
            fingerprint = certificate.hashes.full.hex()
            log.warning("certificate replaced", extra={"purpose": purpose, "fingerprint": fingerprint})
            self.bus.publish(
                CertificateChanged(
                    purpose=purpose, fingerprint=fingerprint, text=f"The {purpose} certificate was replaced"
                ),
                [EVERYTHING],
            )

    # -- hosting --------------------------------------------------------------------------------------------------

    async def health(self) -> list[Health]:
        """What `/health` and `/ready` report."""
        report = [Health("server", self.serving), *self._supervisor.health()]
        report += await self.hooks.gather("gather_health", server=self)
        return report

    def _origins(self) -> frozenset[str]:
        """The origins of our own pages: exactly the public address, and nothing that a client sent."""
        name, port = self.address.name.lower(), self.address.port
        host = f"[{name}]" if ":" in name else name
        return frozenset({f"https://{host}" if port == 443 else f"https://{host}:{port}"})

    def _shown_certificates(self) -> tuple[CertificateHashes, ...]:
        return tuple(self.certificates.web_hashes)

    def _redirect_target(self, target: str) -> str:
        return self.address.https(path=target.lstrip("/"))
