from __future__ import annotations

import hashlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcentral_protocol import agent_commands as commands
from meshcentral_protocol.errors import CommandError

hashes = st.binary(min_size=48, max_size=48)
requests = st.integers(0, 0xFFFF)
H = bytes(range(48))


@pytest.mark.parametrize(
    ("command", "wire"),
    [
        (commands.CoreModule(), "000a0000"),
        (commands.CoreModule(b"\0\0\0\0x", H, 7), "000a0007" + H.hex() + "0000000078"),
        (commands.CoreHash(), "000b0000"),
        (commands.CoreHash(H, 1), "000b0001" + H.hex()),
        (commands.AgentHash(), "000c0000"),
        (commands.AgentHash(commands.NO_HASH), "000c0000" + "00" * 48),
        (commands.AgentUpdate(), "000d0000"),
        (commands.AgentUpdate(H), "000d0000" + H.hex()),
        (commands.UpdateBlock(), "000e0001"),
        (commands.UpdateBlock(b"block"), "000e0001626c6f636b"),
        (commands.AgentTag("desk"), "000f6465736b"),
        (commands.CoreOk(), "00100000"),
        (commands.CompressedCore(H, b"data", 2), "00140002" + H.hex() + "64617461"),
        (commands.CoreData(b"\x03\xe8raw"), "03e8726177"),
    ],
    ids=repr,
)
def test_layouts(command, wire):
    assert command.encode().hex() == wire
    assert commands.decode(bytes.fromhex(wire)) == command


@given(
    st.one_of(
        st.builds(commands.CoreModule, st.binary(), hashes, requests),
        st.builds(commands.CompressedCore, hashes, st.binary(), requests),
        st.builds(commands.CoreHash, st.none() | hashes, requests),
        st.builds(commands.AgentHash, st.none() | hashes, requests),
        st.builds(commands.AgentUpdate, st.none() | hashes, requests),
        st.builds(commands.UpdateBlock, st.binary(), requests),
        st.builds(commands.AgentTag, st.text().filter(lambda text: not text.endswith("\0"))),
        st.builds(commands.CoreOk, requests),
    )
)
def test_commands_round_trip(command):
    assert commands.decode(command.encode()) == command


def test_a_core_has_a_prefix_and_the_hash_covers_it():
    core = commands.make_core("ä")
    assert core == b"\0\0\0\0\xc3\xa4"
    push = commands.CoreModule.decode(commands.CoreModule(core).encode())
    assert push.hash == commands.core_hash(core) == hashlib.sha384(core).digest()
    assert push.intact
    assert not commands.CoreModule(core, H).intact
    assert not commands.CoreModule().intact


def test_compressed_cores_are_raw_deflate_with_the_hash_of_the_core():
    core = commands.make_core("var x = 1;" * 100)
    push = commands.CompressedCore.of(core)
    assert zlib.decompress(push.data, wbits=-15) == core
    assert push.hash == commands.core_hash(core)
    assert commands.decode(push.encode()).core() == core


@pytest.mark.parametrize(
    "data", [b"", b"junk", zlib.compress(bytes(4)), zlib.compress(b"other", wbits=-15)], ids=["", "junk", "zlib", "h"]
)
def test_compressed_cores_that_do_not_fit(data):
    with pytest.raises(CommandError):
        commands.CompressedCore(commands.core_hash(bytes(4)), data).core()


def test_a_compression_bomb_is_cut_short(monkeypatch):
    monkeypatch.setattr(commands, "MAX_CORE", 1000)
    with pytest.raises(CommandError):
        commands.CompressedCore.of(bytes(1001)).core()


def test_tags_end_without_nuls():
    assert commands.decode(b"\0\x0fdesk\0\0") == commands.AgentTag("desk")
    assert commands.decode(b"\0\x0f") == commands.AgentTag("")
    assert commands.decode(b"\0\x0f\xff") == commands.AgentTag("\ufffd")


@pytest.mark.parametrize(
    "frame",
    [b"", b"\0", b"\0\x0b", b"\0\x0b\0", b"\0\x0b\0\0x", b"\0\x0a\0\0x", b"\0\x14\0\0", b"\0\x0e\0\1" + bytes(65532)],
    ids=lambda frame: frame[:8].hex(),
)
def test_malformed_commands(frame):
    with pytest.raises(CommandError):
        commands.decode(frame)


def test_a_block_that_is_too_long_is_not_sent():
    with pytest.raises(CommandError):
        commands.UpdateBlock(bytes(65532)).encode()


@pytest.mark.parametrize("frame", [b"\0\x01", b"\0\x11\0\0", b"\x03\xe7\0\0"])
def test_numbers_without_a_meaning(frame):
    assert commands.decode(frame) is None


@given(st.binary(max_size=200))
def test_any_bytes(frame):
    try:
        commands.decode(frame)
    except CommandError:
        pass
