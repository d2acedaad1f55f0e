"""`/meshagents` and `/meshsettings` over HTTPS, and the actions that the command line uses."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from meshcentral.core.server import Server
from meshcentral.plugins import DeviceGroup, UsageError
from meshcentral.plugins.testing.carriers import any_certificate
from meshcentral_agents import binaries
from meshcentral_agents.plugin import AgentsPlugin
from meshcentral_agents.settings import compose_settings
from meshcentral_protocol.identifiers import group_id_hex, new_group_id
from meshcentral_protocol.msh import AgentSettings

LINUX = b"\x7fELF" + b"linux" * 100_000


@pytest.fixture
async def programs(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two imported programs."""
    contents = {"meshagent_x86-64": LINUX, "MeshService64.exe": b"MZ"}
    hashes = {name: hashlib.sha384(data).hexdigest() for name, data in contents.items()}
    monkeypatch.setattr(binaries, "_recorded", lambda: {"1": hashes})
    source = tmp_path / "source"
    source.mkdir()
    for name, data in contents.items():
        (source / name).write_bytes(data)
    plugin = next(record.plugin for record in server.plugins if record.name == "agents")
    assert isinstance(plugin, AgentsPlugin)
    plugin._of(server).binaries.import_from(source, allow_unrecorded=False, progress=lambda *_: None)


async def fetch(server: Server, path: str) -> tuple[int, bytes, Any]:
    """Status, body and headers of a page."""

    def get() -> tuple[int, bytes, Any]:
        connection = http.client.HTTPSConnection("localhost", server.port, context=any_certificate(), timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read(), response.headers

    return await asyncio.to_thread(get)


async def test_programs_are_streamed(server: Server, programs: None) -> None:
    status, body, headers = await fetch(server, "/meshagents?id=6")
    assert (status, body) == (200, LINUX)
    assert headers["Content-Disposition"] == 'attachment; filename="meshagent"'
    assert headers["Content-Type"] == "application/octet-stream"
    _, _, headers = await fetch(server, "/meshagents?id=4")
    assert headers["Content-Disposition"] == 'attachment; filename="MeshService64.exe"'


@pytest.mark.parametrize(
    "query", ["", "?id=", "?id=5", "?id=99999", "?id=-1", "?id=%C2%B2", "?id=../x", "?id=6&meshid=x", "?script=1"]
)
async def test_other_programs_are_not_found(server: Server, programs: None, query: str) -> None:
    status, _, _ = await fetch(server, f"/meshagents{query}")
    assert status == 404


async def test_settings_bring_an_agent_into_its_group(server: Server, group: DeviceGroup) -> None:
    short = quote(group.id.split("/")[2])
    status, body, headers = await fetch(server, f"/meshsettings?id={short}&tag=abc&installflags=2")
    assert status == 200
    assert "attachment" in headers["Content-Disposition"]
    text = body.decode()
    assert text.startswith("\r\nMeshName=Lab – ünï\r\nMeshType=2\r\n")
    settings = AgentSettings.from_text(text)
    assert settings.group_id == group.id
    assert settings.server_id == server.certificates.agent_server_hash
    assert settings.server_url == f"wss://localhost:{server.port}/agent.ashx"
    assert (settings.tag, settings.install_flags) == ("abc", 2)
    assert f"MeshID={group_id_hex(group.id)}\r\n" in text


async def test_settings_of_unknown_groups_are_refused(server: Server, group: DeviceGroup) -> None:
    server.store.note(gone := DeviceGroup(id=new_group_id(), name="gone", deleted="2026-01-01T00:00:00Z"))
    for identifier in ("", "x", new_group_id().split("/")[2], gone.id.split("/")[2], "node//" + "a" * 64):
        assert (await fetch(server, f"/meshsettings?id={quote(identifier)}"))[0] == 401
    short = quote(group.id.split("/")[2])
    for query in ("tag=a%0D%0AMeshServer=x", "installflags=9", "installflags=x", f"tag={'a' * 65}"):
        assert (await fetch(server, f"/meshsettings?id={short}&{query}"))[0] == 400


async def test_a_group_name_cannot_add_lines(server: Server, group: DeviceGroup) -> None:
    text = compose_settings(server, group.with_(name="x\r\nMeshServer=wss://evil"))
    assert "MeshName=x MeshServer=wss://evil\r\n" in text
    with pytest.raises(UsageError):
        compose_settings(server, group, install_flags=4)


async def test_agents_may_not_be_browsers(server: Server) -> None:
    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidStatus

    with pytest.raises(InvalidStatus, match="403"):
        async with connect(
            f"wss://localhost:{server.port}/agent.ashx",
            ssl=any_certificate(),
            additional_headers={"Origin": "https://evil.example"},
        ):
            pass


async def test_recorded_json_is_readable() -> None:
    path = Path(binaries.__file__).with_name("recorded_hashes.json")
    assert set(json.loads(path.read_text())) == {"about", "versions"}
