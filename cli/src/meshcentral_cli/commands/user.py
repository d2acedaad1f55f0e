"""`mesh user`: accounts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from meshcentral.plugins.errors import Conflict
from meshcentral_cli.client import ControlClient
from meshcentral_cli.invocation import Invocation, noun, verb
from meshcentral_cli.passwords import read_password
from meshcentral_cli.records import FULL_RIGHTS, Record, find, user_record

app = noun("Accounts.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Account name or id (user//name).")]
FromStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")]
FromFile = Annotated[Path | None, typer.Option("--password-file", metavar="F", help="Read the password from a file.")]
Random = Annotated[bool, typer.Option("--random-password", help="Make a password and show it once.")]


@verb(app)
async def add(
    mesh: Invocation,
    name: Annotated[str, typer.Argument(metavar="NAME", help="No spaces, quotes, commas or slashes.")],
    site_admin: Annotated[bool, typer.Option("--site-admin", help="Full administrator of the server.")] = False,
    email: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Mail address.")] = None,
    real_name: Annotated[str | None, typer.Option(metavar="TEXT", help="Name to show.")] = None,
    password_stdin: FromStdin = False,
    password_file: FromFile = None,
    random_password: Random = False,
    if_missing: Annotated[bool, typer.Option("--if-missing", help="Do nothing when the account exists.")] = False,
) -> None:
    """Add an account. JSON: id, name, site_admin, ..., created_now; password with --random-password."""
    password = read_password(mesh.terminal, from_stdin=password_stdin, file=password_file, random=random_password)
    members: dict[str, Any] = {"username": name, **_password_members(password)}
    if site_admin:
        members["siteadmin"] = FULL_RIGHTS
    if email is not None:
        members["email"] = email
    if real_name is not None:
        members["realname"] = real_name
    async with mesh.client() as client:
        if if_missing and (existing := await _existing(client, name)) is not None:
            _show(mesh, existing, created_now=False)
            return
        reply = await client.request("adduser", members)
        added = await _existing(client, name)
    _pass_on_warning(mesh, reply)
    if added is None:
        raise Conflict(f"the account {name!r} was added and removed again at once")
    _show(mesh, added, created_now=True, password=reply.get("password"))


@verb(app, "list")
async def list_(mesh: Invocation) -> None:
    """List accounts. JSON: id, name, email, real_name, site_admin, site_rights, locked, created, last_login."""
    async with mesh.client() as client:
        records = await _users(client)
    mesh.output.rows(
        records,
        {"id": "ID", "name": "NAME", "email": "EMAIL", "site_admin": "ADMIN", "locked": "LOCKED", "last_login": "SEEN"},
    )


@verb(app)
async def remove(mesh: Invocation, name: Name) -> None:
    """Remove an account and its links. JSON: id, removed."""
    async with mesh.client() as client:
        record = find(await _users(client), name, "user")
        await client.request("deleteuser", {"userid": record["id"]})
    mesh.output.document({"id": record["id"], "removed": True}, f"removed {record['id']}")


@verb(app)
async def passwd(
    mesh: Invocation,
    name: Name,
    password_stdin: FromStdin = False,
    password_file: FromFile = None,
    random_password: Random = False,
) -> None:
    """Set the password of an account. JSON: id; password with --random-password."""
    password = read_password(mesh.terminal, from_stdin=password_stdin, file=password_file, random=random_password)
    async with mesh.client() as client:
        record = find(await _users(client), name, "user")
        reply = await client.request("changeuserpass", {"userid": record["id"], **_password_members(password)})
    _pass_on_warning(mesh, reply)
    answer = {"id": record["id"]}
    text = f"changed the password of {record['id']}"
    if (made := reply.get("password")) is not None:
        answer["password"] = made
        text = f"password of {record['id']}: {made}"
    mesh.output.document(answer, text)


async def _users(client: ControlClient) -> list[Record]:
    reply = await client.request("users")
    return sorted((user_record(user) for user in reply.get("users") or ()), key=lambda record: record["id"] or "")


async def _existing(client: ControlClient, name: str) -> Record | None:
    """The account with this name; names are compared without case, as ids hold them."""
    wanted = name.lower()
    return next((record for record in await _users(client) if (record["name"] or "").lower() == wanted), None)


def _pass_on_warning(mesh: Invocation, reply: Mapping[str, Any]) -> None:
    """Say on stderr what the server thinks of the password."""
    if isinstance(warning := reply.get("warning"), str):
        mesh.output.note(warning)


def _password_members(password: str | None) -> dict[str, Any]:
    return {"randompass": True} if password is None else {"pass": password}


def _show(mesh: Invocation, record: Record, *, created_now: bool, password: str | None = None) -> None:
    text = f"added {record['id']}" if created_now else f"{record['id']} exists already"
    answer = {**record, "created_now": created_now}
    if password is not None:
        answer["password"] = password
        text += f", password: {password}"
    mesh.output.document(answer, text)
