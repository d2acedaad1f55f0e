"""The protocol class: back pressure, silence, closing, and joined pairs, on real loopback connections."""

from __future__ import annotations

import asyncio
import hashlib

import psutil
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from meshcentral.core.websocket import protocol
from meshcentral.core.websocket.codec import BINARY, PING, TEXT, MessageDecoder, encode_close, encode_frame
from meshcentral.core.websocket.memory import memory_pair
from meshcentral.core.websocket.protocol import Timing, WebSocket, WebSockets, join
from meshcentral.plugins.errors import SocketClosed
from meshcentral.plugins.web import Access, Connection, Socket, SocketRoute

CONNECTION = Connection(
    method="GET", path="/unit.ashx", query={}, headers={}, remote_address="", remote_port=0, secure=True
)
MEBIBYTE = 1 << 20
AGENT = Timing(idle=150)


class Wire(asyncio.Transport):
    """A transport that keeps what is written, for what the network cannot show: the order of single writes."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.reading = True
        self.state = "open"
        self.buffered = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.state != "open"

    def close(self) -> None:
        self.state = "closed"

    def abort(self) -> None:
        self.state = "aborted"

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def taken(self) -> bytes:
        taken = bytes(self.written)
        self.written.clear()
        return taken


def on_wire(*, timing: Timing = AGENT, max_buffer: int = MEBIBYTE) -> tuple[WebSocket, Wire]:
    wire = Wire()
    websocket = WebSocket(CONNECTION, max_message=MEBIBYTE, max_buffer=max_buffer, timing=timing, siblings=WebSockets())
    websocket.connection_made(wire)
    return websocket, wire


def masked(opcode: int, payload: bytes) -> bytes:
    """A client frame with the key of zeros."""
    frame = bytearray(encode_frame(opcode, payload))
    frame[1] |= 0x80
    header = {126: 4, 127: 10}.get(frame[1] & 0x7F, 2)
    frame[header:header] = bytes(4)
    return bytes(frame)


async def test_a_ping_is_answered_and_a_close_is_echoed() -> None:
    websocket, wire = on_wire()
    websocket.feed(masked(PING, b"are you there"))
    assert wire.taken() == b"\x8a\x0dare you there"

    websocket.feed(masked(8, b"\x0f\xa0bye"))
    assert wire.taken() == encode_close(4000)
    assert wire.state == "closed"
    websocket.send("late")
    assert wire.taken() == b""


@pytest.mark.parametrize("sizes", [[], [0], [5], [1, 2, 3], [70_000, 0, 1], [1000] * 300, [300_000]])
async def test_a_message_in_parts_is_one_frame(sizes: list[int]) -> None:
    websocket, wire = on_wire()
    parts = [bytes([65 + index % 26]) * size for index, size in enumerate(sizes)]
    websocket.send_parts(parts)
    assert wire.taken() == encode_frame(TEXT, b"".join(parts))


async def test_a_violation_is_told_and_ends_the_connection() -> None:
    websocket, wire = on_wire()
    websocket.feed(masked(BINARY, b"before") + b"\xff\xff")

    assert await websocket.receive() == b"before"
    with pytest.raises(SocketClosed):
        await websocket.receive()
    assert wire.taken() == encode_close(1002, "reserved bits are set")
    assert wire.state == "closed"


async def test_our_close_waits_for_the_answer_and_then_no_longer() -> None:
    answered, answered_wire = on_wire()
    answered.close(1001, "bye")
    assert answered_wire.taken() == encode_close(1001, "bye")
    assert answered.closed
    assert answered_wire.state == "open"
    answered.feed(masked(BINARY, b"crossed on the way") + masked(8, b"\x03\xe9"))
    assert answered_wire.taken() == b""
    assert answered_wire.state == "closed"

    silent, silent_wire = on_wire()
    silent.close()
    assert silent.due <= asyncio.get_running_loop().time() + protocol.CLOSE_TIMEOUT
    silent.expire(silent.due)
    assert silent_wire.state == "aborted"


async def test_a_full_queue_stops_reading_until_it_is_half_empty() -> None:
    websocket, wire = on_wire()
    websocket.feed(masked(BINARY, b"x") * 65)
    assert not wire.reading

    for _ in range(32):
        await websocket.receive()
    assert not wire.reading
    await websocket.receive()
    assert wire.reading


async def test_big_messages_stop_reading_by_their_bytes() -> None:
    websocket, wire = on_wire()
    websocket.feed(masked(BINARY, bytes(300_000)))
    assert not wire.reading
    await websocket.receive()
    assert wire.reading


async def test_a_peer_that_takes_nothing_is_dropped() -> None:
    websocket, wire = on_wire(max_buffer=1000)
    wire.buffered = 2000
    websocket.send("the transport has not complained yet")
    assert wire.state == "open"
    websocket.pause_writing()
    assert not websocket.writable
    websocket.send("one more")
    assert wire.state == "aborted"


async def test_who_takes_nothing_is_owed_one_pong() -> None:
    websocket, wire = on_wire()
    websocket.pause_writing()
    for number in range(1000):
        websocket.feed(masked(PING, b"%d" % number))
    assert wire.taken() == b""
    websocket.resume_writing()
    assert wire.taken() == b"\x8a\x03999"
    websocket.pause_writing()
    websocket.resume_writing()
    assert wire.taken() == b""


async def test_long_messages_are_for_those_who_have_proved_themselves() -> None:
    def stranger() -> tuple[WebSocket, Wire]:
        wire = Wire()
        websocket = WebSocket(
            CONNECTION, max_message=1000, max_untrusted=10, max_buffer=100, timing=AGENT, siblings=WebSockets()
        )
        websocket.connection_made(wire)
        return websocket, wire

    websocket, wire = stranger()
    websocket.feed(masked(BINARY, bytes(11))[:8])
    assert wire.taken() == encode_close(1009, "message is over 10 bytes")

    websocket, wire = stranger()
    websocket.feed(masked(BINARY, bytes(10)))
    websocket.trust()
    websocket.feed(masked(BINARY, bytes(1000)))
    assert [len(await websocket.receive()), len(await websocket.receive())] == [10, 1000]
    websocket.feed(masked(BINARY, bytes(1001)))
    assert wire.taken() == encode_close(1009, "message is over 1000 bytes")


async def test_silence() -> None:
    agent, agent_wire = on_wire(timing=AGENT)
    user, user_wire = on_wire(timing=Timing(idle=150, ping_after=60))
    start = agent._heard_at
    assert agent.due == start + 150
    agent.expire(start + 149)
    assert agent_wire.state == "open"
    agent.expire(start + 150)
    assert agent_wire.state == "aborted"

    start = user._heard_at
    user.expire(start + 61)
    assert user_wire.taken() == encode_frame(PING, b"")
    assert user.due == pytest.approx(start + 150)
    user.feed(masked(10, b""))
    user.expire(start + 150)
    assert user_wire.state == "open", "the pong counts"


async def test_a_peer_that_we_hold_back_is_not_silent() -> None:
    websocket, wire = on_wire(timing=AGENT)
    websocket.feed(masked(BINARY, bytes(300_000)))
    websocket.expire(websocket._heard_at + 1000)
    assert wire.state == "open"


# Joined pairs.


async def test_our_own_frames_wait_for_the_end_of_a_forwarded_one() -> None:
    first, first_wire = on_wire()
    second, second_wire = on_wire()
    join(first, second)
    frame = masked(BINARY, b"0123456789")

    first.feed(frame[:9])
    assert second_wire.taken() == b"\x82\x0a012"
    second.feed(masked(PING, b"?"))
    assert second_wire.taken() == b"", "a pong inside a frame would be data"
    first.feed(frame[9:])
    assert second_wire.taken() == b"3456789" + b"\x8a\x01?"
    assert first_wire.taken() == b""


async def test_what_was_received_before_the_join_goes_first() -> None:
    first, _ = on_wire()
    second, second_wire = on_wire()
    first.feed(masked(BINARY, b"one") + masked(BINARY, b"two")[:7])
    join(first, second)
    first.feed(masked(BINARY, b"two")[7:])

    events = []
    decoder = MessageDecoder(100)
    for byte in masked_again(second_wire.taken()):
        events += decoder.feed(bytes([byte]))
    assert events == [b"one", b"two"]


def masked_again(server_frames: bytes) -> bytes:
    """Short server frames as a client would send them, with the key of zeros."""
    wire = bytearray()
    while server_frames:
        size = 2 + server_frames[1]
        wire += server_frames[:1] + bytes([server_frames[1] | 0x80]) + bytes(4) + server_frames[2:size]
        server_frames = server_frames[size:]
    return bytes(wire)


async def test_the_end_of_one_is_the_end_of_the_other() -> None:
    first, _ = on_wire()
    second, second_wire = on_wire()
    join(first, second)
    first.feed(masked(8, b"\x0f\xa1"))
    assert second_wire.taken() == encode_close(4001)
    with pytest.raises(SocketClosed):
        await second.receive()

    first, _ = on_wire()
    second, second_wire = on_wire()
    join(first, second)
    first.feed(masked(BINARY, b"half")[:8])
    first.connection_lost(None)
    assert second_wire.state == "aborted", "half a frame cannot be ended"


async def test_joining_a_lost_socket_ends_the_other() -> None:
    first, _ = on_wire()
    second, second_wire = on_wire()
    first.connection_lost(None)
    join(first, second)
    assert second.closed
    assert second_wire.taken() == encode_close(1001)


async def test_a_partner_that_does_not_take_holds_the_source_back() -> None:
    first, first_wire = on_wire()
    second, _ = on_wire()
    join(first, second)
    second.pause_writing()
    assert not first_wire.reading
    second.resume_writing()
    assert first_wire.reading


class Pairs:
    """Joins every two sockets that connect."""

    def __init__(self) -> None:
        self.waiting: Socket | None = None

    async def __call__(self, socket: Socket) -> None:
        if self.waiting is None:
            self.waiting = socket
        else:
            first, self.waiting = self.waiting, None
            assert isinstance(first, WebSocket)
            assert isinstance(socket, WebSocket)
            join(first, socket)
        await socket.receive()


async def open_pair(host) -> tuple[ClientConnection, ClientConnection]:
    clients = [
        await connect(host.wss("/pair.ashx"), ssl=host.client_context, max_size=None, compression=None)
        for _ in range(2)
    ]
    return clients[0], clients[1]


async def test_a_pair_forwards_the_same_bytes_both_ways(hosting) -> None:
    async with hosting(sockets=[SocketRoute("/pair.ashx", Pairs(), Access.PUBLIC)]) as host:
        first, second = await open_pair(host)
        big = hashlib.shake_128(b"seed").digest(MEBIBYTE)
        for sender, receiver in ((first, second), (second, first)):
            for message in ("größe", b"", b"x", big):
                await sender.send(message)
                assert await receiver.recv() == message
            await sender.send(["in ", "several ", "pieces"])
            assert await receiver.recv() == "in several pieces"
        await first.close(4002)
        with pytest.raises(ConnectionClosed) as closed:
            await second.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4002


async def flood(client: ClientConnection, chunk: bytes, sent: list[int]) -> None:
    while True:
        await client.send(chunk)
        sent[0] += len(chunk)


async def until_steady(counter: list[int]) -> None:
    """Wait until the sender is stuck: nothing more was taken for a while."""
    last = -1
    while counter[0] != last or not counter[0]:
        last = counter[0]
        await asyncio.sleep(0.3)


@pytest.mark.parametrize("joined", [True, False], ids=["pair", "handler that does not read"])
async def test_a_stalled_reader_stops_the_sender_and_not_the_memory(hosting, joined: bool) -> None:
    async def deaf(socket: Socket) -> None:
        await asyncio.Event().wait()

    route = SocketRoute("/pair.ashx", Pairs() if joined else deaf, Access.PUBLIC)
    async with hosting(sockets=[route]) as host:
        first, second = await open_pair(host)
        sent = [0]
        before = psutil.Process().memory_info().rss
        sender = asyncio.get_running_loop().create_task(flood(first, bytes(65536), sent))
        await until_steady(sent)
        grown = psutil.Process().memory_info().rss - before
        sender.cancel()
        await asyncio.wait([sender])
        second.transport.abort()
        first.transport.abort()

        assert sent[0] < 64 * MEBIBYTE, "the sender was held back"
        assert grown < 40 * MEBIBYTE


def test_a_memory_pair_and_a_network_socket_are_the_same_to_a_handler() -> None:
    public = {name for name in dir(Socket) if not name.startswith("_")}
    assert public <= set(dir(WebSocket))

    async def ends() -> None:
        assert all(public <= set(dir(end)) for end in memory_pair(CONNECTION))

    asyncio.run(ends())
