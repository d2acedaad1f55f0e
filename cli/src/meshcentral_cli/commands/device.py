"""`mesh device`: list devices, run commands on them."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from meshcentral.plugins.errors import MeshError, UsageError
from meshcentral_cli.client import ControlClient
from meshcentral_cli.failures import failure_of
from meshcentral_cli.invocation import Invocation, noun, verb
from meshcentral_cli.output import many_lines, one_line
from meshcentral_cli.quoting import is_windows, quote
from meshcentral_cli.records import Record, device_records, find

app = noun("Devices: list them, run commands on them.")

_DEFAULT_SHELL = 0
"""`type` of `runcommands`: the agent's own choice, cmd.exe or sh (control-protocol reference, section 9)."""

_GRACE_SECONDS = 30.0
"""The device, which stops the command, and the server, which knows of its silence, get to speak before we give up."""


class RunAs(enum.Enum):
    """Whose rights a command gets."""

    AGENT = "agent"
    USER = "user"
    USER_ONLY = "user-only"


_RUN_AS = {RunAs.AGENT: 0, RunAs.USER: 1, RunAs.USER_ONLY: 2}

Id = Annotated[str, typer.Argument(metavar="ID", help="node//..., its 64 characters alone, or a unique name.")]


@verb(app, "list")
async def list_(mesh: Invocation) -> None:
    """List devices. JSON: id, name, host_name, group, group_id, connected, agent, os, address, description, tags,
    users, first_connect, last_connect, last_boot."""
    async with mesh.client() as client:
        records = await _devices(client)
    mesh.output.rows(
        records,
        {"id": "ID", "name": "NAME", "group": "GROUP", "connected": "CONNECTED", "address": "ADDRESS", "os": "OS"},
    )


@verb(app)
async def show(mesh: Invocation, device: Id) -> None:
    """Show one device, with the fields of `device list`."""
    async with mesh.client() as client:
        record = find(await _devices(client), device, "device")
    mesh.output.fields(record)


@verb(app, trailing=True)
async def run(
    mesh: Invocation,
    devices: Annotated[list[str], typer.Argument(metavar="ID", help="Devices, as in `device show`.")],
    shell: Annotated[
        str | None, typer.Option("--shell", metavar="TEXT", help="Text for the device's shell, passed as it is.")
    ] = None,
    timeout: Annotated[
        int, typer.Option(metavar="S", min=1, max=86400, help="Seconds after which the device stops the command.")
    ] = 600,
    run_as: Annotated[RunAs, typer.Option("--as", help="Whose rights the command gets.")] = RunAs.AGENT,
) -> None:
    """Run a command: `device run ID -- ARG...`, quoted for the device's shell, or `--shell TEXT`.

    JSON: one object for each device: id, output, exit_code (null where the platform gives none), error (null when
    it ran). Exit code 0 only if it ran on all.
    """
    if (shell is None) == (mesh.trailing is None):
        raise UsageError("give either -- ARG... or --shell TEXT", hint="mesh device run ID -- uname -a")
    async with mesh.client() as client:
        known = await _devices(client)
        targets = list({record["id"]: record for record in (find(known, name, "device") for name in devices)}.values())
        requests = [
            {
                "nodeids": [target["id"]],
                "type": _DEFAULT_SHELL,
                "cmds": shell if shell is not None else quote(mesh.trailing or (), windows=is_windows(target)),
                "runAsUser": _RUN_AS[run_as],
                "reply": True,
                "timeout": timeout,
            }
            for target in targets
        ]
        outcomes, failures = await _run_all(mesh, client, targets, requests, timeout)
    _print(mesh, targets, outcomes)
    if failures:
        kinds = {failure.exit_code for failure in failures}
        raise typer.Exit(kinds.pop() if len(kinds) == 1 else MeshError.exit_code)


async def _run_all(
    mesh: Invocation,
    client: ControlClient,
    targets: Sequence[Record],
    requests: Sequence[dict[str, Any]],
    timeout: int,
) -> tuple[list[Record], list[MeshError]]:
    """Ask all devices at once. Returns the outcomes in the order of the targets, and what failed."""
    silent = MeshError("no answer")
    found: dict[int, Record | MeshError] = {}
    with mesh.output.progress("running") as progress:
        async for index, reply in client.request_all("runcommands", requests, seconds=timeout + _GRACE_SECONDS):
            found[index] = failure_of(reply) or _outcome(targets[index]["id"], reply)
            if len(requests) > 1:
                progress.update(len(found), len(requests), "running")
    outcomes, failures = [], []
    for index, target in enumerate(targets):
        answer = found.get(index, silent)
        if isinstance(answer, MeshError):
            failures.append(answer)
            answer = {"id": target["id"], "output": "", "exit_code": None, "error": str(answer)}
        elif answer["error"] is not None:
            failures.append(MeshError(answer["error"]))
        outcomes.append(answer)
    return outcomes, failures


def _outcome(device_id: str, reply: dict[str, Any]) -> Record:
    """What an agent answered: output, the exit code where the platform tells it, and why it did not run to its end."""
    code, output, error = reply.get("exitcode"), reply.get("result"), reply.get("error")
    # Of a refused command the text is all there is: MeshCtrl shows `result`, so the agent says it there too.
    said = isinstance(output, str) and output != error
    return {
        "id": device_id,
        "output": output if said else "",
        "exit_code": code if isinstance(code, int) and not isinstance(code, bool) else None,
        "error": str(error) if error else None,
    }


def _print(mesh: Invocation, targets: Sequence[Record], outcomes: Sequence[Record]) -> None:
    """JSON, or the output itself; each line with its device's name when there are several."""
    if mesh.output.as_json:
        mesh.output.document(outcomes)
        return
    for target, outcome in zip(targets, outcomes, strict=True):
        name = one_line(target["name"] or target["id"])
        prefix = f"{name}: " if len(targets) > 1 else ""
        for line in many_lines(outcome["output"]).splitlines():
            print(f"{prefix}{line}")
        if outcome["error"] is not None:
            mesh.output.complain(f"{name}: {outcome['error']}")


async def _devices(client: ControlClient) -> list[Record]:
    """All devices with their groups' names."""
    groups = (await client.request("meshes")).get("meshes") or ()
    nodes = (await client.request("nodes")).get("nodes") or {}
    last = (await client.request("lastconnects")).get("lastconnects") or {}
    return device_records(nodes, groups, last)
