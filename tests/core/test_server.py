"""The server as a whole: what it says when it cannot start, and which port is whose."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from meshcentral.core.config import Configuration
from meshcentral.core.paths import DataPaths
from meshcentral.core.server import Server
from meshcentral.plugins.errors import ConfigurationError, NotFound
from meshcentral.plugins.testing.server import MeshServers


async def test_a_file_that_cannot_be_used_is_one_error_without_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = DataPaths.at(tmp_path / "data")
    configuration = Configuration.model_validate({"settings": {"fastcert": True}})
    server = Server(configuration, paths, plugins=[])
    await server.start(listen=False)
    await server.stop()
    (paths.data / "webserver-cert-private.key").write_text("junk")
    caplog.clear()
    with pytest.raises(ConfigurationError, match=r"webserver-cert-private\.key"):
        await Server(configuration, paths, plugins=[]).start(listen=False)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_links_name_the_port_that_clients_use(mesh_server: MeshServers) -> None:
    server = await mesh_server([], settings={"aliasport": 8443})
    assert server.port not in (0, 8443)
    assert server.address.https() == "https://localhost:8443/"


async def test_a_local_socket_that_nobody_serves(mesh_server: MeshServers) -> None:
    server = await mesh_server([], listen=False)
    with pytest.raises(NotFound, match=r"/control\.ashx"):
        await server.open_local("/control.ashx")
