"""The generator's frames, in any chunking; and its identities."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.generator.client import ClientSocket

HEAD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


class Transport:
    """Notes what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def abort(self) -> None:
        self.aborted = True


class Recorder(ClientSocket):
    """Notes what it is told."""

    __slots__ = ("log", "wire")

    def __init__(self) -> None:
        super().__init__("/agent.ashx")
        self.log: list[Any] = []
        self.wire = Transport()
        self.connection_made(self.wire)  # type: ignore[arg-type]

    def opened(self) -> None:
        self.log.append("opened")

    def message(self, payload: bytes) -> None:
        self.log.append(payload)

    def ponged(self) -> None:
        self.log.append("ponged")

    def ended(self, reason: str) -> None:
        self.log.append(("ended", reason))


def server_frame(opcode: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 0x10000:
        return bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big") + payload
    return bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big") + payload


@given(st.lists(st.integers(1, 400), min_size=0, max_size=6))
def test_frames_are_read_whatever_the_chunks(cuts: list[int]) -> None:
    payloads = [b"", b"x" * 125, b"y" * 126, b"z" * 300]
    wire = HEAD + b"".join(server_frame(2, payload) for payload in payloads) + server_frame(0xA, b"")
    client = Recorder()
    for cut in cuts:
        client.data_received(wire[:cut])
        wire = wire[cut:]
    client.data_received(wire)
    assert client.log == ["opened", *payloads, "ponged"]


def test_long_frames_byte_by_byte() -> None:
    client = Recorder()
    for byte in HEAD + server_frame(1, b"a" * 0x10001)[:20]:
        client.data_received(bytes((byte,)))
    client.data_received(b"a" * (0x10001 - 10))
    assert client.log == ["opened", b"a" * 0x10001]


def test_pings_are_answered_with_a_masked_pong() -> None:
    client = Recorder()
    client.data_received(HEAD + server_frame(9, b"hi"))
    pong = client.wire.written[-1]
    assert pong[:2] == bytes((0x8A, 0x82))
    assert bytes(byte ^ pong[2 + place] for place, byte in enumerate(pong[6:])) == b"hi"


@pytest.mark.parametrize(
    ("wire", "reason"),
    [
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "upgrade was refused"),
        (HEAD + b"\x02\x01x", "fragmented"),
        (HEAD + server_frame(8, b"\x03\xe8bye"), "bye"),
        (HEAD + server_frame(3, b""), "opcode 3"),
    ],
)
def test_what_a_server_must_not_do_ends_the_connection_once(wire: bytes, reason: str) -> None:
    client = Recorder()
    client.data_received(wire)
    client.connection_lost(None)
    ended = [entry for entry in client.log if isinstance(entry, tuple)]
    assert len(ended) == 1
    assert reason in ended[0][1]
    assert client.wire.aborted
