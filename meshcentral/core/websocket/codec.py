"""The WebSocket wire format, server side, without sockets (RFC 6455, sections 5 to 8).

A decoder takes received bytes in any chunking and returns events; it never raises. What the peer did wrong comes as
a last event, a `Violation`, so messages that arrived before it are not lost. After a `Close` or a `Violation` a
decoder is deaf.

Two decoders share the frame walk:

- `MessageDecoder` returns whole messages: text as `str`, binary as `bytes`. Only an unfinished message is held, and
  it is bounded by `max_message`; UTF-8 is checked as the bytes come in.
- `CutThroughDecoder` returns, as `bytes`, the server frames to write to a partner socket: each outgoing header as soon
  as the incoming one is complete, then the unmasked payload chunk by chunk. No frame is ever held. Text is not checked
  here: the endpoint that receives it does that.

No extension is negotiated, so reserved bits are refused.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import Final

from meshcentral.core.websocket.mask import apply_mask, rotate_key

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
PROTOCOL_ERROR: Final = 1002
NO_STATUS: Final = 1005
INVALID_TEXT: Final = 1007
POLICY_VIOLATION: Final = 1008
TOO_BIG: Final = 1009
INTERNAL_ERROR: Final = 1011

_OPCODES = frozenset({CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG})
_MAX_CONTROL = 125
_ASSIGNED_CODES = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014})


class Violation(Exception):
    """The peer broke the protocol; the last event of a decoder. `code` is the close code to answer with."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Ping:
    """A ping; to be answered with a pong of the same payload."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Pong:
    """A pong, solicited or not."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """The peer's close frame; `code` is 1005 when it carried none."""

    code: int
    reason: str


Event = str | bytes | Ping | Pong | Close | Violation


def frame_header(opcode: int, length: int, *, fin: bool = True) -> bytes:
    """The header of an unmasked (server) frame."""
    first = 0x80 | opcode if fin else opcode
    if length < 126:
        return bytes((first, length))
    if length < 0x10000:
        return bytes((first, 126)) + length.to_bytes(2, "big")
    return bytes((first, 127)) + length.to_bytes(8, "big")


def encode_frame(opcode: int, payload: bytes) -> bytes:
    """A whole, unfragmented, unmasked frame. Control payloads must be at most 125 bytes."""
    return frame_header(opcode, len(payload)) + payload


def encode_close(code: int, reason: str = "") -> bytes:
    """A close frame; the reason is cut at a character boundary to fit. `NO_STATUS` sends no body."""
    if code == NO_STATUS:
        return encode_frame(CLOSE, b"")
    text = reason.encode()[: _MAX_CONTROL - 2].decode("utf-8", "ignore").encode()
    return encode_frame(CLOSE, code.to_bytes(2, "big") + text)


class FrameDecoder:
    """Walks masked frames: headers, control frames and the order of data frames. Subclasses treat data payloads."""

    __slots__ = ("_due", "_ended", "_fin", "_key", "_kind", "_length", "_opcode", "_rest")

    def __init__(self) -> None:
        self._ended = False
        self._rest = b""
        """Bytes of an incomplete header or control frame."""
        self._kind = 0
        """TEXT or BINARY inside a message, else 0."""
        self._due = 0
        """Payload bytes of the current data frame that are still to come."""
        self._fin = True
        self._opcode = 0
        self._length = 0
        self._key = b""

    @property
    def mid_frame(self) -> bool:
        """A data frame's header was seen and part of its payload is still to come."""
        return self._due > 0

    def feed(self, data: bytes | memoryview) -> list[Event]:
        """Take received bytes; return what they completed. Never raises, and keeps no reference to `data`."""
        events: list[Event] = []
        if self._ended:
            return events
        if self._rest:
            data = self._rest + data
            self._rest = b""
        try:
            self._walk(memoryview(data), events)
        except Violation as violation:
            self._ended = True
            events.append(violation)
        return events

    def _walk(self, view: memoryview, events: list[Event]) -> None:
        position, end = 0, len(view)
        while position < end:
            if self._due:
                position = self._take_payload(view, position, end, events)
                continue
            start = self._read_header(view, position, end)
            if start == 0:
                self._rest = bytes(view[position:])
                return
            if self._opcode < CLOSE:
                self._begin_data(events)
                position = start
                continue
            position = start + self._length
            events.append(self._control(apply_mask(view[start:position], self._key)))
            if self._ended:
                return

    def _take_payload(self, view: memoryview, position: int, end: int, events: list[Event]) -> int:
        stop = min(end, position + self._due)
        taken = stop - position
        chunk = apply_mask(view[position:stop], self._key)
        self._due -= taken
        if self._due:
            self._key = rotate_key(self._key, taken)
        self._payload(chunk, events)
        return stop

    def _read_header(self, data: memoryview, position: int, end: int) -> int:
        """Parse one header; return where the payload starts, or 0 when more bytes are needed. A control frame counts
        as incomplete until its payload is there."""
        if end - position < 2:
            return 0
        first, second = data[position], data[position + 1]
        opcode, length = first & 0x0F, second & 0x7F
        if first & 0x70:
            raise Violation(PROTOCOL_ERROR, "reserved bits are set")
        if opcode not in _OPCODES:
            raise Violation(PROTOCOL_ERROR, f"unknown opcode {opcode}")
        if not second & 0x80:
            raise Violation(PROTOCOL_ERROR, "frame is not masked")
        if opcode >= CLOSE and not (first & 0x80 and length <= _MAX_CONTROL):
            raise Violation(PROTOCOL_ERROR, "control frame is fragmented or too long")
        start = position + 6
        if length == 126:
            start += 2
            if end < start:
                return 0
            length = _extended_length(data, position + 2, 2, least=126)
        elif length == 127:
            start += 8
            if end < start:
                return 0
            length = _extended_length(data, position + 2, 8, least=0x10000)
        if end < start or (opcode >= CLOSE and end < start + length):
            return 0
        self._opcode = opcode
        self._fin = first >= 0x80
        self._length = length
        self._key = bytes(data[start - 4 : start])
        return start

    def _begin_data(self, events: list[Event]) -> None:
        """Check the place of a data frame in its message, then let the subclass begin it."""
        if self._opcode == CONTINUATION:
            if not self._kind:
                raise Violation(PROTOCOL_ERROR, "continuation without a message")
        elif self._kind:
            raise Violation(PROTOCOL_ERROR, "new message inside a fragmented one")
        else:
            self._kind = self._opcode
        self._begin(events)
        self._due = self._length
        if not self._due:
            self._payload(b"", events)

    def _control(self, payload: bytes) -> Ping | Pong | Close:
        if self._opcode == PING:
            return Ping(payload)
        if self._opcode == PONG:
            return Pong(payload)
        close = _parse_close(payload)
        self._ended = True
        return close

    def _begin(self, events: list[Event]) -> None:
        """A data frame's header is complete (`_kind`, `_opcode`, `_fin`, `_length`)."""
        raise AssertionError("a subclass decides")

    def _payload(self, chunk: bytes, events: list[Event]) -> None:
        """Unmasked payload; the frame is complete when `_due` is 0, the message when `_fin` is set as well."""
        raise AssertionError("a subclass decides")


class MessageDecoder(FrameDecoder):
    """Returns whole messages: `str` for text, `bytes` for binary."""

    __slots__ = ("_message", "_utf8", "max_message")

    def __init__(self, max_message: int) -> None:
        super().__init__()
        self.max_message = max_message
        """Bytes; a change counts from the next frame on."""
        self._message: bytearray | None = None
        """What has come of a message in several pieces; None when there is none."""
        self._utf8: codecs.IncrementalDecoder | None = None

    def _begin(self, events: list[Event]) -> None:
        held = len(self._message) if self._message is not None else 0
        if held + self._length > self.max_message:
            raise Violation(TOO_BIG, f"message is over {self.max_message} bytes")

    def _payload(self, chunk: bytes, events: list[Event]) -> None:
        complete = self._fin and not self._due
        try:
            if self._message is None and complete:
                events.append(chunk if self._kind == BINARY else chunk.decode())
                self._kind = 0
            else:
                self._collect(chunk, complete, events)
        except UnicodeDecodeError:
            raise Violation(INVALID_TEXT, "text is not valid UTF-8") from None

    def _collect(self, chunk: bytes, complete: bool, events: list[Event]) -> None:
        if self._message is None:
            self._message = bytearray()
            if self._kind == TEXT:
                self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._message += chunk
        if self._utf8 is not None:
            self._utf8.decode(chunk, complete)
        if complete:
            events.append(bytes(self._message) if self._kind == BINARY else self._message.decode())
            self._message = self._utf8 = None
            self._kind = 0


class CutThroughDecoder(FrameDecoder):
    """Returns server frames, as they come in, for the partner of a relayed pair."""

    __slots__ = ()

    @classmethod
    def taking_over(cls, decoder: MessageDecoder) -> tuple[CutThroughDecoder, bytes]:
        """Go on where a message decoder stands. Also returns the frames to write first: what was held of an
        unfinished message leaves as a fragment, and the rest of its frame as a continuation."""
        new = cls()
        for name in FrameDecoder.__slots__:
            setattr(new, name, getattr(decoder, name))
        held = bytes(decoder._message or b"")
        opcode = decoder._kind
        frames = b""
        if decoder._message is not None and (held or not decoder._due):
            frames = frame_header(opcode, len(held), fin=False) + held
            opcode = CONTINUATION
        if decoder._due:
            frames += frame_header(opcode, decoder._due, fin=decoder._fin)
        return new, frames

    def _begin(self, events: list[Event]) -> None:
        events.append(frame_header(self._opcode, self._length, fin=self._fin))

    def _payload(self, chunk: bytes, events: list[Event]) -> None:
        if chunk:
            events.append(chunk)
        if self._fin and not self._due:
            self._kind = 0


def _extended_length(data: memoryview, offset: int, size: int, *, least: int) -> int:
    length = int.from_bytes(data[offset : offset + size], "big")
    if length < least or length >> 63:
        raise Violation(PROTOCOL_ERROR, "length is not encoded in its shortest form")
    return length


def _parse_close(payload: bytes) -> Close:
    if not payload:
        return Close(NO_STATUS, "")
    if len(payload) == 1:
        raise Violation(PROTOCOL_ERROR, "close frame with half a code")
    code = int.from_bytes(payload[:2], "big")
    if code not in _ASSIGNED_CODES and not 3000 <= code <= 4999:
        raise Violation(PROTOCOL_ERROR, f"close code {code} may not be sent")
    try:
        return Close(code, payload[2:].decode())
    except UnicodeDecodeError:
        raise Violation(INVALID_TEXT, "close reason is not valid UTF-8") from None
