"""Real servers for tests: temporary folders, loopback ports that the system chooses, and only the plugins asked for.

This is the one place of the public API that reaches into the core, and only inside functions.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshcentral.plugins.plugin import Plugin
from meshcentral.plugins.server import Clock

if TYPE_CHECKING:
    from meshcentral.core.server import Server

HOST = "localhost"
"""The name in the test certificates."""
SETTLE_SECONDS = 5.0
"""How long transports and cancelled tasks may take to be gone before they count as leaked."""


class MeshServers:
    """Starts servers, and stops at the end those that still run."""

    def __init__(self, folder: Path, certificates: Path) -> None:
        """`folder` gets one data folder per server; `certificates` holds ready-made ones."""
        self._folder = folder
        self._certificates = certificates
        self._running: list[Server] = []
        self._started = 0

    async def __call__(
        self,
        plugins: Sequence[type[Plugin]] = (),
        *,
        settings: Mapping[str, Any] | None = None,
        domains: Sequence[str] = (),
        data: Path | None = None,
        listen: bool = True,
        clock: Clock | None = None,
    ) -> Server:
        """Start a server and return it when it listens (`server.port`).

        `plugins` are loaded with all that they require and nothing else. `settings` are wire names of `[settings]`;
        `domains` are ids of further domains. `data` is an existing data folder, to start a stopped server again.
        """
        from meshcentral.core.config.loading import validated
        from meshcentral.core.paths import DataPaths
        from meshcentral.core.server import Server

        self._started += 1
        paths = DataPaths.at(data or self._folder / f"server-{self._started}")
        paths.create()
        if data is None:
            shutil.copytree(self._certificates, paths.certificates, dirs_exist_ok=True)
        usual = {"cert": HOST, "port": 0, "redirport": 0, "portbind": "127.0.0.1", "fastcert": True}
        tables = {"settings": {**usual, **(settings or {})}, "domains": {name: {} for name in domains}}
        server = Server(validated(tables, "the test"), paths, plugins=with_requirements(plugins), clock=clock)
        await server.start(listen=listen)
        self._running.append(server)
        return server

    async def stop(self, server: Server | None = None) -> None:
        """Stop one server, or all, the last started first."""
        for running in [server] if server else self._running[::-1]:
            self._running.remove(running)
            await running.stop()


def with_requirements(plugins: Sequence[type[Plugin]]) -> list[type[Plugin]]:
    """The plugins and, found by their entry points, those that they require. Others are not even imported."""
    wanted = {plugin.name: plugin for plugin in plugins}
    missing = [name for plugin in plugins for name in plugin.requires if name not in wanted]
    while missing:
        name = missing.pop()
        found = entry_points(group="meshcentral", name=name)
        if name in wanted or not found:
            continue  # the manager explains what is not installed
        plugin: type[Plugin] = next(iter(found)).load()
        wanted[name] = plugin
        missing += plugin.requires
    return list(wanted.values())


def make_certificates(folder: Path) -> Path:
    """Make the certificates of a server named `localhost` in an empty folder; keys are RSA-2048."""
    from meshcentral.core.certificates import CertificateSettings, CertificateStore
    from meshcentral.core.clock import SystemClock
    from meshcentral.core.paths import DataPaths

    CertificateStore.load(DataPaths.at(folder), CertificateSettings(name=HOST, fast=True), SystemClock())
    return folder


@asynccontextmanager
async def no_leaks() -> AsyncIterator[None]:
    """Fail when the block leaves tasks or sockets behind."""
    tasks, sockets = asyncio.all_tasks(), _open_sockets()
    yield
    loop = asyncio.get_running_loop()
    deadline = loop.time() + SETTLE_SECONDS
    while True:
        # Set-up and tear-down of a fixture may run in different tasks; neither is a leak.
        left_tasks = sorted(task.get_name() for task in asyncio.all_tasks() - tasks - {asyncio.current_task()})
        left_sockets = sorted(_open_sockets() - sockets)
        if not (left_tasks or left_sockets):
            return
        if loop.time() > deadline:
            raise AssertionError(
                f"left over after the servers were stopped: tasks {left_tasks}, sockets {left_sockets}"
            )
        await asyncio.sleep(0.01)


def _open_sockets() -> frozenset[str]:
    """The kernel's names of this process's sockets; empty where the system does not list them."""
    folder = Path("/proc/self/fd")
    found: set[str] = set()
    if folder.is_dir():
        for descriptor in os.listdir(folder):
            try:
                target = os.readlink(folder / descriptor)
            except OSError:
                continue  # the descriptor of the listing itself
            if target.startswith("socket:"):
                found.add(target)
    return frozenset(found)
