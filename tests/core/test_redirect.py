from __future__ import annotations

import asyncio

import pytest

from meshcentral.core import redirect


async def ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    try:
        return await reader.read()
    finally:
        writer.close()


def target(path: str) -> str:
    return f"https://mesh.example:8443{path}"


async def test_everybody_is_sent_to_https_and_the_host_header_is_not_believed(hosting) -> None:
    async with hosting() as host:
        port = await host.listeners.open_redirect(["127.0.0.1"], 0, target)
        answer = await ask(port, b"GET /login?key=1 HTTP/1.1\r\nHost: evil.test\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 301 ")
        assert b"\r\nLocation: https://mesh.example:8443/login?key=1\r\n" in answer
        assert b"evil" not in answer


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET //evil.test/x HTTP/1.1\r\nHost: x\r\n\r\n", 301),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 405),
        (b"GET http://evil.test/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"CONNECT evil.test:443 HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"\x16\x03\x01\r\n\r\n", 400),
        (b"GET /" + b"x" * 70_000, 431),
    ],
)
async def test_nothing_else_is_answered(hosting, request_bytes: bytes, status: int) -> None:
    async with hosting() as host:
        port = await host.listeners.open_redirect(["127.0.0.1"], 0, target)
        answer = await ask(port, request_bytes)
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert b"Location: //" not in answer
        assert b"Location: https://evil" not in answer


async def test_slow_and_too_many_connections_are_dropped(hosting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redirect, "HEAD_TIMEOUT", 0.05)
    monkeypatch.setattr(redirect, "MAX_REDIRECTS", 1)
    async with hosting() as host:
        port = await host.listeners.open_redirect(["127.0.0.1"], 0, target)
        assert await asyncio.gather(ask(port, b"GET"), ask(port, b"GET")) == [b"", b""]
