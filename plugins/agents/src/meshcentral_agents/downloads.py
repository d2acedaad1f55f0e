"""`/meshagents` and `/meshsettings` (control-protocol reference, section 12; reach-protocol reference, 2.5)."""

from __future__ import annotations

from collections.abc import Mapping

from meshcentral.plugins import NotFound, Request, Response, Server, UsageError
from meshcentral_agents.binaries import AgentBinaries
from meshcentral_agents.settings import compose_settings
from meshcentral_protocol.agent_types import AGENT_TYPES, Platform
from meshcentral_protocol.errors import ProtocolError
from meshcentral_protocol.identifiers import Kind, complete

_KNOWN_AGENT_PARAMETERS = frozenset({"id"})
_NO_STORE = {"Cache-Control": "no-store"}


class Downloads:
    """Handlers of the two pages."""

    def __init__(self, server: Server, binaries: AgentBinaries) -> None:
        self._server = server
        self._binaries = binaries

    async def agent(self, request: Request) -> Response:
        """`/meshagents?id=<type>`: the program, streamed from disk; 404 for anything else."""
        query = request.connection.query
        if set(query) - _KNOWN_AGENT_PARAMETERS:
            # A plain program in place of one with settings inside would be installed without a server to talk to.
            return _refused(404, "this server hands out plain agents only: /meshagents?id=<agent type>")
        try:
            binary, path = self._binaries.find(_number(query, "id", 0, 99_999))
        except (NotFound, UsageError) as error:
            return _refused(404, str(error))
        name = binary.file if AGENT_TYPES[int(query["id"])].platform is Platform.WINDOWS else "meshagent"
        return Response(
            path,
            content_type="application/octet-stream",
            headers={
                "Content-Disposition": f'attachment; filename="{name}"',
                "ETag": f'"{binary.sha384}"',
                "Cache-Control": "no-cache",
            },
        )

    async def settings(self, request: Request) -> Response:
        """`/meshsettings?id=<group>[&tag=][&installflags=]`: the .msh text; 401 for an unknown group."""
        query = request.connection.query
        try:
            group_id = complete(query.get("id", ""), Kind.GROUP, request.connection.domain)
        except ProtocolError:
            return _refused(401, "unknown device group")
        group = self._server.store.groups.get(group_id)
        if group is None or group.deleted is not None or group.domain != request.connection.domain:
            return _refused(401, "unknown device group")
        try:
            text = compose_settings(
                self._server,
                group,
                tag=query.get("tag") or None,
                install_flags=_number(query, "installflags", 0, 3) if query.get("installflags") else 0,
            )
        except UsageError as error:
            return _refused(400, str(error))
        return Response(
            text,
            content_type="application/octet-stream",
            headers={"Content-Disposition": 'attachment; filename="meshagent.msh"', **_NO_STORE},
        )


def _number(query: Mapping[str, str], name: str, lowest: int, highest: int) -> int:
    text = query.get(name, "")
    if text.isascii() and text.isdigit() and len(text) <= 5 and lowest <= int(text) <= highest:
        return int(text)
    raise UsageError(f"{name}: a number from {lowest} to {highest}")


def _refused(status: int, why: str) -> Response:
    return Response(why + "\n", status=status, headers=_NO_STORE)
