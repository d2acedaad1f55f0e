"""`mesh cert`: the server's certificates."""

from __future__ import annotations

import enum
from typing import Annotated

import typer

from meshcentral_cli.client import ControlClient
from meshcentral_cli.invocation import Invocation, noun, verb
from meshcentral_cli.records import Record, find

app = noun("The server's certificates.")

_COLUMNS = {
    "purpose": "PURPOSE",
    "subject": "SUBJECT",
    "key_type": "KEY",
    "key_bits": "BITS",
    "not_after": "ENDS",
    "days_left": "DAYS",
    "file": "FILE",
}


class Rotatable(enum.Enum):
    """What can be replaced while agents trust it: only the web certificate, which the others vouch for."""

    WEB = "web"


@verb(app, "list")
async def list_(mesh: Invocation) -> None:
    """List certificates. JSON: purpose, subject, issuer, names, not_before, not_after, days_left, key_type,
    key_bits, sha384, key_sha384, file, self_issued, managed."""
    async with mesh.client() as client:
        records = await _certificates(client)
    mesh.output.rows(records, _COLUMNS)


@verb(app)
async def show(
    mesh: Invocation,
    purpose: Annotated[str, typer.Argument(metavar="PURPOSE", help="root, web, web-ecdsa, mps or agentserver.")],
) -> None:
    """Show one certificate, with the fields of `cert list`."""
    async with mesh.client() as client:
        records = await _certificates(client)
    mesh.output.fields(find(records, purpose, "cert", key="purpose"))


@verb(app)
async def rotate(mesh: Invocation, purpose: Annotated[Rotatable, typer.Argument(metavar="web")]) -> None:
    """Issue a new web certificate and take it into use at once. JSON: the new certificates, as in `cert list`."""
    async with mesh.client() as client:
        reply = await client.request("rotatecertificate", {"purpose": purpose.value})
    mesh.output.rows(reply.get("certificates") or [], _COLUMNS)


async def _certificates(client: ControlClient) -> list[Record]:
    return list((await client.request("certificates")).get("certificates") or ())
