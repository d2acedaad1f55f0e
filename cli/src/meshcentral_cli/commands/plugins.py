"""`mesh plugins`: what is loaded, and what is wrong with what is not."""

from __future__ import annotations

from typing import Annotated

import typer

from meshcentral_cli.client import ControlClient
from meshcentral_cli.invocation import Invocation, noun, verb
from meshcentral_cli.records import Record, find

app = noun("Loaded plugins.")


@verb(app, "list")
async def list_(mesh: Invocation) -> None:
    """List plugins. JSON: name, version, distribution, state, problem, hooks, ..."""
    async with mesh.client() as client:
        records = await _plugins(client)
    mesh.output.rows(
        records,
        {"name": "NAME", "version": "VERSION", "distribution": "DISTRIBUTION", "state": "STATE", "problem": "PROBLEM"},
    )


@verb(app)
async def show(mesh: Invocation, name: Annotated[str, typer.Argument(metavar="NAME")]) -> None:
    """Show one plugin, with what it contributes."""
    async with mesh.client() as client:
        records = await _plugins(client)
    mesh.output.fields(find(records, name, "plugins"))


async def _plugins(client: ControlClient) -> list[Record]:
    return list((await client.request("pluginlist")).get("plugins") or ())
