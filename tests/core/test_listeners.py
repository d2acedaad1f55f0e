"""Opening and closing: ports, the local socket, graceful end."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from meshcentral.core import listeners as listeners_module
from meshcentral.core.listeners import Listeners
from meshcentral.core.tls import make_context
from meshcentral.plugins.errors import ConfigurationError, Conflict, SocketClosed
from meshcentral.plugins.web import Access, Request, Response, Route, Socket, SocketRoute


async def echo(socket: Socket) -> None:
    while True:
        socket.send(await socket.receive())


ECHO = SocketRoute("/echo.ashx", echo, Access.USER)


async def test_a_taken_port_is_explained(hosting, tls_files) -> None:
    async with hosting() as host:
        with pytest.raises(ConfigurationError) as error:
            await host.listeners.open_tls(["127.0.0.1"], host.port, make_context("intermediate", tls_files))
        assert str(error.value) == f"settings.port: port {host.port} of 127.0.0.1 is already in use"
        assert f":{host.port}" in (error.value.hint or "")
        assert error.value.exit_code == 78


async def test_a_port_that_is_not_allowed_is_explained(hosting, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> socket.socket:
        raise PermissionError(13, "Permission denied")

    async with hosting() as host:
        monkeypatch.setattr(listeners_module, "_bound", refuse)
        with pytest.raises(ConfigurationError, match=r"settings\.redirport.*port 80"):
            await host.listeners.open_redirect(["127.0.0.1"], 80, lambda path: path)


@pytest.mark.parametrize("address", ["192.0.2.1", "not-an-address", "::ffff:1::2"])
async def test_an_address_that_is_not_ours_is_explained(hosting, tls_files, address: str) -> None:
    async with hosting() as host:
        with pytest.raises(ConfigurationError, match=r"settings\.portbind"):
            await host.listeners.open_tls([address], 0, make_context("intermediate", tls_files))


async def test_several_addresses_share_one_port(hosting, tls_files) -> None:
    async with hosting(sockets=[ECHO]) as host:
        port = await host.listeners.open_tls(["127.0.0.1", "127.0.0.2"], 0, make_context("intermediate", tls_files))
        for address in ("127.0.0.1", "127.0.0.2"):
            _, writer = await asyncio.open_connection(
                address, port, ssl=host.client_context, server_hostname="localhost"
            )
            writer.close()


async def test_the_local_socket_is_for_its_owner(hosting, tmp_path: Path) -> None:
    left_over = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(left_over))
    async with hosting() as host:
        status = host.local_path.stat()
        assert stat.S_ISSOCK(status.st_mode)
        assert stat.S_IMODE(status.st_mode) == 0o600
        assert status.st_uid == os.geteuid()
    assert not left_over.exists()


async def test_a_local_socket_that_cannot_be_made_is_explained(hosting, tmp_path: Path) -> None:
    async with hosting() as host:
        for path in (tmp_path / "absent" / "control.sock", tmp_path / ("x" * 120)):
            with pytest.raises(ConfigurationError, match="local socket"):
                await host.listeners.open_local(path)


def test_two_claims_of_one_path() -> None:
    with pytest.raises(Conflict, match=r"/echo\.ashx"):
        Listeners(
            app=None,  # type: ignore[arg-type]
            sockets=[ECHO, SocketRoute("/echo.ashx", echo, Access.AGENT)],
            domains=[""],
            origins=frozenset,
            shown_certificates=tuple,
            spawn=None,  # type: ignore[arg-type]
        )


async def test_draining_closes_sockets_and_finishes_requests(hosting) -> None:
    begun, finish = asyncio.Event(), asyncio.Event()
    ended: list[str] = []

    async def slow(request: Request) -> Response:
        begun.set()
        await finish.wait()
        return Response("done")

    async def handler(socket: Socket) -> None:
        try:
            await socket.receive()
        except SocketClosed:
            ended.append("socket")

    route, sockets = Route("/slow", slow), [SocketRoute("/wait.ashx", handler, Access.USER)]
    async with hosting(routes=[route], sockets=sockets) as host:
        client = await connect(host.wss("/wait.ashx"), ssl=host.client_context)
        idle_reader, idle_writer = await host.open_stream()
        idle_writer.write(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
        await idle_reader.readuntil(b"}}")
        half_reader, half_writer = await host.open_stream()
        half_writer.write(b"GET /")
        request = asyncio.get_running_loop().create_task(host.exchange(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"))
        await begun.wait()

        drained = asyncio.get_running_loop().create_task(host.listeners.drain(10))
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
        assert await idle_reader.read() == b"", "an idle connection is closed at once"
        assert await half_reader.read() == b""
        with pytest.raises(OSError):
            await host.open_stream()
        assert not drained.done()
        finish.set()
        assert (await request).endswith(b"done")
        await drained
        assert ended == ["socket"]
        assert host.listeners.live_sockets == 0
        idle_writer.close()
        half_writer.close()


async def test_a_silent_agent_is_dropped_after_the_configured_time(hosting) -> None:
    async def handler(socket: Socket) -> None:
        await socket.receive()

    sockets = [SocketRoute("/agent.ashx", handler, Access.AGENT), SocketRoute("/user.ashx", handler, Access.USER)]
    async with (
        hosting(sockets=sockets, agent_idle=1) as host,
        connect(host.wss("/agent.ashx"), ssl=host.client_context) as agent,
        connect(host.wss("/user.ashx"), ssl=host.client_context) as user,
    ):
        with pytest.raises(ConnectionClosed):
            await agent.recv()
        await (await user.ping())


async def test_what_does_not_end_in_time_is_dropped(hosting) -> None:
    begun = asyncio.Event()
    cancelled: list[str] = []

    async def stubborn(socket: Socket) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append("socket")

    async def endless(request: Request) -> Response:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append("request")
        return Response("never")

    sockets = [SocketRoute("/stubborn.ashx", stubborn, Access.USER)]
    async with hosting(routes=[Route("/endless", endless)], sockets=sockets) as host:
        client = await connect(host.wss("/stubborn.ashx"), ssl=host.client_context)
        _, writer = await host.open_stream()
        writer.write(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        await begun.wait()
        await host.listeners.drain(0.05)
        assert sorted(cancelled) == ["request", "socket"]
        assert host.listeners.live_sockets == 0
        writer.close()
        client.transport.abort()
