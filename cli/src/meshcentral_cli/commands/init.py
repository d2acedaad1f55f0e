"""`mesh init`: make a data folder."""

from __future__ import annotations

import enum
import logging
import socket
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshcentral.plugins.errors import Conflict, UsageError
from meshcentral_cli.invocation import Invocation, command, verb

if TYPE_CHECKING:
    from meshcentral.core.config import Configuration
    from meshcentral.core.paths import DataPaths

app = command("Make a data folder: configuration and certificates.")


class Mode(enum.Enum):
    """How agents find the server."""

    WAN = "wan"
    LAN = "lan"
    HYBRID = "hybrid"


@verb(app)
def init(
    mesh: Invocation,
    cert_name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Host name or address at which browsers and agents reach us.")
    ] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, metavar="P", help="HTTPS port (443).")] = None,
    redirect_port: Annotated[
        int | None, typer.Option(min=0, max=65535, metavar="P", help="HTTP port that redirects (80).")
    ] = None,
    mps_port: Annotated[
        int | None, typer.Option(min=0, max=65535, metavar="P", help="Port for Intel AMT devices (4433).")
    ] = None,
    mode: Annotated[Mode | None, typer.Option(help="How agents find the server (hybrid).")] = None,
    fast_cert: Annotated[bool, typer.Option("--fast-cert", help="RSA-2048 keys, for small machines.")] = False,
    if_missing: Annotated[bool, typer.Option("--if-missing", help="Do nothing when there is a configuration.")] = False,
) -> None:
    """Make a data folder: configuration and certificates. Asks on a terminal for what is not given.

    JSON: data, name, port, redirect_port, mps_port, mode, created_now, certificates (as in `cert list`).
    An existing configuration is never overwritten; existing certificates are used.
    """
    from meshcentral.core import log
    from meshcentral.core.config import load
    from meshcentral.core.paths import DataPaths, is_there

    paths = DataPaths.at(mesh.data)
    if is_there(paths.config_file):
        if not if_missing:
            raise Conflict(
                f"{paths.config_file} exists already and is not overwritten",
                hint="edit it, or name another folder with --data",
            )
        _show(mesh, paths, load(paths), None)
        return
    values: dict[str, Any] = {
        "settings.cert": cert_name,
        "settings.port": port,
        "settings.redirport": redirect_port,
        "settings.mpsport": mps_port,
        "settings.mode": None if mode is None else mode.value,
        "settings.fastcert": fast_cert or None,
    }
    if mesh.terminal.interactive:
        _ask(mesh, values)
    elif cert_name is None:
        raise UsageError("--cert-name is missing and there is no terminal to ask at", hint="mesh init --cert-name NAME")
    log.configure(None, logging.WARNING)  # what is odd in a folder that was moved in concerns who is here now
    try:
        configuration, certificates = _make(paths, values)
    finally:
        log.shutdown()
    _show(mesh, paths, configuration, certificates)


def _ask(mesh: Invocation, values: dict[str, Any]) -> None:
    """Fill in what was not given. Wrong answers are found when the configuration is checked."""
    for setting, question, default in (
        ("settings.cert", "Host name or address of this server", socket.getfqdn()),
        ("settings.port", "HTTPS port", "443"),
        ("settings.redirport", "HTTP port that redirects", "80"),
        ("settings.mpsport", "Port for Intel AMT devices", "4433"),
        ("settings.mode", "How agents find it: wan, lan or hybrid", "hybrid"),
    ):
        if values[setting] is None:
            answer = mesh.terminal.ask(question, default)
            values[setting] = int(answer) if answer.isdecimal() and setting.endswith("port") else answer


def _make(paths: DataPaths, values: dict[str, Any]) -> tuple[Configuration, list[dict[str, Any]]]:
    """Check the values, make the certificates, and write the configuration last: with it the folder is finished."""
    from meshcentral.core.certificates import CertificateSettings, CertificateStore
    from meshcentral.core.clock import SystemClock
    from meshcentral.core.config import load, write_initial
    from meshcentral.core.lock import DataFolderLock

    configuration = load(paths, values, environment={})
    paths.create()
    with DataFolderLock(paths):
        settings = CertificateSettings(name=configuration.settings.cert, fast=configuration.settings.fast_cert)
        certificates = CertificateStore.load(paths, settings, SystemClock())
        configuration = write_initial(paths, values)
    return configuration, [dict(row) for row in certificates.describe()]


def _show(
    mesh: Invocation, paths: DataPaths, configuration: Configuration, certificates: list[dict[str, Any]] | None
) -> None:
    settings = configuration.settings
    answer = {
        "data": str(paths.data),
        "name": settings.cert,
        "port": settings.port,
        "redirect_port": settings.redirect_port,
        "mps_port": settings.mps_port,
        "mode": settings.mode,
        "created_now": certificates is not None,
        "certificates": certificates or [],
    }
    what = "made" if certificates is not None else "there is already a configuration in"
    mesh.output.document(answer, f"{what} {paths.data} for {settings.cert}, port {settings.port}")
