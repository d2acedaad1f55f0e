"""`mesh agents`: the agent programs that this server hands out."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from meshcentral.plugins.errors import MeshError, NotFound, UsageError
from meshcentral_cli.invocation import Invocation, noun, verb
from meshcentral_cli.records import held_record
from meshcentral_cli.replies import members_of

app = noun("Agent binaries.")

PACKAGE = "meshcentral"
_NPM_SECONDS = 600
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+-]{0,63}")
"""A version or tag; nothing that npm takes for an option, a folder or an address."""


@verb(app, "import")
async def import_(
    mesh: Invocation,
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="FOLDER|TARBALL|VERSION", help="A MeshCentral install or package; with --npm a version."
        ),
    ] = None,
    npm: Annotated[
        bool, typer.Option("--npm", help="Fetch the package with npm pack (default: the recorded version).")
    ] = False,
    allow_unrecorded: Annotated[
        bool, typer.Option("--allow-unrecorded", help="Also take programs whose hash is not recorded.")
    ] = False,
) -> None:
    """Import agent programs from a MeshCentral folder or package; each is checked against its recorded hash.

    JSON: version, imported, unchanged, refused (file name -> why).
    """
    if source is None and not npm:
        raise UsageError("no source given", hint="mesh agents import FOLDER, or mesh agents import --npm")
    with tempfile.TemporaryDirectory(prefix="mesh-agents-") as temporary, mesh.output.progress("importing") as progress:
        async with mesh.client() as client:
            if npm:
                progress.update(0, 0, "fetching with npm")
                version = source or str((await client.request("agentbinaries")).get("recorded"))
                path = await asyncio.to_thread(npm_pack, version, Path(temporary))
            else:
                path = _existing(source or "")
            reply = await client.request(
                "agentsimport", {"path": str(path), "allow_unrecorded": allow_unrecorded}, progress=progress
            )
    report = members_of(reply)
    mesh.output.document(report, describe(report))


@verb(app, "list")
async def list_(mesh: Invocation) -> None:
    """List the agent programs for download. JSON: id (agent type), file, platform, size, version, sha384."""
    async with mesh.client() as client:
        found = (await client.request("agentbinaries")).get("agents") or []
    names = ("id", "file", "platform", "size", "version", "sha384")
    rows = [{name: program.get(name) for name in names} for program in found]
    mesh.output.rows(
        rows, {"id": "TYPE", "file": "FILE", "platform": "PLATFORM", "size": "BYTES", "version": "VERSION"}
    )


@verb(app)
async def held(mesh: Invocation) -> None:
    """List agents that connected but may not go on. JSON: id, name, address, reason, detail, since."""
    async with mesh.client() as client:
        found = (await client.request("heldagents")).get("agents") or []
    rows = [held_record(agent) for agent in found]
    mesh.output.rows(
        rows, {"name": "NAME", "address": "ADDRESS", "reason": "REASON", "detail": "DETAIL", "since": "SINCE"}
    )


def describe(report: Mapping[str, Any]) -> str:
    """The outcome of an import in a few lines."""
    counts = ", ".join(f"{len(report.get(name) or ())} {name}" for name in ("imported", "unchanged", "refused"))
    refused = [f"refused {name}: {why}" for name, why in (report.get("refused") or {}).items()]
    return "\n".join([f"agents of version {report.get('version') or 'unknown'}: {counts}", *refused])


def _existing(source: str) -> Path:
    """The server may have another working folder, so it is told the absolute path."""
    path = Path(source).expanduser().absolute()
    if not path.exists():
        raise NotFound(f"{path} does not exist")
    return path


def npm_pack(version: str, folder: Path) -> Path:
    """Fetch the peer's package into `folder` and return the tarball. Raises MeshError when npm cannot."""
    npm = shutil.which("npm")
    if npm is None:
        raise MeshError("npm is not installed", hint="install Node.js, or import a folder: mesh agents import FOLDER")
    if (
        not version
        or version.startswith("-")
        or any(character.isspace() or character in "/:@" for character in version)
    ):
        raise UsageError(f"{version!r} is no version", hint="for example: mesh agents import --npm 1.1.55")
    try:
        subprocess.run(
            [npm, "pack", f"{PACKAGE}@{version}", "--ignore-scripts", "--loglevel=error"],
            cwd=folder,
            check=True,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_NPM_SECONDS,
            env={**os.environ, "NO_COLOR": "1", "npm_config_update_notifier": "false"},
        )
    except subprocess.TimeoutExpired as error:
        raise MeshError(f"npm pack did not end within {_NPM_SECONDS} seconds") from error
    except subprocess.CalledProcessError as error:
        complaint = " ".join((error.stderr or "").split())[:500] or f"exit code {error.returncode}"
        raise MeshError(f"npm pack {PACKAGE}@{version} failed: {complaint}") from error
    tarballs = list(folder.glob("*.tgz"))
    if len(tarballs) != 1:
        raise MeshError(f"npm pack made {len(tarballs)} files instead of one")
    return tarballs[0]
