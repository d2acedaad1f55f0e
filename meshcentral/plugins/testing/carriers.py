"""What carries the messages of simulated clients: a real TLS WebSocket, or one end of an in-memory pair."""

from __future__ import annotations

import hashlib
import ssl
from typing import TYPE_CHECKING, Protocol

from meshcentral.plugins.errors import SocketClosed
from meshcentral.plugins.web import Socket
from meshcentral_protocol.agent_commands import NO_HASH

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection


class Carrier(Protocol):
    """What carries the messages: a TLS WebSocket or an in-memory socket."""

    async def send(self, message: str | bytes) -> None: ...
    async def receive(self) -> str | bytes:
        """Raises SocketClosed at the end."""
        ...

    async def close(self) -> None: ...


def any_certificate() -> ssl.SSLContext:
    """A client context that takes any certificate, like the agent: the server is proved inside the socket."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class WebSocketCarrier:
    """A `websockets` client connection."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    def certificate_hash(self) -> bytes:
        """SHA-384 of the whole outer certificate; zeros without TLS."""
        channel: ssl.SSLObject | None = self._connection.transport.get_extra_info("ssl_object")
        certificate = channel.getpeercert(binary_form=True) if channel else None
        return hashlib.sha384(certificate).digest() if certificate else NO_HASH

    async def send(self, message: str | bytes) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            await self._connection.send(message)
        except ConnectionClosed as closed:
            raise SocketClosed(str(closed)) from closed

    async def receive(self) -> str | bytes:
        from websockets.exceptions import ConnectionClosed

        try:
            return await self._connection.recv()
        except ConnectionClosed as closed:
            raise SocketClosed(str(closed)) from closed

    async def close(self) -> None:
        await self._connection.close()


class SocketCarrier:
    """One end of an in-memory pair, or any other open `Socket`."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket

    async def send(self, message: str | bytes) -> None:
        if self._socket.closed:
            raise SocketClosed("the socket is closed")
        self._socket.send(message)

    async def receive(self) -> str | bytes:
        return await self._socket.receive()

    async def close(self) -> None:
        self._socket.close()
