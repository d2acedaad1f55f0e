"""The front over real TLS: upgrades, refusals, the Origin rule, hand-over, limits."""

from __future__ import annotations

import asyncio
import base64
import http.client
import logging
import socket

import pytest
from websockets.asyncio.client import connect, unix_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from meshcentral.core import front
from meshcentral.core.websocket.codec import BINARY, encode_frame
from meshcentral.plugins.web import Access, Request, Response, Route, Socket, SocketRoute

KEY = "dGhlIHNhbXBsZSBub25jZR=="
"""With left-over bits in its last character, as MeshAgent sends it."""


async def echo(socket: Socket) -> None:
    while True:
        socket.send(await socket.receive())


async def describe(socket: Socket) -> None:
    facts = socket.connection
    socket.send(
        f"{facts.method} {facts.domain}|{facts.path}|{dict(facts.query)}|{facts.remote_address}|{facts.secure}"
        f"|{facts.local}|{len(facts.shown_certificates)}|{facts.headers['user-agent']}"
    )


SOCKETS = [
    SocketRoute("/agent.ashx", echo, Access.AGENT),
    SocketRoute("/control.ashx", echo, Access.USER),
    SocketRoute("/public.ashx", echo, Access.PUBLIC),
    SocketRoute("/describe.ashx", describe, Access.USER),
    SocketRoute("/small.ashx", echo, Access.USER, max_message=1000),
]


def upgrade(path: str, *headers: str, key: str = KEY) -> bytes:
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: localhost",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def masked(payload: bytes) -> bytes:
    frame = bytearray(encode_frame(BINARY, payload))
    frame[1] |= 0x80
    frame[2:2] = bytes(4)
    return bytes(frame)


async def test_messages_over_tls(hosting) -> None:
    async with hosting(sockets=SOCKETS) as host, connect(host.wss("/control.ashx"), ssl=host.client_context) as client:
        for message in ("größe", b"", b"x" * 300_000):
            await client.send(message)
            assert await client.recv() == message
        await client.send(["fragment", "ed"])
        assert await client.recv() == "fragmented"
        await (await client.ping())


async def test_what_a_handler_learns_of_the_connection(hosting) -> None:
    async with hosting(sockets=SOCKETS) as host:
        url = host.wss("/customer/describe.ashx?a=1%20x&a=2&b")
        async with connect(url, ssl=host.client_context, user_agent_header="test") as client:
            assert await client.recv() == (
                "GET customer|/describe.ashx|{'a': '1 x', 'b': ''}|127.0.0.1|True|False|1|test"
            )
        async with unix_connect(
            str(host.local_path), "ws://localhost/describe.ashx", user_agent_header="test"
        ) as client:
            assert await client.recv() == "GET |/describe.ashx|{}||False|True|0|test"


async def test_bytes_after_the_head_reach_the_codec(hosting) -> None:
    async with hosting(sockets=SOCKETS) as host:
        reader, writer = await host.open_stream()
        writer.write(upgrade("/agent.ashx") + masked(b"early"))
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(7) == encode_frame(BINARY, b"early")
        writer.close()


async def test_a_head_byte_by_byte(hosting) -> None:
    async with hosting(sockets=SOCKETS) as host:
        reader, writer = await host.open_stream()
        for byte in b"\r\n" + upgrade("/agent.ashx") + masked(b"slow"):
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert await reader.readexactly(6) == encode_frame(BINARY, b"slow")
        writer.close()


# The Origin rule. The host's own origin is https://mesh.example:8443.

FOREIGN = [
    "https://mesh.example",
    "https://mesh.example:443",
    "https://mesh.example:8444",
    "http://mesh.example:8443",
    "https://sub.mesh.example:8443",
    "https://example:8443",
    "https://evil.test",
    "null",
    "",
    "https://MESH.example:8443",
    "https://mesh.example.:8443",
    "https://mesh.example:8443/",
    "https://mesh.example:8443@evil.test",
    "https://mesh.example:8443, https://evil.test",
    "https://localhost",
]


@pytest.mark.parametrize("path", ["/agent.ashx", "/control.ashx", "/public.ashx", "/customer/control.ashx"])
async def test_foreign_origins_are_refused_before_the_upgrade(hosting, path: str) -> None:
    async with hosting(sockets=SOCKETS) as host:
        for origin in FOREIGN:
            answer = await host.exchange(upgrade(path, f"Origin: {origin}", "Cookie: session=stolen"))
            assert answer.startswith(b"HTTP/1.1 403 "), origin
            assert b"evil" not in answer
        twice = await host.exchange(upgrade(path, f"Origin: {host.origin}", f"Origin: {host.origin}"))
        assert twice.startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize(("path", "status"), [("/agent.ashx", 403), ("/control.ashx", 101), ("/public.ashx", 101)])
async def test_our_own_origin_is_for_browsers_only(hosting, path: str, status: int) -> None:
    async with hosting(sockets=SOCKETS) as host:
        reader, writer = await host.open_stream()
        writer.write(upgrade(path, f"Origin: {host.origin}"))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status)
        writer.close()


async def test_the_origin_rule_holds_on_the_local_socket(hosting) -> None:
    async with hosting(sockets=SOCKETS) as host:
        with pytest.raises(InvalidStatus, match="403"):
            await unix_connect(str(host.local_path), "ws://localhost/control.ashx", origin="https://evil.test")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        pytest.param(upgrade("/unknown.ashx"), 404, id="unknown path"),
        pytest.param(upgrade("/other/control.ashx"), 404, id="unknown domain"),
        pytest.param(upgrade("/control.ashx/"), 404, id="path suffix"),
        pytest.param(upgrade("//control.ashx"), 404, id="double slash"),
        pytest.param(upgrade("/control.ashx", key="short"), 400, id="bad key"),
        pytest.param(upgrade("/control.ashx").replace(b": 13", b": 8"), 426, id="old version"),
        pytest.param(upgrade("/control.ashx").replace(b"GET", b"POST"), 405, id="method"),
        pytest.param(upgrade("/control.ashx", "Host: other"), 400, id="two hosts"),
        pytest.param(upgrade("/control.ashx", " folded: x"), 400, id="folded header"),
        pytest.param(upgrade("/control.ashx", "space : x"), 400, id="space before the colon"),
        pytest.param(upgrade("/control.ashx", "x: a\x00b"), 400, id="NUL in a header"),
        pytest.param(upgrade("/control.ashx", "x: a\nb"), 400, id="bare line feed"),
        pytest.param(upgrade("/%ff.ashx"), 400, id="path is not UTF-8"),
        pytest.param(upgrade("/%0d%0a.ashx"), 400, id="control characters in the path"),
        pytest.param(upgrade("http://evil.test/control.ashx"), 400, id="absolute form"),
        pytest.param(upgrade("/control.ashx", *(f"x{n}: y" for n in range(200))), 431, id="too many headers"),
        pytest.param(b"\x16\x03\x01\x02\x00nonsense\r\n\r\n", 400, id="not HTTP"),
        pytest.param(b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 400, id="another HTTP"),
        pytest.param(b"GET / HTTP/1.1\r\nx: " + b"y" * 70_000, 431, id="endless head"),
    ],
)
async def test_refusals(hosting, request_bytes: bytes, status: int) -> None:
    async with hosting(sockets=SOCKETS) as host:
        answer = await host.exchange(request_bytes)
        assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:80]
        assert b"Connection: close" in answer


async def test_an_encoded_path_is_the_same_socket(hosting) -> None:
    async with (
        hosting(sockets=SOCKETS) as host,
        connect(host.wss("/%63ontrol.ashx"), ssl=host.client_context) as client,
    ):
        await client.send("same")
        assert await client.recv() == "same"


async def test_a_message_over_the_limit_closes_with_1009(hosting) -> None:
    async with hosting(sockets=SOCKETS) as host, connect(host.wss("/small.ashx"), ssl=host.client_context) as client:
        await client.send(b"x" * 1000)
        assert await client.recv() == b"x" * 1000
        await client.send(b"x" * 1001)
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


async def test_a_slow_head_is_dropped(hosting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "HEAD_TIMEOUT", 0.05)
    async with hosting(sockets=SOCKETS) as host:
        assert await host.exchange(b"GET /control.ashx HTT") == b""


async def test_the_oldest_waiting_connection_makes_room(hosting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "MAX_WAITING_HEADS", 2)
    async with hosting(sockets=SOCKETS) as host:
        oldest, *others = [await host.open_stream() for _ in range(3)]
        assert await oldest[0].read() == b""
        others[0][1].write(upgrade("/control.ashx"))
        assert (await others[0][0].readline()).startswith(b"HTTP/1.1 101 ")
        for _, writer in (oldest, *others):
            writer.close()


async def test_a_probe_without_tls_is_not_an_error(hosting, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with hosting(sockets=SOCKETS) as host:
        for probe in (b"GET / HTTP/1.0\r\n\r\n", b"", b"\x16\x03\x01\x00\x05hello"):
            reader, writer = await asyncio.open_connection("127.0.0.1", host.port)
            writer.write(probe)
            writer.write_eof()
            try:
                await reader.read()
            except ConnectionError:
                pass
            writer.close()
        async with connect(host.wss("/control.ashx"), ssl=host.client_context):
            pass
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


# The hand-over to the HTTP server.


async def page(request: Request) -> Response:
    return Response(f"{request.connection.method} {request.connection.path} {len(request.body)}")


PAGES = [Route("/page", page, ("GET", "POST"), max_body=1 << 20)]


def blocking_requests(host) -> list[tuple[int, str, str | None]]:
    """GET, POST with a body and GET again over one kept-alive connection, with the standard library's client."""
    client = http.client.HTTPSConnection("127.0.0.1", host.port, context=host.client_context, timeout=10)
    answers = []
    try:
        client.connect()
        first_socket = client.sock
        for method, body in (("GET", None), ("POST", b"x" * 200_000), ("GET", None)):
            client.request(method, "/customer/page", body)
            answer = client.getresponse()
            answers.append((answer.status, answer.read().decode(), answer.getheader("Server")))
        assert client.sock is first_socket, "the connection was kept alive"
    finally:
        client.close()
    return answers


async def test_get_post_and_keep_alive(hosting) -> None:
    async with hosting(routes=PAGES) as host:
        assert await asyncio.to_thread(blocking_requests, host) == [
            (200, "GET /page 0", None),
            (200, "POST /page 200000", None),
            (200, "GET /page 0", None),
        ]


async def test_a_slow_head_and_body_arrive_whole(hosting) -> None:
    async with hosting(routes=PAGES) as host:
        reader, writer = await host.open_stream()
        for byte in b"POST /page HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello":
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"POST /page 5")


async def test_an_upgrade_on_a_kept_alive_connection_comes_back_to_the_front(hosting) -> None:
    async with hosting(routes=PAGES, sockets=SOCKETS) as host:
        reader, writer = await host.open_stream()
        writer.write(b"GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"GET /page 0")
        writer.write(upgrade("/control.ashx") + masked(b"again"))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        assert await reader.readexactly(7) == encode_frame(BINARY, b"again")
        writer.close()

        reader, writer = await host.open_stream()
        writer.write(b"GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"GET /page 0")
        writer.write(upgrade("/control.ashx", "Origin: https://evil.test"))
        assert (await reader.read()).startswith(b"HTTP/1.1 403 ")
        writer.close()


async def test_a_second_request_with_two_lengths_is_refused(hosting) -> None:
    twice = b"POST /page HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    smuggled = b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n"
    async with hosting(routes=PAGES) as host:
        assert (await host.exchange(twice + smuggled)).count(b"HTTP/1.1 400 ") == 1
        reader, writer = await host.open_stream()
        writer.write(b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"GET /page 0")
        writer.write(twice + smuggled)
        answer = await reader.read()
        assert (answer.count(b"HTTP/1.1 400 "), answer.count(b"HTTP/1.1 ")) == (1, 1)
        writer.close()


async def test_http2_in_clear_is_not_spoken(hosting) -> None:
    settings = base64.urlsafe_b64encode(bytes(6)).rstrip(b"=").decode()
    async with hosting(routes=PAGES) as host:
        answer = await host.exchange(
            b"GET /page HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\n"
            + f"HTTP2-Settings: {settings}\r\n\r\n".encode()
        )
        assert answer.startswith(b"HTTP/1.1 200 ")
        answer = await host.exchange(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 400 ")


async def test_only_http1_is_offered(hosting) -> None:
    async with hosting(routes=PAGES) as host:
        context = host.client_context
        context.set_alpn_protocols(["h2", "http/1.1"])
        _, writer = await asyncio.open_connection("127.0.0.1", host.port, ssl=context)
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        writer.close()


async def test_a_local_connection_of_another_user_is_refused(hosting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front.os, "geteuid", lambda: 12345)
    monkeypatch.setattr(front.struct, "unpack", lambda *_: (1, 54321, 54321))
    async with hosting(sockets=SOCKETS) as host:
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, str(host.local_path))
        assert await loop.sock_recv(client, 100) == b""
        client.close()
