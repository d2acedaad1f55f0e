"""`mesh db`: the database."""

from __future__ import annotations

import typer

from meshcentral.plugins.errors import MeshError, ServerUnreachable
from meshcentral_cli.connect import connect
from meshcentral_cli.invocation import Invocation, noun, verb
from meshcentral_cli.offline import check_database
from meshcentral_cli.replies import members_of

app = noun("The database.")

_CHECK_SECONDS = 3600.0


@verb(app)
async def check(mesh: Invocation) -> None:
    """Verify the database, its documents and the audit chain. JSON: ok, findings, audit. Exit code 1 when not ok."""
    try:
        async with connect(mesh.data, offline=False) as client:
            report = members_of(await client.request("databasecheck", seconds=_CHECK_SECONDS))
    except ServerUnreachable:
        # A server of our own would not start on a damaged database, which is when this is needed most.
        report = check_database(mesh.data)
    mesh.output.fields(report)
    if not report.get("ok"):
        raise typer.Exit(MeshError.exit_code)
