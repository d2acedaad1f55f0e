"""The core's own plugin: what it contributes goes through the same hooks as everybody's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from pydantic import Field

from meshcentral import __version__
from meshcentral.core import systemd
from meshcentral.core.certificates import CertificateStore
from meshcentral.core.config import Configuration
from meshcentral.core.paths import DataPaths
from meshcentral.core.store import DocumentStore
from meshcentral.core.store.check import check_database
from meshcentral.plugins import events
from meshcentral.plugins.actions import (
    ActionContext,
    ActionRequest,
    Audit,
    UserAction,
    local_only,
    on_site,
    signed_in,
)
from meshcentral.plugins.errors import ConfigurationError
from meshcentral.plugins.events import EventType
from meshcentral.plugins.hookspecs import hookimpl
from meshcentral.plugins.plugin import Plugin
from meshcentral.plugins.rights import SiteCapability
from meshcentral.plugins.server import Server
from meshcentral.plugins.services import Health, Restart, Service
from meshcentral.plugins.store import Retention

log = logging.getLogger("meshcentral.core")

CERTIFICATE_POLL_SECONDS = 5.0
PURGE_INTERVAL_SECONDS = 3600.0


class NoArguments(ActionRequest):
    """A request without members of its own."""


class RotateCertificate(ActionRequest):
    """Which certificate to replace."""

    purpose: str = Field(pattern="^web$", description="only `web`: agents trust the others for years")


class Core(Server, Protocol):
    """The server as its own plugin sees it: what plugins see, and the parts behind it."""

    @property
    def configuration(self) -> Configuration: ...
    @property
    def paths(self) -> DataPaths: ...
    @property
    def store(self) -> DocumentStore: ...
    @property
    def certificates(self) -> CertificateStore: ...
    async def refresh_certificates(self) -> None: ...
    async def rotate_certificate(self, purpose: str) -> None: ...


class CorePlugin(Plugin):
    """Certificates, retention, health and the server's own actions."""

    name = "core"
    summary = "Certificates, retention, health, server actions"

    def __init__(self, server: Core) -> None:
        self._server = server

    # -- declarations -------------------------------------------------------------------------------------------

    @hookimpl
    def register_event_types(self) -> Iterable[EventType]:
        """The events that the core publishes."""
        for event in (
            events.NodeConnectivityChanged,
            events.NodeAdded,
            events.NodeChanged,
            events.NodeRemoved,
            events.AgentHeld,
            events.CertificateChanged,
        ):
            yield EventType.of(event)

    @hookimpl
    def register_retention(self) -> Iterable[Retention]:
        """Events and power states, with the peer's default ages."""
        days = self._server.configuration.retention
        yield Retention("events", days.events)
        yield Retention("power", days.power)

    @hookimpl
    def register_services(self) -> Iterable[Service]:
        """Certificate watching and renewal, and purging."""
        yield Service("certificates", self._watch_certificates, Restart.ALWAYS)
        yield Service("retention", self._purge, Restart.ALWAYS)
        if interval := systemd.watchdog_interval():
            yield Service("watchdog", lambda: _feed_watchdog(interval), Restart.ALWAYS)

    @hookimpl
    def register_user_actions(self) -> Iterable[UserAction]:
        """Actions on the server itself."""
        update = on_site(SiteCapability.UPDATE)
        yield UserAction(
            "certificates",
            NoArguments,
            update,
            self._list_certificates,
            Audit.READ,
            "The server's certificates with names, dates and fingerprints.",
        )
        yield UserAction(
            "rotatecertificate",
            RotateCertificate,
            on_site(SiteCapability.FULL),
            self._rotate_certificate,
            Audit.COMMAND,
            "Issue a new web certificate from the root and take it into use at once.",
            events=("certificatechange",),
        )
        yield UserAction(
            "pluginlist", NoArguments, update, self._list_plugins, Audit.READ, "Plugins, their state and problems."
        )
        yield UserAction(
            "databasecheck",
            NoArguments,
            local_only(),
            self._check_database,
            Audit.READ,
            "Integrity of the database, the documents and the audit chain.",
        )
        yield UserAction(
            "serverstatus", NoArguments, signed_in(), self._status, Audit.READ, "Version, address and counts."
        )

    @hookimpl
    async def gather_health(self) -> list[Health]:
        """The store answers, and no required plugin is missing."""
        await self._server.store.value("schema")
        return [Health("store", True)]

    # -- services -----------------------------------------------------------------------------------------------

    async def _watch_certificates(self) -> None:
        """Take changed files into use, and renew our own web certificate before it ends."""
        while True:
            try:
                await self._server.refresh_certificates()
            except ConfigurationError as error:
                log.warning("certificate files could not be looked at: %s", error)
            await asyncio.sleep(CERTIFICATE_POLL_SECONDS)

    async def _purge(self) -> None:
        while True:
            await self._server.store.purge()
            await asyncio.sleep(PURGE_INTERVAL_SECONDS)

    # -- actions ------------------------------------------------------------------------------------------------

    async def _list_certificates(self, context: ActionContext, request: NoArguments) -> Mapping[str, Any]:
        return {"certificates": self._server.certificates.describe()}

    async def _rotate_certificate(self, context: ActionContext, request: RotateCertificate) -> Mapping[str, Any]:
        await self._server.rotate_certificate(request.purpose)
        described = self._server.certificates.describe()
        return {
            "result": "ok",
            "certificates": [row for row in described if row["purpose"].startswith(request.purpose)],
        }

    async def _list_plugins(self, context: ActionContext, request: NoArguments) -> Mapping[str, Any]:
        return {"plugins": [record.describe() for record in self._server.plugins]}

    async def _check_database(self, context: ActionContext, request: NoArguments) -> Mapping[str, Any]:
        database = self._server.paths.database
        await self._server.store.flush()
        return (await self._server.run_blocking(lambda: check_database(database))).describe()

    async def _status(self, context: ActionContext, request: NoArguments) -> Mapping[str, Any]:
        server = self._server
        store = server.store
        return {
            "version": __version__,
            "serving": server.serving,
            "url": server.address.https(),
            "agents": len(server.agents),
            "held": len(server.agents.held),
            "devices": len(store.devices),
            "groups": len(store.groups),
            "users": len(store.users),
            "plugins": {record.name: record.state.value for record in server.plugins},
        }


async def _feed_watchdog(interval: float) -> None:
    """Tell the service manager that the event loop turns; it restarts us when this stops."""
    while True:
        systemd.watchdog()
        await asyncio.sleep(interval)
