from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from meshcentral.core.websocket import queued
from meshcentral.core.websocket.memory import memory_pair
from meshcentral.core.websocket.queued import MAX_WAITING
from meshcentral.plugins.errors import SocketClosed
from meshcentral.plugins.web import Access, Connection, Socket, SocketRoute

CONNECTION = Connection(
    method="GET", path="/test.ashx", query={}, headers={}, remote_address="", remote_port=0, secure=False, local=True
)


def spawn(coro: Coroutine[Any, Any, None], *, name: str, owner: str) -> asyncio.Task[None]:
    return asyncio.get_running_loop().create_task(coro, name=name)


async def test_both_ends_talk_in_order_and_keep_the_types() -> None:
    client, server = memory_pair(CONNECTION)

    client.send("text")
    client.send(b"binary")
    client.send_text("größe".encode())
    server.send("answer")

    assert [await server.receive() for _ in range(3)] == ["text", b"binary", "größe"]
    assert await client.receive() == "answer"
    assert server.connection.local


async def test_messages_before_the_end_are_delivered_first() -> None:
    client, server = memory_pair(CONNECTION)
    client.send("last words")
    client.close()

    assert await server.receive() == "last words"
    with pytest.raises(SocketClosed):
        await server.receive()
    server.send("into the void")
    assert server.closed


async def test_a_waiting_reader_learns_of_the_end() -> None:
    client, server = memory_pair(CONNECTION)
    reader = asyncio.get_running_loop().create_task(server.receive())
    await asyncio.sleep(0)
    client.close()

    with pytest.raises(SocketClosed):
        await reader


async def test_only_one_reader() -> None:
    _, server = memory_pair(CONNECTION)
    first = asyncio.get_running_loop().create_task(server.receive())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="one reader"):
        await server.receive()

    server.close()
    with pytest.raises(SocketClosed):
        await first


async def test_a_cancelled_receive_loses_no_message() -> None:
    client, server = memory_pair(CONNECTION)
    reader = asyncio.get_running_loop().create_task(server.receive())
    await asyncio.sleep(0)
    client.send("kept")
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader

    assert await server.receive() == "kept"


async def test_a_slow_reader_makes_the_other_end_wait() -> None:
    client, server = memory_pair(CONNECTION)
    for number in range(MAX_WAITING + 1):
        assert client.writable
        client.send(str(number))
    assert not client.writable

    drained = asyncio.get_running_loop().create_task(client.drain())
    called: list[bool] = []
    client.when_writable(lambda: called.append(client.writable))
    await asyncio.sleep(0)
    assert not drained.done()
    for _ in range(MAX_WAITING):
        await server.receive()
    await drained

    assert called == [True]
    assert client.writable


async def test_a_reader_that_lets_too_much_wait_loses_the_pair() -> None:
    client, server = memory_pair(CONNECTION, max_buffer=1000)
    client.send(bytes(900))
    client.send(bytes(200))

    assert client.closed
    assert await server.receive() == bytes(900)
    with pytest.raises(SocketClosed):
        await client.drain()


async def test_a_handler_ends_with_its_socket_and_a_failure_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(socket: Socket) -> None:
        if await socket.receive() == "fail":
            raise ValueError("a defect")

    route = SocketRoute("/test.ashx", handler, Access.USER)
    for message, failures in (("fine", 0), ("fail", 1)):
        client, server = memory_pair(CONNECTION)
        task = server.run_handler(route, spawn)
        client.send(message)
        await task
        assert client.closed
        assert sum("/test.ashx failed" in record.message for record in caplog.records) == failures


async def test_a_handler_that_never_looks_up_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queued, "LINGER", 0.01)
    cleaned: list[str] = []

    async def handler(socket: Socket) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append("up")

    client, server = memory_pair(CONNECTION)
    task = server.run_handler(SocketRoute("/test.ashx", handler, Access.USER), spawn)
    await asyncio.sleep(0)
    client.close()
    await asyncio.wait([task])

    assert task.cancelled()
    assert cleaned == ["up"]
