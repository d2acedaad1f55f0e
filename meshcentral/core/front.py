"""The front: reads the head of a connection's first request and decides who gets the transport.

An upgrade to a WebSocket on the path of a `SocketRoute` goes to our codec; everything else goes, with the bytes read
so far, to the HTTP server. Refusals of upgrades are plain HTTP answers, so a browser on a foreign site never gets a
socket.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol, cast

from meshcentral.core.origin import socket_origin_allowed
from meshcentral.core.request_head import MAX_HEAD, BadRequest, Location, RequestHead, locate, parse_head
from meshcentral.core.websocket.handshake import Refusal, check_upgrade, switching_protocols, wants_upgrade
from meshcentral.core.websocket.protocol import Timing, WebSocket, WebSockets
from meshcentral.core.websocket.queued import Spawn
from meshcentral.core.websocket.sweep import Sweep
from meshcentral.plugins.web import Access, CertificateHashes, Connection, SocketRoute

HEAD_TIMEOUT = 10.0
"""Seconds from the end of the TLS handshake to the end of the first request head."""
MAX_WAITING_HEADS = 2048
"""Connections without a head at one time; one more drops the oldest."""

AGENT_IDLE = 150.0
"""Seconds of silence after which an agent is dropped; agents ping after 120 s."""
_PINGED = Timing(ping_after=60.0)

log = logging.getLogger("meshcentral.front")


@dataclass(frozen=True, slots=True)
class Carrier:
    """What a listener knows about its connections before they say anything."""

    secure: bool
    local: bool = False


class HttpHost(Protocol):
    """Takes connections that are not WebSockets (`hypercorn_handover`)."""

    def take(self, transport: asyncio.Transport, received: bytes, carrier: Carrier) -> None: ...


@dataclass(eq=False, slots=True)
class Reception:
    """What all fronts of a server share: the routes, the rules and the live connections."""

    routes: dict[str, SocketRoute]
    domains: Sequence[str]
    origins: Callable[[], frozenset[str]]
    shown_certificates: Callable[[], tuple[CertificateHashes, ...]]
    http: HttpHost
    spawn: Spawn
    agent_timing: Timing = field(default_factory=lambda: Timing(idle=AGENT_IDLE))
    waiting: Sweep[Front] = field(default_factory=Sweep)
    sockets: WebSockets = field(default_factory=WebSockets)
    draining: bool = False


class Front(asyncio.Protocol):
    """One connection until its first request head is complete."""

    __slots__ = ("_buffer", "_carrier", "_reception", "_transport", "due")

    def __init__(self, reception: Reception, carrier: Carrier) -> None:
        self._reception = reception
        self._carrier = carrier
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self.due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._carrier.local and not _is_own_process_owner(transport):
            log.warning("refused a local connection of another user")
            self._transport.abort()
            return
        if self._reception.draining:
            self._transport.abort()
            return
        waiting = self._reception.waiting
        if len(waiting) >= MAX_WAITING_HEADS:
            waiting.oldest().drop()
        self.due = asyncio.get_running_loop().time() + HEAD_TIMEOUT
        waiting.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._reception.waiting.discard(self)
        self._transport = None

    def expire(self, now: float) -> None:
        """The head did not come in time."""
        self.drop()

    def drop(self) -> None:
        """Give the connection up without an answer."""
        self._reception.waiting.discard(self)
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        buffer = self._buffer
        searched = max(0, len(buffer) - 3)
        buffer += data
        if len(buffer) <= 2 and b"\r\n".startswith(buffer):
            return
        begin = 2 if buffer.startswith(b"\r\n") else 0
        end = buffer.find(b"\r\n\r\n", max(begin, searched))
        if end > MAX_HEAD or (end < 0 and len(buffer) > MAX_HEAD):
            self._refuse(transport, Refusal(431, "the request head is too long"))
        elif end >= 0:
            self._reception.waiting.discard(self)
            self._decide(transport, bytes(buffer), begin, end)

    def _decide(self, transport: asyncio.Transport, received: bytes, begin: int, end: int) -> None:
        reception = self._reception
        try:
            head = parse_head(received[begin:end])
            if reception.draining:
                self._refuse(transport, Refusal(503, "the server is stopping"))
                return
            headers = head.joined()
            if not wants_upgrade(headers):
                reception.http.take(transport, received, self._carrier)
                return
            location = locate(head.target, reception.domains)
        except BadRequest as error:
            self._refuse(transport, Refusal(error.status, error.reason))
            return
        route = reception.routes.get(location.path)
        refusal = _refusal(route, head, headers, reception.origins())
        if route is None or refusal is not None:
            self._refuse(transport, refusal or Refusal(404, "no such socket"))
            return
        connection = self._connection(transport, head, headers, location)
        self._upgrade(transport, route, connection, received[end + 4 :])

    def _connection(
        self, transport: asyncio.Transport, head: RequestHead, headers: dict[str, str], location: Location
    ) -> Connection:
        address, port = peer_address(transport)
        return Connection(
            method=head.method,
            path=location.path,
            query=location.query,
            headers=headers,
            remote_address=address,
            remote_port=port,
            secure=self._carrier.secure,
            local=self._carrier.local,
            domain=location.domain,
            shown_certificates=self._reception.shown_certificates() if self._carrier.secure else (),
        )

    def _upgrade(
        self, transport: asyncio.Transport, route: SocketRoute, connection: Connection, received: bytes
    ) -> None:
        reception = self._reception
        websocket = WebSocket(
            connection,
            max_message=route.max_message,
            max_untrusted=route.max_untrusted,
            max_buffer=route.max_buffer,
            timing=reception.agent_timing if route.access is Access.AGENT else _PINGED,
            siblings=reception.sockets,
        )
        self._transport = None
        transport.set_protocol(websocket)
        websocket.connection_made(transport)
        transport.write(switching_protocols(connection.headers))
        websocket.run_handler(route, reception.spawn)
        if received:
            websocket.feed(received)

    def _refuse(self, transport: asyncio.Transport, refusal: Refusal) -> None:
        self._reception.waiting.discard(self)
        transport.write(plain_response(refusal))
        transport.close()


def _refusal(
    route: SocketRoute | None, head: RequestHead, headers: dict[str, str], own_origins: frozenset[str]
) -> Refusal | None:
    """Why an upgrade is not granted; None when it is."""
    if route is None:
        return Refusal(404, "no such socket")
    if not socket_origin_allowed(route.access, head.all("origin"), own_origins):
        return Refusal(403, "this origin may not open the socket")
    return check_upgrade(head.method, headers)


def plain_response(refusal: Refusal) -> bytes:
    """A short text answer that ends the connection. Nothing of the request is in it."""
    body = f"{refusal.reason}\n".encode()
    lines = [
        f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
        *(f"{name}: {value}" for name, value in refusal.headers),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def peer_address(transport: asyncio.BaseTransport) -> tuple[str, int]:
    """Address and port of the peer; IPv4 inside IPv6 is written as IPv4, a Unix socket as an empty address."""
    peer = transport.get_extra_info("peername")
    if not isinstance(peer, tuple):
        return "", 0
    return str(peer[0]).removeprefix("::ffff:"), int(peer[1])


def _is_own_process_owner(transport: asyncio.BaseTransport) -> bool:
    """The process at the other end of the local socket runs as root or as we do."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:  # not Linux: the mode of the socket file has to do
        return True
    peer = transport.get_extra_info("socket")
    _process, user, _group = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, option, struct.calcsize("3i")))
    return user in (0, os.geteuid())
