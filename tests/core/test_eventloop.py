"""The choice of the loop, and what an idle agent costs on each."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from meshcentral.core import eventloop

SERVER = Path(__file__).parent / "idle_server.py"
UPGRADE = (
    b"GET /echo.ashx HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
PING = b"\x89\x80\0\0\0\0"
WARM, MEASURED = 50, 200


def test_uvloop_is_used_where_it_is_installed() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def running() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    assert isinstance(eventloop.run(running()), uvloop.Loop)


def test_open_files_are_limited_by_the_hard_limit_only() -> None:
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (200, 400));"
        "from meshcentral.core import eventloop; eventloop.allow_many_connections();"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "(400, 400)"


def test_asyncio_with_small_tls_buffers_is_the_fall_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def running() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    shrunk: list[bool] = []
    monkeypatch.setitem(sys.modules, "uvloop", None)
    monkeypatch.setattr(eventloop, "shrink_tls_buffers", lambda: shrunk.append(True))

    assert type(eventloop.run(running())).__module__.startswith("asyncio.")
    assert shrunk == [True]


async def connect_idle(port: int, context: ssl.SSLContext) -> asyncio.StreamWriter:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(UPGRADE)
    await reader.readuntil(b"\r\n\r\n")
    writer.write(PING)
    assert await reader.readexactly(2) == b"\x8a\x00"
    return writer


@pytest.fixture
def start_server(tls_files) -> Iterator[Callable[[str], tuple[int, psutil.Process]]]:
    """`start_server(loop)` returns the port and the process of a server on that event loop."""
    started: list[subprocess.Popen[bytes]] = []

    def start(loop: str) -> tuple[int, psutil.Process]:
        server = subprocess.Popen([sys.executable, str(SERVER), *map(str, tls_files[1]), loop], stdout=subprocess.PIPE)
        started.append(server)
        assert server.stdout is not None
        return int(server.stdout.readline()), psutil.Process(server.pid)

    yield start
    for server in started:
        server.terminate()
        server.communicate()


@pytest.mark.slow
@pytest.mark.parametrize(("loop", "limit"), [("uvloop", 36), ("asyncio", 110)])
async def test_an_idle_agent_is_cheap(start_server, tls_files, loop: str, limit: int) -> None:
    """Resident KiB per idle TLS socket. The server is a process of its own, so the clients do not count."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    port, process = start_server(loop)
    context = ssl.create_default_context(cafile=str(tls_files[1][0]))
    writers = [await connect_idle(port, context) for _ in range(WARM)]
    before = process.memory_info().rss
    writers += [await connect_idle(port, context) for _ in range(MEASURED)]
    each = (process.memory_info().rss - before) / MEASURED / 1024
    for writer in writers:
        writer.transport.abort()

    assert each < limit, f"{each:.1f} KiB per idle socket"
