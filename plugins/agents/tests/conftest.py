"""A real server with this plugin, a device group, and simulated agents."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from meshcentral.core.server import Server
from meshcentral.plugins import DeviceGroup
from meshcentral.plugins.testing.agents import FakeAgent
from meshcentral.plugins.testing.server import MeshServers
from meshcentral_agents.plugin import AgentsPlugin
from meshcentral_protocol.identifiers import new_group_id
from meshcentral_protocol.keys import AgentKey

MakeAgent = Callable[..., FakeAgent]


@functools.cache
def agent_key() -> AgentKey:
    """One small key for all simulated agents of a run: making it takes longer than a test."""
    return AgentKey.generate(2048)


@pytest.fixture
async def server(mesh_server: MeshServers) -> Server:
    """A listening server with only this plugin."""
    return await mesh_server([AgentsPlugin])


@pytest.fixture
async def group(server: Server) -> DeviceGroup:
    """A device group of that server."""
    group = DeviceGroup(id=new_group_id(), name="Lab \u2013 \u00fcn\u00ef")
    server.store.note(group)
    return group


@pytest.fixture
def url(server: Server) -> str:
    """Where agents connect."""
    return f"wss://localhost:{server.port}/agent.ashx"


@pytest.fixture
def make_agent(server: Server, group: DeviceGroup) -> MakeAgent:
    """`make_agent(core=..., type_id=...)`: an agent of the group that trusts the server."""

    def make(**options: object) -> FakeAgent:
        return FakeAgent(
            agent_key(),
            server_id=server.certificates.agent_server_hash,
            group_id=group.id,
            **options,  # type: ignore[arg-type]  # the caller's keywords are FakeAgent's
        )

    return make
