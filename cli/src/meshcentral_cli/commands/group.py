"""`mesh group`: device groups, and the settings that bring an agent into one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from meshcentral.plugins.errors import MeshError
from meshcentral_cli.client import ControlClient
from meshcentral_cli.files import replace_file
from meshcentral_cli.invocation import Invocation, noun, verb
from meshcentral_cli.records import Record, find, group_record

app = noun("Device groups and their agent settings.")

Name = Annotated[str, typer.Argument(metavar="NAME_OR_ID", help="Group name, id (mesh//...) or short id.")]


@verb(app)
async def add(
    mesh: Invocation,
    name: Annotated[str, typer.Argument(metavar="NAME", help="1 to 128 characters.")],
    owner: Annotated[str | None, typer.Option(metavar="USER", help="Account that gets full rights on it.")] = None,
    description: Annotated[str | None, typer.Option(metavar="TEXT", help="At most 1024 characters.")] = None,
) -> None:
    """Add a device group for agents. JSON: id, name, description, type, created."""
    members: dict[str, Any] = {"meshname": name, "meshtype": 2}
    if description is not None:
        members["desc"] = description
    if owner is not None:
        members["owner"] = owner if "/" in owner else f"user//{owner.lower()}"
    async with mesh.client() as client:
        group_id = str((await client.request("createmesh", members)).get("meshid"))
        record = find(await _groups(client), group_id, "group")
    mesh.output.document(record, f"added {group_id}")


@verb(app, "list")
async def list_(mesh: Invocation) -> None:
    """List device groups. JSON: id, name, description, type, created."""
    async with mesh.client() as client:
        records = await _groups(client)
    mesh.output.rows(records, {"id": "ID", "name": "NAME", "type": "TYPE", "description": "DESCRIPTION"})


@verb(app)
async def msh(
    mesh: Invocation,
    name: Name,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write to a file instead of stdout.")] = None,
) -> None:
    """Print the .msh text, which lets an agent join the group, byte for byte. JSON: id, name, msh."""
    async with mesh.client() as client:
        record = find(await _groups(client), name, "group")
        settings = (await client.request("agentsettings", {"meshid": record["id"]})).get("msh")
    if not isinstance(settings, str):
        raise MeshError("the server gave no agent settings")
    if output is not None:
        replace_file(output, settings.encode())
        mesh.output.document({"id": record["id"], "file": str(output)}, f"wrote {output}")
    elif mesh.output.as_json:
        mesh.output.document({"id": record["id"], "name": record["name"], "msh": settings})
    else:
        mesh.output.raw(settings.encode())


@verb(app)
async def remove(mesh: Invocation, name: Name) -> None:
    """Remove a device group with its devices. JSON: id, removed."""
    async with mesh.client() as client:
        record = find(await _groups(client), name, "group")
        await client.request("deletemesh", {"meshid": record["id"]})
    mesh.output.document({"id": record["id"], "removed": True}, f"removed {record['id']}")


async def _groups(client: ControlClient) -> list[Record]:
    reply = await client.request("meshes")
    records = [group_record(group) for group in reply.get("meshes") or ()]
    return sorted(records, key=lambda record: (record["name"] or "", record["id"] or ""))
