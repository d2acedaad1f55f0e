"""The WebSocket of a network connection: the codec on an asyncio transport.

Synchronous from end to end: received bytes become messages in the reader's queue without a task, a lock or an event
object, and `send` writes to the transport at once. All sockets of a server receive into one buffer: a transport fills
it and has it consumed in one go, so nothing large is allocated per read.

Two connected sockets can be joined (`join`): from then on what one receives is forwarded to the other by the
cut-through decoder. Frames that we send ourselves on a joined socket (pongs, the close) wait until no forwarded frame
is half written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from meshcentral.core.websocket.codec import (
    BINARY,
    GOING_AWAY,
    NO_STATUS,
    NORMAL,
    PING,
    PONG,
    TEXT,
    Close,
    CutThroughDecoder,
    Event,
    MessageDecoder,
    Ping,
    Violation,
    encode_close,
    encode_frame,
    frame_header,
)
from meshcentral.core.websocket.queued import QueuedSocket, log
from meshcentral.core.websocket.sweep import Sweep
from meshcentral.plugins.web import Connection

CLOSE_TIMEOUT = 5.0
"""Seconds that a peer has to answer our close frame, and to take what is still buffered for it."""

RECEIVE_BUFFER = 256 * 1024
"""Bytes; as much as uvloop reads at once."""

PIECE = 64 * 1024
"""Bytes of a long message that are written at once: four TLS records."""


@dataclass(frozen=True, slots=True)
class Timing:
    """When a silent peer is pinged and when it is dropped, in seconds."""

    idle: float = 150.0
    ping_after: float | None = None
    """None: the peer is the one that pings (agents do, each 120 s)."""


class WebSockets(Sweep["WebSocket"]):
    """The open WebSockets of a server, with what they share: the timer and the receive buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.receive_buffer = memoryview(bytearray(RECEIVE_BUFFER))


class WebSocket(QueuedSocket, asyncio.BufferedProtocol):
    """An accepted WebSocket on a transport; implements `meshcentral.plugins.web.Socket`."""

    __slots__ = (
        "_closing",
        "_decoder",
        "_forwarding",
        "_heard_at",
        "_max_buffer",
        "_max_message",
        "_owed_pong",
        "_partner",
        "_postponed",
        "_siblings",
        "_timing",
        "_transport",
        "due",
    )

    def __init__(
        self,
        connection: Connection,
        *,
        max_message: int,
        max_buffer: int,
        timing: Timing,
        siblings: WebSockets,
        max_untrusted: int | None = None,
    ) -> None:
        """`max_untrusted` is the longest message before `trust`, `max_message` the longest after it."""
        super().__init__(connection)
        self._max_message = max_message
        self._decoder: MessageDecoder | CutThroughDecoder = MessageDecoder(
            max_message if max_untrusted is None else max_untrusted
        )
        self._max_buffer = max_buffer
        self._timing = timing
        self._siblings = siblings
        self._transport: asyncio.Transport | None = None
        self._closing = False
        """Our close frame is on its way."""
        self._heard_at = self._loop.time()
        self.due = 0.0
        self._partner: WebSocket | None = None
        self._forwarding = False
        """Half a frame from the partner is written."""
        self._postponed: bytes = b""
        """Frames of our own that wait for the end of it."""
        self._owed_pong: bytes | None = None
        """Payload of the latest ping of a peer that takes nothing."""

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._schedule()
        self._siblings.add(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._siblings.receive_buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.feed(self._siblings.receive_buffer[:nbytes])

    def feed(self, data: bytes | memoryview) -> None:
        """Take received bytes; no reference to them is kept."""
        self._heard_at = self._loop.time()
        events = self._decoder.feed(data)
        if self._partner is not None:
            self._forward(events, self._partner)
            return
        for event in events:
            if isinstance(event, (bytes, str)):
                if not self._closing:
                    self._deliver(event)
            else:
                self._control(event)

    def pause_writing(self) -> None:
        self._set_writable(False)
        if self._partner is not None:
            self._partner._hold_reading()

    def resume_writing(self) -> None:
        self._set_writable(True)
        if (payload := self._owed_pong) is not None:
            self._owed_pong = None
            self._write_own(encode_frame(PONG, payload))
        if self._partner is not None:
            self._partner._release_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._siblings.discard(self)
        partner, self._partner = self._partner, None
        if partner is not None:
            partner._lose_partner()
        self._end()

    def expire(self, now: float) -> None:
        """The sweep looks at this socket: drop it, ping it, or let it be."""
        silent = 0.0 if self._reading_paused else now - self._heard_at
        if self._closing or silent >= self._timing.idle:
            self.abort()
            return
        if self._timing.ping_after is not None and silent >= self._timing.ping_after:
            self._write_own(encode_frame(PING, b""))
            self.due = now + self._timing.idle - silent
            return
        self._schedule()

    def _schedule(self) -> None:
        since = self._loop.time() if self._reading_paused else self._heard_at
        self.due = since + (self._timing.ping_after or self._timing.idle)

    # The handler's side.

    @property
    def closed(self) -> bool:
        return self._ended or self._closing

    def send(self, message: str | bytes) -> None:
        """Write a text or binary message; the peer is dropped when too much waits for it already."""
        if isinstance(message, str):
            self._write(encode_frame(TEXT, message.encode()))
        else:
            self._write(encode_frame(BINARY, message))

    def send_text(self, message: bytes) -> None:
        """Write an encoded text message."""
        self._write(encode_frame(TEXT, message))

    def send_parts(self, parts: Sequence[bytes]) -> None:
        """Write a long text message in pieces that the heap serves again and again; every copy of megabytes would be
        mapped afresh and cost as much as encrypting it."""
        piece = [frame_header(TEXT, sum(map(len, parts)))]
        size = 0
        for part in parts:
            piece.append(part)
            size += len(part)
            if size >= PIECE:
                self._write(b"".join(piece))
                piece, size = [], 0
        self._write(b"".join(piece))

    def trust(self) -> None:
        """Take messages as long as the route allows."""
        if isinstance(self._decoder, MessageDecoder):
            self._decoder.max_message = self._max_message

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Send a close frame and wait a few seconds for the peer's."""
        if self.closed:
            return
        self._write_own(encode_close(code, reason))
        self._start_closing()

    def abort(self) -> None:
        """Drop the transport now; `_end` follows through `connection_lost`."""
        if self._transport is not None:
            self._transport.abort()
            self._closing = True

    def _start_closing(self) -> None:
        """From now on messages are neither sent nor taken; the peer's close frame is still read."""
        self._closing = True
        self.due = self._loop.time() + CLOSE_TIMEOUT
        self._release_reading()
        self._end()

    def _write(self, frame: bytes) -> None:
        transport = self._transport
        if transport is None or self._closing:
            return
        transport.write(frame)
        if not self._writable and transport.get_write_buffer_size() > self._max_buffer:
            log.info("socket %s of %s takes nothing: dropped", self._connection.path, self._connection.remote_address)
            self.abort()

    def _control(self, event: Event) -> None:
        if isinstance(event, Ping):
            self._answer_ping(event.payload)
        elif isinstance(event, Close):
            self._peer_closed(event.code)
        elif isinstance(event, Violation):
            log.info("socket %s of %s: %s", self._connection.path, self._connection.remote_address, event.reason)
            self.close(event.code, event.reason)
            self._finish()

    def _answer_ping(self, payload: bytes) -> None:
        """A peer that takes nothing is owed the answer to its latest ping only (RFC 6455, 5.5.3), so that a flood of
        pings does not fill its buffer."""
        if self._writable:
            self._write_own(encode_frame(PONG, payload))
        else:
            self._owed_pong = payload

    def _peer_closed(self, code: int) -> None:
        """Answer the peer's close with its own code (unless it is the answer to ours) and hang up."""
        if not self._closing:
            self._write_own(encode_close(code))
        self._finish()

    def _finish(self) -> None:
        """Both sides have said their last: let the transport flush and close, but not for ever."""
        self._start_closing()
        if self._transport is not None:
            self._transport.close()

    def _write_own(self, frame: bytes) -> None:
        """Write a control frame, after the forwarded frame that is under way."""
        if not self._forwarding:
            self._write(frame)
        elif len(self._postponed) + len(frame) > self._max_buffer:
            self.abort()
        else:
            self._postponed += frame

    def _hold_reading(self) -> None:
        if not self._reading_paused:
            self._reading_paused = True
            self._pause_reading()

    def _release_reading(self) -> None:
        if self._reading_paused:
            self._reading_paused = False
            self._resume_reading()

    def _pause_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        self._heard_at = self._loop.time()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    # Cut-through.

    def _start_forwarding(self, partner: WebSocket) -> None:
        """Make this socket a source: send on what was received, then let bytes through."""
        while self._inbox:
            partner.send(self._inbox.popleft())
        self._inbox_bytes = 0
        if self.closed:
            partner._lose_partner()
            return
        if isinstance(self._decoder, MessageDecoder):
            self._decoder, frames = CutThroughDecoder.taking_over(self._decoder)
            partner._write_forwarded(frames, unfinished=self._decoder.mid_frame)
        self._partner = partner
        if partner._writable:
            self._release_reading()
        else:
            self._hold_reading()

    def _forward(self, events: list[Event], partner: WebSocket) -> None:
        chunks = [event for event in events if isinstance(event, bytes)]
        if chunks:
            partner._write_forwarded(b"".join(chunks), unfinished=self._decoder.mid_frame)
        for event in events:
            if not isinstance(event, (bytes, str)):
                self._control(event)
                if isinstance(event, Close):
                    partner._lose_partner(event.code)
                elif isinstance(event, Violation):
                    partner._lose_partner()

    def _write_forwarded(self, data: bytes, *, unfinished: bool) -> None:
        if self._transport is None or self._closing:
            return
        self._forwarding = unfinished
        if not unfinished and self._postponed:
            data, self._postponed = data + self._postponed, b""
        if data:
            self._transport.write(data)

    def _lose_partner(self, code: int = GOING_AWAY) -> None:
        """The other side has ended: end here as well; half a frame cannot be ended properly."""
        self._partner = None
        if self._forwarding:
            self.abort()
        else:
            self.close(NORMAL if code == NO_STATUS else code)


def join(first: WebSocket, second: WebSocket) -> None:
    """Forward everything between two connected sockets, in both directions, until one of them ends; then the other
    is closed. Their handlers keep waiting in `receive`, which raises SocketClosed at the end."""
    first._start_forwarding(second)
    second._start_forwarding(first)
