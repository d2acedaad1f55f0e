"""A lean WebSocket client: whole messages in callbacks, the mask in C, no extensions.

Only what a well-behaved server sends is understood; anything else ends the connection with a reason.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import ssl
from collections.abc import Mapping
from typing import Final, cast

from websockets.utils import apply_mask

from bench.errors import BenchError

TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

SERVER_NAME: Final = "mesh.localhost"
"""The name that both servers under test bear; it is never looked up."""
OPEN_SECONDS = 30.0

_KEY = os.urandom(4)
_NONCE = base64.b64encode(os.urandom(16)).decode()


def any_certificate() -> ssl.SSLContext:
    """A client context that takes any certificate, like the agent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class ClientSocket(asyncio.Protocol):
    """One connection. Subclasses take `opened`, `message`, `ponged` and `ended`."""

    __slots__ = ("_buffer", "_missing", "_open", "_request", "_transport")

    def __init__(self, path: str, headers: Mapping[str, str] | None = None) -> None:
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {SERVER_NAME}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {_NONCE}",
            "Sec-WebSocket-Version: 13",
            *(f"{name}: {value}" for name, value in (headers or {}).items()),
        ]
        self._request = "\r\n".join(lines).encode() + b"\r\n\r\n"
        self._buffer = bytearray()
        self._missing = 0
        """Bytes that a frame still lacks: a long one is put together once, not with every chunk."""
        self._open = False
        self._transport: asyncio.Transport | None = None

    async def connect(self, port: int, context: ssl.SSLContext) -> None:
        """Open TLS on loopback and ask for the upgrade; `opened` follows."""
        await asyncio.get_running_loop().create_connection(
            lambda: self,
            "127.0.0.1",
            port,
            ssl=context,
            server_hostname=SERVER_NAME,
            ssl_handshake_timeout=OPEN_SECONDS,
        )

    def send(self, payload: bytes, opcode: int = BINARY) -> None:
        """Send one unfragmented message; does nothing when the connection is gone."""
        if self._transport is None:
            return
        size = len(payload)
        if size < 126:
            header = bytes((0x80 | opcode, 0x80 | size))
        elif size < 0x10000:
            header = bytes((0x80 | opcode, 0xFE)) + size.to_bytes(2, "big")
        else:
            header = bytes((0x80 | opcode, 0xFF)) + size.to_bytes(8, "big")
        self._transport.write(header + _KEY + apply_mask(payload, _KEY))

    def close(self) -> None:
        """Say goodbye and hang up."""
        if self._transport is not None:
            self.send(b"", CLOSE)
            self._transport.close()

    def certificate_hash(self) -> bytes:
        """SHA-384 of the certificate that the server showed."""
        assert self._transport is not None
        channel = cast(ssl.SSLObject, self._transport.get_extra_info("ssl_object"))
        return hashlib.sha384(channel.getpeercert(binary_form=True) or b"").digest()

    # What subclasses take.

    def opened(self) -> None:
        """The upgrade was granted."""

    def message(self, payload: bytes) -> None:
        """A text or binary message has come."""

    def ponged(self) -> None:
        """A pong has come."""

    def ended(self, reason: str) -> None:
        """The connection is gone."""

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._transport = None
            self.ended(str(exc or "the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            self._buffer += data
            self._missing -= len(data)
            if self._missing > 0:
                return
            data = bytes(self._buffer)
        try:
            if not self._open:
                data = self._read_head(data)
            self._buffer = bytearray(self._read_frames(data) if self._open else data)
        except BenchError as error:
            transport, self._transport = self._transport, None
            if transport is not None:
                transport.abort()
            self.ended(str(error))

    def _read_head(self, data: bytes) -> bytes:
        head, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            return data
        if not head.startswith(b"HTTP/1.1 101 "):
            raise BenchError(f"the upgrade was refused: {head[:100]!r}")
        self._open = True
        self.opened()
        return rest

    def _read_frames(self, data: bytes) -> bytes:
        """Take all whole frames; return what is left."""
        position, size = 0, len(data)
        while size - position >= 2:
            first, length = data[position], data[position + 1]
            start = position + 2
            if length == 126:
                start += 2
                length = int.from_bytes(data[start - 2 : start], "big")
            elif length == 127:
                start += 8
                length = int.from_bytes(data[start - 8 : start], "big")
            if size < start or size < start + length:
                self._missing = start + length - size if size >= start else 0
                break
            position = start + length
            self._take(first, data[start:position])
        return data[position:]

    def _take(self, first: int, payload: bytes) -> None:
        opcode = first & 0x0F
        if not first & 0x80:
            raise BenchError("the server sent a fragmented message")
        if opcode in (TEXT, BINARY):
            self.message(payload)
        elif opcode == PING:
            self.send(payload, PONG)
        elif opcode == PONG:
            self.ponged()
        elif opcode == CLOSE:
            raise BenchError(
                f"the server closed the socket: {payload[2:].decode(errors='replace') or payload[:2].hex()}"
            )
        else:
            raise BenchError(f"the server sent opcode {opcode}")
