"""Hands a connection over to Hypercorn, in the same process and on the same transport.

`TCPServer`, `WorkerContext`, `TaskGroup` and `H11Protocol` are not a promised interface of Hypercorn: this is the only
module that touches them, and the minor version is pinned. What differs from Hypercorn's own server:

- HTTP/1 only. An offer to switch to HTTP/2 in clear is ignored, as RFC 9110 (7.8) allows.
- A WebSocket upgrade on a kept-alive connection (proxies do that) is given back to the front, so that every WebSocket
  meets the same rules and the same codec.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, cast

import h11
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.events import Closed
from hypercorn.protocol import ProtocolWrapper
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.typing import ConnectionState

from meshcentral.core.front import Carrier, peer_address
from meshcentral.core.request_head import MAX_HEAD
from meshcentral.core.websocket.handshake import wants_upgrade
from meshcentral.core.websocket.queued import Spawn

KEEP_ALIVE = 75.0
"""Seconds between two requests, which also bounds a slow second head."""

ABORT_TIMEOUT = 5.0
"""Seconds that a handler has to clean up after its connection was dropped."""

CARRIER = "meshcentral.carrier"
PEER = "meshcentral.peer"
"""Names in the ASGI scope's `state`: the Carrier of the connection, and its (address, port)."""

AsgiApplication = Callable[[Any, Any, Any], Awaitable[None]]
GiveBack = Callable[[asyncio.Transport, bytes, Carrier], None]

log = logging.getLogger("meshcentral.http")


class _GivenBack(Exception):
    """The transport belongs to the front again."""


class _Http1(H11Protocol):
    """Hypercorn's HTTP/1 without its ways out to HTTP/2 and to its own WebSockets."""

    give_back: Callable[[bytes], None]

    async def _check_protocol(self, event: h11.Request) -> None:
        """Nothing to switch to."""

    async def _create_stream(self, request: h11.Request) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers}
        if {"content-length", "transfer-encoding"} <= headers.keys():  # as the front refuses it in a first request
            await self._send_error_response(400)
            await self.send(Closed())
            return
        if wants_upgrade(headers):
            self.give_back(_head_bytes(request) + self.connection.trailing_data[0])
            raise _GivenBack
        await super()._create_stream(request)


class _Connection(TCPServer):
    """One connection inside Hypercorn."""

    def __init__(self, host: HypercornHost, transport: asyncio.Transport, received: bytes, carrier: Carrier) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        peer = peer_address(transport)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        reader.feed_data(received)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        state = {CARRIER: carrier, PEER: peer}
        super().__init__(host.application, loop, host.config, host.context, state, reader, writer)
        self._transport = transport
        self._carrier = carrier
        self._peer = peer
        self._host_give_back = host.give_back
        self._given_back = False

    async def run(self) -> None:
        """Serve requests until the connection ends or is given back."""
        try:
            async with TaskGroup(self.loop) as task_group:
                self._task_group = task_group
                self.protocol = cast(ProtocolWrapper, self._make_protocol(task_group))
                await self.idle_task.restart(task_group, self._idle_timeout)
                await self._read_data()
        except* (_GivenBack, OSError):
            pass
        finally:
            await self._close()

    def abort(self) -> None:
        """Drop the transport."""
        self._transport.abort()

    def _make_protocol(self, task_group: TaskGroup) -> _Http1:
        protocol = _Http1(
            self.app,
            self.config,
            self.context,
            task_group,
            ConnectionState(self.state),
            self._carrier.secure,
            self._peer,
            None,
            self.protocol_send,
        )
        protocol.give_back = self._give_back
        return protocol

    def _give_back(self, received: bytes) -> None:
        self._given_back = True
        self._transport.resume_reading()
        self._host_give_back(self._transport, received, self._carrier)

    async def _close(self) -> None:
        if self._given_back:
            await self.idle_task.stop()
        else:
            await super()._close()


class HypercornHost:
    """Serves an ASGI application on transports that somebody else has accepted."""

    def __init__(self, application: AsgiApplication, spawn: Spawn) -> None:
        self.application = ASGIWrapper(application)
        self.context = WorkerContext(None)
        self.config = Config()
        self.config.include_server_header = False
        self.config.accesslog = None
        self.config.errorlog = log
        self.config.keep_alive_timeout = KEEP_ALIVE
        self.config.h11_max_incomplete_size = MAX_HEAD
        self.give_back: GiveBack = _drop
        """Where upgrades on kept-alive connections go; set by the owner of the front."""
        self._spawn = spawn
        self._connections: dict[asyncio.Task[None], _Connection] = {}

    def __len__(self) -> int:
        """Connections that are being served."""
        return len(self._connections)

    def take(self, transport: asyncio.Transport, received: bytes, carrier: Carrier) -> None:
        """Own the transport from now on; `received` begins with a request head."""
        connection = _Connection(self, transport, received, carrier)
        task = self._spawn(self._serve(connection), name="http connection", owner="listeners")
        self._connections[task] = connection
        task.add_done_callback(self._connections.pop)

    async def drain(self) -> None:
        """Close idle connections now and the others after their running request; return when all are closed."""
        await self.context.terminated.set()
        if self._connections:
            await asyncio.wait(list(self._connections))

    async def abort(self) -> None:
        """Drop what is left; return when the handlers have ended. The end of the transport is what makes Quart cancel
        a handler: a cancelled connection would leave it behind."""
        for connection in self._connections.values():
            connection.abort()
        if self._connections:
            _, stuck = await asyncio.wait(list(self._connections), timeout=ABORT_TIMEOUT)
            for task in stuck:
                task.cancel()

    async def _serve(self, connection: _Connection) -> None:
        try:
            await connection.run()
        except Exception:
            log.exception("an HTTP connection failed")


def _head_bytes(request: h11.Request) -> bytes:
    """The request head once more as bytes, equal in meaning to what was received."""
    lines = [b"%s %s HTTP/%s" % (request.method, request.target, request.http_version)]
    lines += [b"%s: %s" % (name, value) for name, value in request.headers]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _drop(transport: asyncio.Transport, received: bytes, carrier: Carrier) -> None:
    transport.abort()
