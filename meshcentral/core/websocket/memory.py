"""A pair of sockets inside the process: tests and offline commands talk to socket handlers through it."""

from __future__ import annotations

from collections.abc import Sequence

from meshcentral.core.websocket.codec import NORMAL
from meshcentral.core.websocket.queued import QueuedSocket
from meshcentral.plugins.web import Connection

DEFAULT_MAX_BUFFER = 16 * 1024 * 1024


class MemorySocket(QueuedSocket):
    """One end of a pair. What is sent is in the other end's queue at once; a reader that falls behind makes this end
    unwritable, and one that lets `max_buffer` bytes wait loses the pair, as a real peer would."""

    __slots__ = ("_max_buffer", "_partner")

    def __init__(self, connection: Connection, max_buffer: int) -> None:
        super().__init__(connection)
        self._max_buffer = max_buffer
        self._partner = self

    def join(self, partner: MemorySocket) -> None:
        """Make two ends a pair."""
        self._partner, partner._partner = partner, self

    def send(self, message: str | bytes) -> None:
        """Put a message into the other end's queue."""
        if self._ended:
            return
        partner = self._partner
        if partner._inbox_bytes + len(message) > self._max_buffer:
            self.abort()
            return
        partner._deliver(message)

    def send_text(self, message: bytes) -> None:
        """Put an encoded text message into the other end's queue, as the `str` that it is."""
        self.send(message.decode())

    def send_parts(self, parts: Sequence[bytes]) -> None:
        """Put an encoded text message into the other end's queue, as the `str` that it is."""
        self.send_text(b"".join(parts))

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """End both sides; what was sent before can still be received."""
        self._end()
        self._partner._end()

    def abort(self) -> None:
        """End both sides."""
        self.close()

    def _pause_reading(self) -> None:
        self._partner._set_writable(False)

    def _resume_reading(self) -> None:
        self._partner._set_writable(True)


def memory_pair(connection: Connection, *, max_buffer: int = DEFAULT_MAX_BUFFER) -> tuple[MemorySocket, MemorySocket]:
    """Return the client's and the server's end of a new in-memory socket. Needs a running event loop.

    The server's end is what a handler gets: `server.run_handler(route, spawn)` starts one.
    """
    client, server = MemorySocket(connection, max_buffer), MemorySocket(connection, max_buffer)
    client.join(server)
    return client, server
