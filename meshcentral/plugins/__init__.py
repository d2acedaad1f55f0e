"""The public API: all that a plugin may import.

Names are loaded on first use, so that a command line which only needs the error classes stays fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meshcentral.plugins.actions import (
        ActionContext,
        ActionRequest,
        Audit,
        Permission,
        UserAction,
        UserSession,
        local_only,
        on_device,
        on_group,
        on_site,
        signed_in,
    )
    from meshcentral.plugins.agents import AgentAction, AgentSession, CoreModule
    from meshcentral.plugins.documents import Device, DeviceAgent, DeviceGroup, Link, User
    from meshcentral.plugins.errors import (
        Busy,
        ConfigurationError,
        Conflict,
        MeshError,
        NotAuthorised,
        NotFound,
        NotReady,
        ServerUnreachable,
        SocketClosed,
        UsageError,
    )
    from meshcentral.plugins.events import Event, EventType, Redaction, WireEvent
    from meshcentral.plugins.hookspecs import hookimpl
    from meshcentral.plugins.plugin import API_VERSION, Plugin
    from meshcentral.plugins.rights import Capability, SiteCapability
    from meshcentral.plugins.server import Server
    from meshcentral.plugins.services import Health, Service
    from meshcentral.plugins.store import AuditEntry, MigrationFolder, Retention, Store
    from meshcentral.plugins.web import Access, Connection, Request, Response, Route, Socket, SocketRoute

_HOME = {
    "actions": (
        "ActionContext ActionRequest Audit Permission UserAction UserSession local_only on_device on_group on_site "
        "signed_in"
    ),
    "agents": "AgentAction AgentSession CoreModule",
    "documents": "Device DeviceAgent DeviceGroup Link User",
    "errors": (
        "Busy ConfigurationError Conflict MeshError NotAuthorised NotFound NotReady ServerUnreachable SocketClosed "
        "UsageError"
    ),
    "events": "Event EventType Redaction WireEvent",
    "hookspecs": "hookimpl",
    "plugin": "API_VERSION Plugin",
    "rights": "Capability SiteCapability",
    "server": "Server",
    "services": "Health Service",
    "store": "AuditEntry MigrationFolder Retention Store",
    "web": "Access Connection Request Response Route Socket SocketRoute",
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names.split()}

__all__ = [
    "API_VERSION",
    "Access",
    "ActionContext",
    "ActionRequest",
    "AgentAction",
    "AgentSession",
    "Audit",
    "AuditEntry",
    "Busy",
    "Capability",
    "ConfigurationError",
    "Conflict",
    "Connection",
    "CoreModule",
    "Device",
    "DeviceAgent",
    "DeviceGroup",
    "Event",
    "EventType",
    "Health",
    "Link",
    "MeshError",
    "MigrationFolder",
    "NotAuthorised",
    "NotFound",
    "NotReady",
    "Permission",
    "Plugin",
    "Redaction",
    "Request",
    "Response",
    "Retention",
    "Route",
    "Server",
    "ServerUnreachable",
    "Service",
    "SiteCapability",
    "Socket",
    "SocketClosed",
    "SocketRoute",
    "Store",
    "UsageError",
    "User",
    "UserAction",
    "UserSession",
    "WireEvent",
    "hookimpl",
    "local_only",
    "on_device",
    "on_group",
    "on_site",
    "signed_in",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
