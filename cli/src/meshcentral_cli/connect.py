"""How a command reaches the server: the running one's local socket, or one inside this process.

The data-folder lock decides, so there is no race: who holds it is the server. A server that is starting or ending
holds the lock while its socket does not answer; then we try again for some seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from meshcentral.plugins.errors import Busy, ServerUnreachable, SocketClosed
from meshcentral_cli.client import ControlClient
from meshcentral_cli.offline import CONTROL_PATH, control_socket, in_process

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

    from meshcentral.plugins.web import Socket

PATIENCE_SECONDS = 10.0
"""How long a data folder may be locked by a process whose socket does not answer."""
_RETRY_SECONDS = 0.1


@contextlib.asynccontextmanager
async def connect(data: Path, *, offline: bool = True) -> AsyncIterator[ControlClient]:
    """A control session as the local administrator.

    `offline` False: only a running server will do. Raises ServerUnreachable when there is none, Busy when the data
    folder stays locked without an answer, ConfigurationError when the folder holds no usable configuration.
    """
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    async with contextlib.AsyncExitStack() as stack:
        while True:
            connection = await _try_socket(control_socket(data))
            if connection is not None:
                stack.push_async_callback(connection.close)
                client = ControlClient(_UnixChannel(connection))
                break
            try:
                if not offline:
                    raise ServerUnreachable(
                        f"no server is running on {data}", hint=f"start one with: mesh --data {data} serve"
                    )
                client = ControlClient(_MemoryChannel(await stack.enter_async_context(in_process(data))))
                break
            except Busy:
                if asyncio.get_running_loop().time() >= deadline:
                    raise
            await asyncio.sleep(_RETRY_SECONDS)
        yield client


async def _try_socket(path: str | None) -> ClientConnection | None:
    """Connect to the local socket; None when there is none or nobody answers there."""
    if path is None:
        return None
    from websockets.asyncio.client import unix_connect
    from websockets.exceptions import InvalidHandshake

    try:
        return await unix_connect(
            path, f"ws://localhost{CONTROL_PATH}", compression=None, proxy=None, max_size=None, open_timeout=5
        )
    except PermissionError as error:
        raise ServerUnreachable(
            f"the server's socket {path} belongs to another user", hint="run the command as the server's user"
        ) from error
    except (OSError, TimeoutError, EOFError, InvalidHandshake):
        return None


class _UnixChannel:
    """The local socket of a running server."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def send(self, text: str) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            await self._connection.send(text)
        except ConnectionClosed as error:
            raise ServerUnreachable("the server closed the connection") from error

    async def receive(self) -> str | bytes:
        from websockets.exceptions import ConnectionClosed

        try:
            return await self._connection.recv()
        except ConnectionClosed as error:
            raise ServerUnreachable("the server closed the connection") from error


class _MemoryChannel:
    """A socket to the server inside this process."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket

    async def send(self, text: str) -> None:
        self._socket.send(text)

    async def receive(self) -> str | bytes:
        try:
            return await self._socket.receive()
        except SocketClosed as error:
            raise ServerUnreachable("the server inside this process closed the connection") from error
