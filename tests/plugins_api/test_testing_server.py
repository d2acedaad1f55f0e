"""The harness itself: real servers with chosen plugins, and leaks that are told."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any

import pytest

from meshcentral.core.tasks import Tasks
from meshcentral.plugins.events import EVERYTHING, WireEvent
from meshcentral.plugins.hookspecs import hookimpl
from meshcentral.plugins.plugin import Plugin
from meshcentral.plugins.testing.server import MeshServers, no_leaks, with_requirements


class Witness(Plugin):
    """Notes what the server does."""

    name = "witness"

    def __init__(self) -> None:
        self.seen: list[str] = []

    @hookimpl
    async def on_startup(self, server: Any) -> None:
        self.seen.append("startup")

    @hookimpl
    async def on_shutdown(self) -> None:
        self.seen.append("shutdown")


def witness_of(server: Any) -> Witness:
    [record] = server.plugins
    assert isinstance(record.plugin, Witness)
    return record.plugin


async def test_a_server_listens_on_loopback_with_only_the_plugins_asked_for(mesh_server: MeshServers) -> None:
    server = await mesh_server([Witness])
    assert [record.name for record in server.plugins] == ["witness"]
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
    writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 200")
    writer.close()
    await writer.wait_closed()


async def test_two_servers_share_nothing_and_one_can_be_started_again(mesh_server: MeshServers) -> None:
    one, two = await mesh_server([Witness]), await mesh_server([Witness])
    assert one.port != two.port
    assert one.paths.data != two.paths.data
    await mesh_server.stop(one)
    assert witness_of(one).seen == ["startup", "shutdown"]
    assert witness_of(two).seen == ["startup"]
    again = await mesh_server([Witness], data=one.paths.data)
    assert again.certificates.agent_server_hash == one.certificates.agent_server_hash


async def test_without_listening(mesh_server: MeshServers) -> None:
    server = await mesh_server([Witness], listen=False)
    assert not server.serving
    assert witness_of(server).seen == ["startup"]


async def test_settings_and_domains(mesh_server: MeshServers) -> None:
    server = await mesh_server(settings={"agentidletimeout": 99}, domains=["customer1"], listen=False)
    assert server.configuration.settings.agent_idle_timeout == 99
    assert list(server.domains) == ["", "customer1"]


async def test_events_are_recorded(mesh_server: MeshServers, bus_log: Any) -> None:
    server = await mesh_server(listen=False)
    log = bus_log(server)
    server.bus.publish(WireEvent({"etype": "x", "action": "first", "domain": ""}), [EVERYTHING])
    server.bus.publish(WireEvent({"etype": "x", "action": "second", "domain": ""}), [EVERYTHING])
    assert (await log.wait_for("second"))["etype"] == "x"
    assert log.actions() == ["first", "second"]
    with pytest.raises(TimeoutError, match=r"no event third; there were \['first', 'second'\]"):
        await log.wait_for("third", timeout=0.01)


def test_required_plugins_are_found_and_absent_ones_left_to_the_manager() -> None:
    needy = type("Needy", (Plugin,), {"name": "needy", "requires": ("witness", "no-such-plugin")})
    assert with_requirements([needy, Witness]) == [needy, Witness]
    user = type("User", (Plugin,), {"name": "user", "requires": ("channel",)})
    assert {plugin.name for plugin in with_requirements([user])} >= {"user", "channel", "accounts"}


async def test_a_task_or_socket_that_is_left_over_fails_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshcentral.plugins.testing.server.SETTLE_SECONDS", 0.05)
    tasks = Tasks()
    sockets: list[socket.socket] = []

    async def leaks() -> None:
        async with no_leaks():
            tasks.spawn(asyncio.Event().wait(), name="stray", owner="test")
            sockets.extend(socket.socketpair())

    with pytest.raises(AssertionError, match=r"tasks \['stray'\], sockets \['socket:"):
        await leaks()
    for leaked in sockets:
        leaked.close()
    await tasks.cancel_all(timeout=5)


def test_golden_files_lie_beside_the_test(golden: Callable[[str], bytes]) -> None:
    assert golden("first.bin") == b"\x00\x01"
