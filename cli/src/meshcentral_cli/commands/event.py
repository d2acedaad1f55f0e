"""`mesh event`: what happens on the server, as it happens."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from meshcentral.plugins.errors import ServerUnreachable, UsageError
from meshcentral_cli.invocation import Invocation, noun, verb

app = noun("What happens on the server.")

RECONNECT_SECONDS = 0.5


@verb(app)
async def tail(
    mesh: Invocation,
    filters: Annotated[
        list[str] | None,
        typer.Option("--filter", metavar="MEMBER=TEXT", help="Only events with this member, e.g. action=nodeconnect."),
    ] = None,
) -> None:
    """Print events until interrupted, one JSON object a line with --json. Connects again after a server restart."""
    wanted = parse_filters(filters or [])
    connected_before = False
    while True:
        try:
            async with mesh.client(offline=False) as client:
                if connected_before:
                    mesh.output.note("connected again")
                connected_before = True
                async for event in client.events():
                    if matches(event, wanted):
                        mesh.output.line(event, describe(event))
        except ServerUnreachable as error:
            if not connected_before:
                raise
            mesh.output.note(f"{error}; waiting for the server")
        await asyncio.sleep(RECONNECT_SECONDS)


def parse_filters(filters: list[str]) -> dict[str, str]:
    """`["action=nodeconnect"]` -> `{"action": "nodeconnect"}`."""
    for text in filters:
        if "=" not in text.lstrip("="):
            raise UsageError(f"--filter {text!r}: it must be MEMBER=TEXT", hint="for example --filter action=addnode")
    return dict(text.split("=", 1) for text in filters)


def matches(event: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    """Whether each wanted member is there with that text."""
    return all(name in event and str(event[name]) == text for name, text in wanted.items())


def describe(event: Mapping[str, Any]) -> str:
    """One line for people: time, action, object, sentence."""
    subject = event.get("nodeid") or event.get("meshid") or event.get("userid") or ""
    parts = (event.get("time"), event.get("action"), subject, event.get("msg"))
    return "  ".join(str(part) for part in parts if part)
