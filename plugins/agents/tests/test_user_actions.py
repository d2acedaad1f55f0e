"""The control-channel actions of this plugin, asked by the local administrator over a real control session."""

from __future__ import annotations

import hashlib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from meshcentral.core.server import Server
from meshcentral.plugins import DeviceGroup, Plugin
from meshcentral.plugins.testing.server import MeshServers
from meshcentral.plugins.testing.users import FakeUser, Message
from meshcentral_agents import binaries
from meshcentral_agents.plugin import AgentsPlugin
from meshcentral_protocol.identifiers import new_group_id

PROGRAM = b"\x7fELF" * 1000


def control_plugin() -> type[Plugin]:
    """The control channel, found as the server finds it."""
    (found,) = entry_points(group="meshcentral", name="channel")
    plugin: type[Plugin] = found.load()
    return plugin


@pytest.fixture
async def server(mesh_server: MeshServers) -> Server:
    return await mesh_server([AgentsPlugin, control_plugin()])


@pytest.fixture
async def administrator(server: Server) -> FakeUser:
    return await FakeUser.over(await server.open_local("/control.ashx"))


async def import_from(administrator: FakeUser, path: str) -> Message:
    """The last reply to an import: those before it tell how far it is."""
    reply = await administrator.request("agentsimport", path=path)
    response_id = reply["responseid"]
    while "progress" in reply:
        reply = await administrator.wait_for(lambda message: message.get("responseid") == response_id)
    return reply


async def test_settings_of_a_group(server: Server, administrator: FakeUser) -> None:
    server.store.note(group := DeviceGroup(id=new_group_id(), name="office"))
    reply = await administrator.request("agentsettings", meshid=group.id, tag="t1", installflags=1)
    assert reply["meshid"] == group.id
    assert "MeshName=office\r\n" in reply["msh"]
    assert "Tag=t1\r\nInstallFlags=1\r\n" in reply["msh"]
    refused = await administrator.request("agentsettings", meshid=new_group_id())
    assert "msh" not in refused
    refused = await administrator.request("agentsettings", meshid=group.id, tag="a b")
    assert refused["result"] == "tag: 1 to 64 letters and digits"


async def test_importing_programs(administrator: FakeUser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = {"meshagent_x86-64": hashlib.sha384(PROGRAM).hexdigest()}
    monkeypatch.setattr(binaries, "_recorded", lambda: {"1": hashes})
    source = tmp_path / "source"
    source.mkdir()
    (source / "meshagent_x86-64").write_bytes(PROGRAM)
    reply = await import_from(administrator, str(source))
    assert (reply["imported"], reply["refused"]) == (["meshagent_x86-64"], {})
    listed = await administrator.request("agentbinaries")
    assert [(row["id"], row["platform"], row["version"]) for row in listed["agents"]] == [(6, "linux", "1")]

    (source / "meshagent_x86-64").write_bytes(b"altered")
    reply = await import_from(administrator, str(source))
    assert "--allow-unrecorded" in reply["result"]
    for path in ("relative/folder", "", str(tmp_path / "absent")):
        reply = await import_from(administrator, path)
        assert "imported" not in reply


async def test_held_agents(administrator: FakeUser) -> None:
    assert (await administrator.request("heldagents"))["agents"] == []
