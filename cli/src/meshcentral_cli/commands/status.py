"""`mesh status`: whether a server is running, and how it is."""

from __future__ import annotations

from meshcentral_cli.invocation import Invocation, command, verb
from meshcentral_cli.replies import members_of

app = command("Say whether a server is running, and how it is.")


@verb(app)
async def status(mesh: Invocation) -> None:
    """Ask the running server. JSON: version, serving, url, agents, held, devices, groups, users, plugins. Exit code 3
    when none is running."""
    async with mesh.client(offline=False) as client:
        mesh.output.fields(members_of(await client.request("serverstatus")))
