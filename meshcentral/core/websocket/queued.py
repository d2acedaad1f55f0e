"""What every kind of socket shares: the queue of received messages, its one reader, and the handler task.

The queue is a deque and one future. Filling it beyond `MAX_WAITING` messages or `MAX_WAITING_BYTES` asks the carrier
to stop reading, so a slow handler holds back its peer and not the server's memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Protocol

from meshcentral.core.websocket.codec import GOING_AWAY, INTERNAL_ERROR, NORMAL, POLICY_VIOLATION
from meshcentral.plugins.errors import MeshError, SocketClosed
from meshcentral.plugins.web import Connection, SocketRoute

MAX_WAITING = 64
MAX_WAITING_BYTES = 256 * 1024

LINGER = 5.0
"""Seconds that a handler may spend on the last message of a peer that is gone before it is cancelled."""
LINGER_UNREAD = 60.0
"""The same while messages are still unread."""

log = logging.getLogger("meshcentral.websocket")


class Spawn(Protocol):
    """Starts a kept, named task; `Tasks.spawn` and `Server.spawn` are of this kind."""

    def __call__(self, coro: Coroutine[Any, Any, None], *, name: str, owner: str) -> asyncio.Task[None]: ...


class QueuedSocket:
    """Base of the sockets: receiving, waiting for room, and the end. Carriers add sending."""

    __slots__ = (
        "_connection",
        "_drainers",
        "_ended",
        "_inbox",
        "_inbox_bytes",
        "_loop",
        "_reader",
        "_reading_paused",
        "_taken_at",
        "_task",
        "_writable",
    )

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._inbox: deque[str | bytes] = deque()
        self._inbox_bytes = 0
        self._reader: asyncio.Future[None] | None = None
        self._reading_paused = False
        self._writable = True
        self._drainers: list[Callable[[], None]] | None = None
        self._ended = False
        """Nothing more will be received or sent."""
        self._taken_at = 0.0
        """Loop time of the last sign of life of the handler, kept only after the end."""
        self._task: asyncio.Task[None] | None = None

    @property
    def connection(self) -> Connection:
        return self._connection

    @property
    def closed(self) -> bool:
        return self._ended

    @property
    def writable(self) -> bool:
        return self._writable

    @property
    def handler(self) -> asyncio.Task[None] | None:
        """The task of the route's handler; None before `run_handler`."""
        return self._task

    async def receive(self) -> str | bytes:
        """The next message; SocketClosed when there is none and none will come."""
        while not self._inbox:
            if self._ended:
                raise SocketClosed("the socket is closed")
            if self._reader is not None:
                raise RuntimeError("a socket has one reader")
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        message = self._inbox.popleft()
        self._inbox_bytes -= len(message)
        if self._ended:
            self._taken_at = self._loop.time()
        elif (
            self._reading_paused and 2 * len(self._inbox) <= MAX_WAITING and 2 * self._inbox_bytes <= MAX_WAITING_BYTES
        ):
            self._reading_paused = False
            self._resume_reading()
        return message

    async def drain(self) -> None:
        """Wait until the carrier takes more; SocketClosed when it never will."""
        if not self._writable and not self._ended:
            room: asyncio.Future[None] = self._loop.create_future()
            self.when_writable(partial(_settle, room))
            await room
        if self._ended:
            raise SocketClosed("the socket is closed")

    def when_writable(self, callback: Callable[[], None]) -> None:
        """Call back once, soon after there is room again, or after the end."""
        if self._writable or self._ended:
            self._loop.call_soon(callback)
        elif self._drainers is None:
            self._drainers = [callback]
        else:
            self._drainers.append(callback)

    def trust(self) -> None:
        """The peer has proved itself. Only a carrier that bounds messages of strangers has something to do."""

    def run_handler(self, route: SocketRoute, spawn: Spawn) -> asyncio.Task[None]:
        """Start the route's handler on this socket. It is cancelled when the peer is gone, all messages were taken
        and it does not come to its end by itself (`receive` raises SocketClosed)."""
        self._task = spawn(self._handle(route), name=f"socket {self._connection.path}", owner="listeners")
        return self._task

    async def _handle(self, route: SocketRoute) -> None:
        code = GOING_AWAY
        try:
            await route.handler(self)
            code = NORMAL
        except SocketClosed:
            code = NORMAL
        except MeshError as error:
            log.info("socket %s of %s: %s", route.path, self._connection.remote_address, error)
            code = POLICY_VIOLATION
        except Exception:
            log.exception("the handler of socket %s failed", route.path)
            code = INTERNAL_ERROR
        finally:
            self.close(code)

    def send(self, message: str | bytes) -> None:
        raise AssertionError("a carrier decides")

    def send_text(self, message: bytes) -> None:
        raise AssertionError("a carrier decides")

    def send_parts(self, parts: Sequence[bytes]) -> None:
        raise AssertionError("a carrier decides")

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        raise AssertionError("a carrier decides")

    def abort(self) -> None:
        raise AssertionError("a carrier decides")

    def _pause_reading(self) -> None:
        """Ask the carrier to hold back what is not received yet."""

    def _resume_reading(self) -> None:
        """Undo `_pause_reading`."""

    def _deliver(self, message: str | bytes) -> None:
        """A message has come."""
        self._inbox.append(message)
        self._inbox_bytes += len(message)
        self._wake_reader()
        if not self._reading_paused and (len(self._inbox) > MAX_WAITING or self._inbox_bytes > MAX_WAITING_BYTES):
            self._reading_paused = True
            self._pause_reading()

    def _set_writable(self, writable: bool) -> None:
        self._writable = writable
        if writable and self._drainers:
            callbacks, self._drainers = self._drainers, None
            for callback in callbacks:
                self._loop.call_soon(callback)

    def _end(self) -> None:
        """The peer is gone. The reader learns of it after the last message."""
        if self._ended:
            return
        self._ended = True
        self._wake_reader()
        self._set_writable(True)
        if self._task is not None and not self._task.done():
            self._taken_at = self._loop.time()
            self._loop.call_later(LINGER, self._cancel_handler)

    def _wake_reader(self) -> None:
        if self._reader is not None:
            _settle(self._reader)

    def _cancel_handler(self) -> None:
        if self._task is None or self._task.done():
            return
        limit = LINGER_UNREAD if self._inbox else LINGER
        remaining = self._taken_at + limit - self._loop.time()
        if remaining > 0:
            self._loop.call_later(remaining, self._cancel_handler)
        else:
            self._task.cancel()


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
