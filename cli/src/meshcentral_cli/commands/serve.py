"""`mesh serve`: run the server until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import platform
import shlex
import shutil
import signal
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from meshcentral.plugins.errors import Busy
from meshcentral_cli.invocation import Invocation, command, verb
from meshcentral_cli.offline import initialised
from meshcentral_cli.streams import abandon

if TYPE_CHECKING:
    from meshcentral.core.server import Server

app = command("Run the server.")

PATIENCE_SECONDS = 10.0
"""How long another command may hold the data folder before we give up."""
_RETRY_SECONDS = 0.1

_AGENT_FILES = {
    ("Linux", "x86_64"): "meshagent_x86-64",
    ("Linux", "aarch64"): "meshagent_aarch64",
    ("Linux", "armv7l"): "meshagent_armhf",
    ("Linux", "i686"): "meshagent_x86",
    ("Darwin", "x86_64"): "meshagent_osx-x86-64",
    ("Darwin", "arm64"): "meshagent_osx-arm-64",
    ("FreeBSD", "amd64"): "meshagent_freebsd_x86-64",
    ("OpenBSD", "amd64"): "meshagent_openbsd_x86-64",
}
"""The agent for a computer like this one (agent-protocol reference, 8.1)."""


@verb(app)
def serve(
    mesh: Invocation,
    bind: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Address to listen at (all).")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, metavar="P", help="HTTPS port; 0 takes a free one.")
    ] = None,
    redirect_port: Annotated[
        int | None, typer.Option(min=0, max=65535, metavar="R", help="HTTP port that redirects.")
    ] = None,
    mps_port: Annotated[
        int | None, typer.Option(min=0, max=65535, metavar="M", help="Port for Intel AMT devices.")
    ] = None,
) -> None:
    """Run the server until SIGTERM or SIGINT; a second one ends it at once. Options count for this run only.

    With --json one line when it listens: event ("listening"), url, port, redirect_port, mps_port, data.
    """
    paths = initialised(mesh.data)
    from meshcentral.core import eventloop, log
    from meshcentral.core.config import load
    from meshcentral.core.server import Server

    overrides = {
        "settings.portbind": bind,
        "settings.port": port,
        "settings.redirport": redirect_port,
        "settings.mpsport": mps_port,
    }
    configuration = load(paths, overrides)
    log.configure(paths)
    try:
        paths.create()
        for warning in configuration.warnings:
            logging.getLogger("meshcentral.configuration").warning(warning)
        eventloop.run(_serve(mesh, Server(configuration, paths)))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        log.shutdown()


async def _serve(mesh: Invocation, server: Server) -> None:
    stopping = _Stopping()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.signalled)
    await _start(server)
    stopping.started = True
    try:
        try:
            _announce(mesh, server)
        except OSError:
            abandon(sys.stdout)  # the server goes on without its reader
        await stopping.asked.wait()
    finally:
        await server.stop()


class _Stopping:
    """Turns signals into the end of the server: in good order after it has started, at once before that and the
    second time."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.started = False
        self._task = asyncio.current_task()

    def signalled(self) -> None:
        if self.started and not self.asked.is_set():
            self.asked.set()
        elif self._task is not None:
            self._task.cancel()


async def _start(server: Server) -> None:
    """Start, waiting a little for a command that works on the data folder just now; a server is not waited for."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_SECONDS
    while True:
        try:
            await server.start()
        except Busy:
            if loop.time() >= deadline or await _answers(str(server.paths.control_socket)):
                raise
        else:
            return
        await asyncio.sleep(_RETRY_SECONDS)


async def _answers(path: str) -> bool:
    """Whether a server accepts connections at the local socket."""
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return False
    writer.close()
    return True


def _announce(mesh: Invocation, server: Server) -> None:
    """Say on stdout that the server listens, and how to add a computer: an address and three lines."""
    address = server.address
    fact = {
        "event": "listening",
        "url": address.https(),
        "port": address.port,
        "redirect_port": address.redirect_port,
        "mps_port": address.mps_port,
        "data": str(server.paths.data),
    }
    mesh.output.line(fact, f"listening at {address.https()} -- to add a computer:")
    if mesh.output.as_json:
        return
    program = shlex.quote(_program())
    data = shlex.quote(str(server.paths.data))
    agent = _AGENT_FILES.get((platform.system(), platform.machine()), "meshagent_x86-64")
    agent_file = shlex.quote(str(server.paths.agents / agent))
    print(f"{program} --data {data} agents import --npm")
    print(f"{program} --data {data} group add office")
    print(
        f"{program} --data {data} group msh office > meshagent.msh && install -m 700 {agent_file} meshagent"
        " && ./meshagent run",
        flush=True,
    )


def _program() -> str:
    """What to type to run this program again: its name when the shell finds it, else its path."""
    return "mesh" if shutil.which("mesh") == sys.argv[0] else sys.argv[0]
