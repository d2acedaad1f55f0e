"""pytest fixtures for the tests of plugins; installed with the server as a pytest plugin.

Everything but pytest is imported inside the fixtures, so that coverage sees the modules load.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from meshcentral.plugins.server import Server
    from meshcentral.plugins.testing.clock import ManualClock
    from meshcentral.plugins.testing.events import BusLog
    from meshcentral.plugins.testing.server import MeshServers


@pytest.fixture(scope="session")
def mesh_certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one set of small certificates for `localhost`, made once per test run."""
    from meshcentral.plugins.testing.server import make_certificates

    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
async def mesh_server(mesh_certificates: Path, tmp_path: Path) -> AsyncIterator[MeshServers]:
    """`server = await mesh_server([MyPlugin])` starts a real server with only those plugins and what they require.

    All servers are stopped after the test, which fails when a task or a socket is left over.
    """
    from meshcentral.plugins.testing.server import MeshServers, no_leaks

    async with no_leaks():
        servers = MeshServers(tmp_path, mesh_certificates)
        try:
            yield servers
        finally:
            await servers.stop()


@pytest.fixture
def manual_clock() -> ManualClock:
    """A clock that stands still until the test moves it."""
    from meshcentral.plugins.testing.clock import ManualClock

    return ManualClock()


@pytest.fixture
def bus_log() -> Iterator[Callable[[Server], BusLog]]:
    """`log = bus_log(server)` records the events that the server publishes."""
    from meshcentral.plugins.testing.events import BusLog

    logs: list[BusLog] = []

    def attach(server: Server) -> BusLog:
        logs.append(BusLog(server.bus))
        return logs[-1]

    yield attach
    for log in logs:
        log.close()


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str], bytes]:
    """`golden("apf/first-hello.bin")` reads a captured message from the folder `golden` beside the test module."""
    folder = request.path.parent / "golden"
    return lambda name: (folder / name).read_bytes()
