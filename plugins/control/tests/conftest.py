"""Servers with the control plugins, accounts on them, and clients that are closed at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from meshcentral.plugins import rights
from meshcentral.plugins.documents import Device, DeviceAgent
from meshcentral.plugins.store import AuditEntry
from meshcentral.plugins.testing.server import MeshServers
from meshcentral.plugins.testing.users import FakeUser
from meshcentral_control.devices.plugin import DevicesPlugin
from meshcentral_protocol.identifiers import encode_base64

PASSWORD = "correct horse battery"
"""Keeps every rule."""


@dataclass
class Control:
    """A running server and its local administrator."""

    server: Any
    local: FakeUser
    stack: AsyncExitStack
    _users: list[FakeUser] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"wss://127.0.0.1:{self.server.port}/control.ashx"

    async def user(self, name: str = "alice", *, admin: bool = False, site_rights: int | None = None) -> FakeUser:
        """Add an account and log it in over TLS."""
        mask = rights.ALL if admin else site_rights or 0
        reply = await self.local.request("adduser", username=name, **{"pass": PASSWORD}, siteadmin=mask)
        assert reply["result"] == "ok", reply
        return await self.login(name)

    async def login(self, name: str, password: str = PASSWORD) -> FakeUser:
        user = await FakeUser.connect(self.url, name, password)
        self.stack.push_async_callback(user.close)
        return user

    async def group(self, owner: FakeUser | None = None, name: str = "Office") -> str:
        """Make a group; returns its id."""
        reply = await (owner or self.local).request("createmesh", meshname=name, meshtype=2)
        assert reply["result"] == "ok", reply
        return str(reply["meshid"])

    async def device(self, group_id: str, number: int = 1, **fields: Any) -> Device:
        """Store a device."""
        device = Device(
            id=f"node//{encode_base64(number.to_bytes(48, 'big'))}",
            group_id=group_id,
            name=f"device {number}",
            agent=DeviceAgent(type_id=6),
        ).with_(**fields)
        async with self.server.store.change(AuditEntry("server", "test")) as change:
            change.put(Device.from_stored(device.to_stored()))
        stored: Device = self.server.store.devices.get(device.id)
        return stored


StartControl = Callable[..., Awaitable[Control]]


@pytest.fixture
async def start_control(mesh_server: MeshServers) -> AsyncIterator[StartControl]:
    """`control = await start_control()` starts a server; arguments go to `mesh_server`."""
    async with AsyncExitStack() as stack:

        async def start(**arguments: Any) -> Control:
            server = await mesh_server([DevicesPlugin], **arguments)
            local = await FakeUser.over(await server.open_local("/control.ashx"))
            stack.push_async_callback(local.close)
            return Control(server, local, stack)

        yield start


@pytest.fixture
async def control(start_control: StartControl) -> Control:
    return await start_control()
