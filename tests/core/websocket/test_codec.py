"""Golden frames, every chunking, every rule, and wsproto as the judge."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from wsproto.connection import Connection as Oracle
from wsproto.connection import ConnectionType
from wsproto.events import BytesMessage, CloseConnection, TextMessage
from wsproto.events import Ping as OraclePing
from wsproto.events import Pong as OraclePong
from wsproto.utilities import RemoteProtocolError

from meshcentral.core.websocket.codec import (
    BINARY,
    CLOSE,
    CONTINUATION,
    INVALID_TEXT,
    NO_STATUS,
    PING,
    PONG,
    PROTOCOL_ERROR,
    TEXT,
    TOO_BIG,
    Close,
    CutThroughDecoder,
    Event,
    FrameDecoder,
    MessageDecoder,
    Ping,
    Pong,
    Violation,
    encode_close,
    encode_frame,
    frame_header,
)
from meshcentral.core.websocket.mask import apply_mask

KEY = bytes.fromhex("37fa213d")
LIMIT = 1 << 20


def client_frame(opcode: int, payload: bytes, *, fin: bool = True, key: bytes = KEY) -> bytes:
    header = bytearray(frame_header(opcode, len(payload), fin=fin))
    header[1] |= 0x80
    return bytes(header) + key + apply_mask(payload, key)


def drip(decoder: FrameDecoder, wire: bytes) -> list[Event]:
    return [event for byte in wire for event in decoder.feed(bytes([byte]))]


def comparable(events: Iterable[Event]) -> list[object]:
    """Events with violations as (code, reason), which have no equality of their own."""
    return [(event.code, event.reason) if isinstance(event, Violation) else event for event in events]


def decode_both_ways(wire: bytes, limit: int = LIMIT) -> list[object]:
    """The events, after checking that one byte at a time gives the same."""
    whole = comparable(MessageDecoder(limit).feed(wire))
    assert comparable(drip(MessageDecoder(limit), wire)) == whole
    return whole


def violation_of(wire: bytes, limit: int = LIMIT) -> int:
    *_, last = decode_both_ways(wire, limit)
    assert isinstance(last, tuple), f"accepted: {last}"
    return last[0]


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        ("818537fa213d7f9f4d5158", ["Hello"]),
        ("828537fa213d7f9f4d5158", [b"Hello"]),
        ("898537fa213d7f9f4d5158", [Ping(b"Hello")]),
        ("8a8537fa213d7f9f4d5158", [Pong(b"Hello")]),
        ("818000000000", [""]),
        ("828000000000", [b""]),
        ("888000000000", [Close(NO_STATUS, "")]),
        ("88820000000003e8", [Close(1000, "")]),
    ],
)
def test_golden_frames(wire: str, expected: list[Event]) -> None:
    assert decode_both_ways(bytes.fromhex(wire)) == expected


@pytest.mark.parametrize("size", [125, 126, 127, 65535, 65536])
def test_every_form_of_the_length(size: int) -> None:
    payload = bytes(index % 251 for index in range(size))

    assert MessageDecoder(LIMIT).feed(client_frame(BINARY, payload)) == [payload]
    assert len(frame_header(BINARY, size)) == (2 if size < 126 else 4 if size < 65536 else 10)


def test_a_message_cut_at_every_offset() -> None:
    wire = client_frame(TEXT, "größe".encode()) + client_frame(PING, b"p") + client_frame(BINARY, bytes(200))
    expected = ["größe", Ping(b"p"), bytes(200)]

    for cut in range(len(wire) + 1):
        decoder = MessageDecoder(LIMIT)
        assert decoder.feed(wire[:cut]) + decoder.feed(wire[cut:]) == expected


def test_control_frames_inside_a_fragmented_message() -> None:
    euro = "€".encode()
    wire = (
        client_frame(TEXT, euro[:1], fin=False)
        + client_frame(PING, b"1")
        + client_frame(CONTINUATION, b"", fin=False)
        + client_frame(PONG, b"2")
        + client_frame(CONTINUATION, euro[1:])
        + client_frame(BINARY, b"next")
    )

    assert decode_both_ways(wire) == [Ping(b"1"), Pong(b"2"), "€", b"next"]


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(encode_frame(TEXT, b"unmasked"), id="unmasked"),
        pytest.param(b"\xc1\x80" + KEY, id="rsv1"),
        pytest.param(b"\xa1\x80" + KEY, id="rsv2"),
        pytest.param(b"\x91\x80" + KEY, id="rsv3"),
        pytest.param(b"\x83\x80" + KEY, id="opcode 3"),
        pytest.param(b"\x8b\x80" + KEY, id="opcode 11"),
        pytest.param(client_frame(CONTINUATION, b"x"), id="continuation of nothing"),
        pytest.param(client_frame(TEXT, b"x", fin=False) + client_frame(TEXT, b"y"), id="message in a message"),
        pytest.param(client_frame(PING, b"", fin=False), id="fragmented ping"),
        pytest.param(client_frame(CLOSE, b"", fin=False), id="fragmented close"),
        pytest.param(client_frame(PING, bytes(126)), id="long ping"),
        pytest.param(b"\x82\xfe\x00\x7d" + KEY, id="16-bit length for 125"),
        pytest.param(b"\x82\xff" + (0xFFFF).to_bytes(8, "big") + KEY, id="64-bit length for 65535"),
        pytest.param(b"\x82\xff" + (1 << 63).to_bytes(8, "big") + KEY, id="negative length"),
        pytest.param(client_frame(CLOSE, b"\x03"), id="half a close code"),
    ],
)
def test_protocol_errors(wire: bytes) -> None:
    assert violation_of(wire) == PROTOCOL_ERROR


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65535])
def test_close_codes_that_may_not_be_sent(code: int) -> None:
    assert violation_of(client_frame(CLOSE, code.to_bytes(2, "big"))) == PROTOCOL_ERROR


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 4999])
def test_close_codes_that_may_be_sent(code: int) -> None:
    assert decode_both_ways(client_frame(CLOSE, code.to_bytes(2, "big") + b"why")) == [Close(code, "why")]


@pytest.mark.parametrize(
    "payload", [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"ok\xe2\x82", b"\xf8\x88\x80\x80\x80"]
)
def test_invalid_text(payload: bytes) -> None:
    assert violation_of(client_frame(TEXT, payload)) == INVALID_TEXT
    assert violation_of(client_frame(CLOSE, b"\x03\xe8" + payload)) == INVALID_TEXT
    assert MessageDecoder(LIMIT).feed(client_frame(BINARY, payload)) == [payload]


def test_invalid_text_fails_before_the_frame_is_complete() -> None:
    wire = client_frame(TEXT, b"good \xf4\x90 and 100 more bytes" + bytes(100))
    decoder = MessageDecoder(LIMIT)
    header = 8

    assert decoder.feed(wire[: header + 6]) == []
    (violation,) = decoder.feed(wire[header + 6 : header + 7])
    assert isinstance(violation, Violation)
    assert violation.code == INVALID_TEXT


def test_a_message_over_the_limit_fails_at_its_header() -> None:
    announced = b"\x82\xff" + (1 << 40).to_bytes(8, "big") + KEY

    assert violation_of(announced, limit=1000) == TOO_BIG
    assert violation_of(client_frame(BINARY, bytes(1001)), limit=1000) == TOO_BIG
    assert decode_both_ways(client_frame(BINARY, bytes(1000)), limit=1000) == [bytes(1000)]


def test_fragments_count_together_against_the_limit() -> None:
    half = client_frame(BINARY, bytes(600), fin=False)

    assert violation_of(half + client_frame(CONTINUATION, bytes(401)), limit=1000) == TOO_BIG


def test_what_came_before_a_violation_is_delivered_and_nothing_after_it() -> None:
    wire = client_frame(TEXT, b"first") + b"\xff\xff" + client_frame(TEXT, b"second")

    assert decode_both_ways(wire) == ["first", (PROTOCOL_ERROR, "reserved bits are set")]


def test_a_decoder_is_deaf_after_the_close() -> None:
    decoder = MessageDecoder(LIMIT)

    assert decoder.feed(client_frame(CLOSE, b"") + client_frame(TEXT, b"late")) == [Close(NO_STATUS, "")]
    assert decoder.feed(b"\xff") == []


def test_close_frames_that_we_send() -> None:
    assert encode_close(1000) == bytes.fromhex("880203e8")
    assert encode_close(NO_STATUS) == bytes.fromhex("8800")
    cut = encode_close(1001, "é" * 100)
    assert len(cut) - 2 == 124, "the reason is cut between characters"
    assert cut[4:].decode() == "é" * 61


# Cut-through.


def forwarded(events: Iterable[Event]) -> bytes:
    return b"".join(event for event in events if isinstance(event, bytes))


def test_cut_through_forwards_each_piece_at_once() -> None:
    decoder = CutThroughDecoder()
    wire = client_frame(BINARY, bytes(range(256)) * 4096)
    header, key = wire[:10], wire[10:14]

    assert decoder.feed(header) == []
    assert decoder.feed(key) == [frame_header(BINARY, 1 << 20)]
    assert decoder.mid_frame
    assert decoder.feed(wire[14:17]) == [bytes([0, 1, 2])]
    assert decoder.feed(wire[17:22]) == [bytes([3, 4, 5, 6, 7])]
    assert forwarded(decoder.feed(wire[22:])) == (bytes(range(256)) * 4096)[8:]
    assert not decoder.mid_frame


def test_cut_through_keeps_opcode_fragments_and_control_frames_apart() -> None:
    wire = (
        client_frame(TEXT, b"ab", fin=False)
        + client_frame(PING, b"here")
        + client_frame(CONTINUATION, b"c")
        + client_frame(BINARY, b"")
        + client_frame(CLOSE, b"")
    )
    expected = frame_header(TEXT, 2, fin=False) + b"ab" + encode_frame(CONTINUATION, b"c") + encode_frame(BINARY, b"")

    for events in (CutThroughDecoder().feed(wire), drip(CutThroughDecoder(), wire)):
        assert forwarded(events) == expected
        assert [event for event in events if not isinstance(event, bytes)] == [Ping(b"here"), Close(NO_STATUS, "")]


@pytest.mark.parametrize(
    "wire", [client_frame(CONTINUATION, b"x"), client_frame(TEXT, b"x", fin=False) * 2, encode_frame(TEXT, b"x")]
)
def test_cut_through_refuses_what_message_mode_refuses(wire: bytes) -> None:
    last = CutThroughDecoder().feed(wire)[-1]

    assert isinstance(last, Violation)
    assert last.code == PROTOCOL_ERROR


def test_taking_over_at_every_offset_loses_nothing() -> None:
    wire = (
        client_frame(TEXT, "grün".encode(), fin=False)
        + client_frame(CONTINUATION, b"", fin=False)
        + client_frame(CONTINUATION, b" und blau")
        + client_frame(BINARY, b"tail")
    )
    expected: list[str | bytes] = ["grün und blau", b"tail"]

    for cut in range(len(wire) + 1):
        before = MessageDecoder(LIMIT)
        messages = [event for event in before.feed(wire[:cut]) if isinstance(event, (str, bytes))]
        after, frames = CutThroughDecoder.taking_over(before)
        messages += oracle_messages(frames + forwarded(after.feed(wire[cut:])))
        assert messages == expected, f"switched after {cut} bytes"


# wsproto, both directions.


def oracle_messages(server_frames: bytes) -> list[str | bytes]:
    """What an independent client makes of our frames."""
    oracle = Oracle(ConnectionType.CLIENT)
    oracle.receive_data(server_frames)
    messages: list[str | bytes] = []
    parts: list[str | bytes] = []
    for event in oracle.events():
        assert isinstance(event, (TextMessage, BytesMessage))
        parts.append(event.data if isinstance(event, TextMessage) else bytes(event.data))
        if event.message_finished:
            messages.append(parts[0][:0].join(parts))  # type: ignore[arg-type]
            parts.clear()
    return messages


def oracle_events(wire: bytes) -> list[object]:
    """What an independent server makes of client bytes: our events, a close or a violation as its code."""
    oracle = Oracle(ConnectionType.SERVER)
    events: list[object] = []
    parts: list[str | bytes] = []
    oracle.receive_data(wire)
    try:
        for event in oracle.events():
            if isinstance(event, (TextMessage, BytesMessage)):
                parts.append(event.data if isinstance(event, TextMessage) else bytes(event.data))
                if event.message_finished:
                    events.append(parts[0][:0].join(parts))  # type: ignore[arg-type]
                    parts.clear()
            elif isinstance(event, OraclePing):
                events.append(Ping(bytes(event.payload)))
            elif isinstance(event, OraclePong):
                events.append(Pong(bytes(event.payload)))
            elif isinstance(event, CloseConnection):
                events.append(int(event.code))
                break
    except RemoteProtocolError as error:
        events.append(int(error.event_hint.code) if error.event_hint else None)
    return events


messages = st.one_of(st.text(max_size=300), st.binary(max_size=300))
controls = st.one_of(st.builds(Ping, st.binary(max_size=125)), st.builds(Pong, st.binary(max_size=125)))


@given(st.lists(st.one_of(messages, controls), max_size=6), st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_what_an_independent_client_sends_arrives(sent: list[Event], chunks: list[int]) -> None:
    oracle = Oracle(ConnectionType.CLIENT)
    wire = bytearray()
    for event in sent:
        if isinstance(event, str):
            wire += oracle.send(TextMessage(data=event))
        elif isinstance(event, bytes):
            wire += oracle.send(BytesMessage(data=event))
        elif isinstance(event, Ping):
            wire += oracle.send(OraclePing(payload=event.payload))
        elif isinstance(event, Pong):
            wire += oracle.send(OraclePong(payload=event.payload))

    decoder = MessageDecoder(LIMIT)
    received: list[Event] = []
    turn = 0
    while wire:
        size = chunks[turn % len(chunks)]
        received += decoder.feed(bytes(wire[:size]))
        del wire[:size]
        turn += 1

    assert received == sent


@given(st.lists(messages, max_size=6))
def test_what_we_send_arrives_at_an_independent_client(sent: list[str | bytes]) -> None:
    wire = b"".join(
        encode_frame(TEXT, message.encode()) if isinstance(message, str) else encode_frame(BINARY, message)
        for message in sent
    )

    assert oracle_messages(wire) == sent


frames = st.builds(
    client_frame,
    st.sampled_from([CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG, 3, 12]),
    st.one_of(st.binary(max_size=130), st.text(max_size=40).map(str.encode)),
    fin=st.booleans(),
)


@settings(max_examples=300)
@given(st.lists(frames, max_size=6).map(b"".join))
@example(client_frame(CLOSE, b"\x03\xe8\xff"))
def test_we_judge_valid_and_invalid_frames_as_wsproto_does(wire: bytes) -> None:
    events = MessageDecoder(LIMIT).feed(wire)
    ours = [event.code if isinstance(event, (Close, Violation)) else event for event in events]

    assert ours == oracle_events(wire)


@settings(max_examples=300)
@given(st.lists(st.binary(max_size=40), max_size=12), st.booleans())
def test_random_bytes_never_raise_and_never_pile_up(chunks: list[bytes], cut_through: bool) -> None:
    decoder: FrameDecoder = CutThroughDecoder() if cut_through else MessageDecoder(64)
    whole: FrameDecoder = CutThroughDecoder() if cut_through else MessageDecoder(64)
    events = [event for chunk in chunks for event in decoder.feed(chunk)]

    assert len(decoder._rest) < 14 + 125
    ended = [event for event in events if isinstance(event, (Close, Violation))]
    assert ended == events[-1:][: len(ended)], "nothing follows the end"
    if not cut_through:
        assert comparable(whole.feed(b"".join(chunks))) == comparable(events)
        assert isinstance(decoder, MessageDecoder)
        assert decoder._message is None or len(decoder._message) <= 64
