"""Hosting contract: HTTP routes, sockets, and what a handler learns of the connection.

Handlers never see the carrier (the front, Quart, an in-memory pair): they get these types.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


class Access(enum.Enum):
    """Who may open a route or socket at all; decides the Origin rule, in every configuration."""

    PUBLIC = "public"
    """Anybody. A socket of this kind refuses a foreign Origin; a route may be fetched from anywhere."""
    AGENT = "agent"
    """Programs that prove themselves inside the protocol: any Origin header is refused with 403."""
    USER = "user"
    """People and their tools: an Origin header, when present, must equal one of ours exactly, else 403."""


@dataclass(frozen=True, slots=True)
class CertificateHashes:
    """SHA-384 hashes (48 bytes each) of one certificate."""

    full: bytes
    """Of the whole DER certificate."""
    key: bytes
    """Of the DER PKCS#1 public key for RSA; of the SubjectPublicKeyInfo content for other keys."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Facts of one request, before anything in it is believed."""

    method: str
    path: str
    """Decoded path inside the domain, beginning with `/`."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in lower case; a repeated header is joined with `, `."""
    remote_address: str
    remote_port: int
    secure: bool
    local: bool = False
    """Came over the owner-only local socket, or from inside the process."""
    domain: str = ""
    shown_certificates: tuple[CertificateHashes, ...] = ()
    """What this client may have been shown by the TLS listener (RSA and ECDSA), or by the proxy before it."""


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request whose body was read (at most the route's `max_body`)."""

    connection: Connection
    body: bytes = b""


Body = bytes | str | Path | AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP answer. A `Path` body is streamed from disk; text is UTF-8."""

    body: Body = b""
    status: int = 200
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Route:
    """An HTTP page or download below the domain's URL. HEAD follows GET."""

    path: str
    handler: Callable[[Request], Awaitable[Response]]
    methods: tuple[str, ...] = ("GET",)
    access: Access = Access.PUBLIC
    max_body: int = 64 * 1024
    summary: str = ""


class Socket(Protocol):
    """An accepted WebSocket in message mode. One reader; any number of senders."""

    @property
    def connection(self) -> Connection: ...

    @property
    def closed(self) -> bool: ...

    @property
    def writable(self) -> bool:
        """False while the transport asks us to pause; senders that can wait should."""
        ...

    async def receive(self) -> str | bytes:
        """The next message: text frames as str, binary frames as bytes. Messages received before the end are
        delivered first, then SocketClosed is raised."""
        ...

    def send(self, message: str | bytes) -> None:
        """Send a text (str) or binary (bytes) message. Never waits. Silently does nothing once closed; a peer that
        lets the buffer grow over the route's `max_buffer` is aborted."""
        ...

    def send_text(self, message: bytes) -> None:
        """Send an already encoded UTF-8 text message (encode once, send to many)."""
        ...

    def send_parts(self, parts: Sequence[bytes]) -> None:
        """Send an encoded UTF-8 text message that is in parts; for long ones, of which no whole copy is made."""
        ...

    async def drain(self) -> None:
        """Wait until the transport takes more. Raises SocketClosed."""
        ...

    def when_writable(self, callback: Callable[[], None]) -> None:
        """Call back once, soon after the socket became writable again (at once if it is)."""
        ...

    def trust(self) -> None:
        """The peer has proved who it is: from now on its messages may be as long as the route's `max_message`."""
        ...

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Begin the closing handshake; the transport is dropped after a few seconds if the peer does not answer."""
        ...

    def abort(self) -> None:
        """Drop the transport now."""
        ...


@dataclass(frozen=True, slots=True)
class SocketRoute:
    """A WebSocket below the domain's URL. The handler owns the socket; it is cancelled when the peer is gone and all
    received messages were read, so clean up in `finally`. Returning closes the socket."""

    path: str
    handler: Callable[[Socket], Awaitable[None]]
    access: Access
    max_message: int = 1024 * 1024
    """Bytes of one received message; a longer one closes with 1009."""
    max_untrusted: int | None = None
    """The same until the handler calls `Socket.trust`, so that strangers cannot fill the memory. None: the same."""
    max_buffer: int = 16 * 1024 * 1024
    """Bytes waiting to be sent before the peer is aborted."""
    summary: str = ""
