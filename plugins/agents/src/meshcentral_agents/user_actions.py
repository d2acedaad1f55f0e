"""Our own control-channel actions about agents: settings files, programs, agents that are held at the door."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from meshcentral.plugins import (
    ActionContext,
    ActionRequest,
    Audit,
    Capability,
    NotReady,
    Server,
    SiteCapability,
    UsageError,
    UserAction,
    local_only,
    on_group,
    on_site,
    signed_in,
)
from meshcentral_agents.binaries import AgentBinaries
from meshcentral_agents.settings import compose_settings


class AgentSettingsRequest(ActionRequest):
    """Which group, and what to write into its settings file."""

    group_id: str = Field(alias="meshid")
    tag: str | None = None
    install_flags: int = Field(default=0, alias="installflags")


class NoArguments(ActionRequest):
    """A request without members of its own."""


class ImportRequest(ActionRequest):
    """Where agent programs are, on the server's machine."""

    path: str = Field(min_length=1, max_length=4096)
    allow_unrecorded: bool = False


class AgentUserActions:
    """Handlers of `agentsettings`, `agentbinaries`, `agentsimport` and `heldagents`."""

    def __init__(self, server: Server, binaries: AgentBinaries) -> None:
        self._server = server
        self._binaries = binaries
        self._importing = False

    def descriptors(self) -> Iterable[UserAction]:
        """What the plugin registers."""
        yield UserAction(
            "agentsettings",
            AgentSettingsRequest,
            on_group("group_id", Capability.MANAGE_DEVICES),
            self._settings,
            Audit.READ,
            "The .msh text that brings an agent into a device group.",
        )
        yield UserAction(
            "agentbinaries", NoArguments, signed_in(), self._list_binaries, Audit.READ, "Agent programs for download."
        )
        yield UserAction(
            "agentsimport",
            ImportRequest,
            local_only(),
            self._import,
            Audit.COMMAND,
            "Take agent programs from a folder or npm tarball of the peer, checked against recorded hashes.",
        )
        yield UserAction(
            "heldagents",
            NoArguments,
            on_site(SiteCapability.FULL),
            self._list_held,
            Audit.READ,
            "Agents that connected but may not go on, and why.",
        )

    async def _settings(self, context: ActionContext, request: AgentSettingsRequest) -> Mapping[str, Any]:
        group = context.groups[0]
        if group.deleted is not None:
            raise UsageError("this device group is deleted")
        text = compose_settings(self._server, group, tag=request.tag, install_flags=request.install_flags)
        return {"meshid": group.id, "msh": text}

    async def _list_binaries(self, context: ActionContext, request: NoArguments) -> Mapping[str, Any]:
        from meshcentral_agents.binaries import newest_recorded

        return {"agents": self._binaries.describe(), "recorded": newest_recorded()}

    async def _import(self, context: ActionContext, request: ImportRequest) -> Mapping[str, Any]:
        path = Path(request.path)
        if not path.is_absolute():
            raise UsageError("path: an absolute path on the server's machine")
        if self._importing:
            raise NotReady("another import is running", hint="wait for it to end")
        loop = asyncio.get_running_loop()

        def progress(done: int, total: int, label: str) -> None:
            loop.call_soon_threadsafe(context.progress, done, total, label)

        self._importing = True
        try:
            report = await self._server.run_blocking(
                lambda: self._binaries.import_from(path, allow_unrecorded=request.allow_unrecorded, progress=progress)
            )
        finally:
            self._importing = False
        if not (report.imported or report.unchanged):
            name, why = next(iter(report.refused.items()))
            raise UsageError(f"none of {len(report.refused)} programs was taken; {name}: {why}")
        return report.to_json()

    async def _list_held(self, context: ActionContext, request: NoArguments) -> Mapping[str, Any]:
        return {
            "agents": [
                {
                    "nodeid": held.node_id,
                    "name": held.host_name,
                    "remoteaddr": held.remote_address,
                    "reason": held.reason,
                    "detail": held.detail,
                    "since": int(held.since.timestamp() * 1000),
                }
                for held in self._server.agents.held
            ]
        }
