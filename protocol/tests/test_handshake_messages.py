from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcentral_protocol import handshake_messages as messages
from meshcentral_protocol.errors import HandshakeError

words = st.integers(0, 0xFFFFFFFF)
hashes = st.binary(min_size=48, max_size=48)
printable = st.text(st.characters(categories=["L", "N", "P"]), max_size=60)


def test_recorded_frames_decode_and_encode_to_the_same_bytes(recording):
    frames = recording.from_agent + recording.from_server
    decoded = [messages.decode(frame) for frame in frames]
    assert [message.encode() for message in decoded] == frames
    date, host, server_id, request, _, info, reply, _, confirm = decoded
    assert date == messages.CommitDate("2022-Nov-2 23:01:45-0700")
    assert host == messages.HostInfo("Debian GNU/Linux 12 (bookworm) - x64")
    assert server_id == messages.ServerId(recording.bytes("server_id_hex"))
    assert request == messages.AuthRequest(recording.bytes("web_full_cert_hash"), recording.bytes("agent_nonce"))
    assert reply == messages.AuthRequest(recording.bytes("web_full_cert_hash"), recording.bytes("server_nonce"))
    assert info == messages.AuthInfo(6, recording.bytes("mesh_id_hex"), 0x118, "vm")
    assert confirm == messages.AuthConfirm()


@given(
    st.one_of(
        st.builds(messages.AuthRequest, hashes, hashes),
        st.builds(messages.AuthVerify, st.binary(min_size=1, max_size=99), st.binary(min_size=1, max_size=99)),
        st.builds(messages.AuthInfo, words, hashes, words, printable, words, words, words),
        st.just(messages.AuthConfirm()),
        st.builds(messages.ServerId, st.sampled_from([bytes(32), bytes(48)])),
        st.builds(messages.CommitDate, printable),
        st.builds(messages.HostInfo, printable),
        st.builds(messages.AgentName, printable.filter(bool)),
    )
)
def test_messages_round_trip(message):
    assert messages.decode(message.encode()) == message


def test_agent_info_without_a_name_and_with_a_tail():
    info = messages.AuthInfo(6, bytes(48), 0, "host")
    assert messages.decode(info.encode()[:70]) == messages.AuthInfo(6, bytes(48), 0)
    assert messages.decode(info.encode() + b"later fields") == info


@pytest.mark.parametrize(("platform", "icon"), [(0, 1), (1, 1), (8, 8), (9, 1), (0xFFFFFFFF, 1)])
def test_platforms_outside_the_table_are_desktops(platform, icon):
    assert messages.AuthInfo(6, bytes(48), 0, platform=platform).icon == icon


def test_hostile_text_is_made_presentable():
    raw = messages.AuthInfo(6, bytes(48), 0, "a\x1b[31mb\n\u202ec\u0085").encode()
    assert messages.AuthInfo.decode(raw).host_name == "a[31mbc"
    bad = messages.AuthInfo(6, bytes(48), 0, "ab").encode()[:-1] + b"\xff"
    assert messages.AuthInfo.decode(bad).host_name == "a\ufffd"
    assert len(messages.AuthInfo.decode(messages.AuthInfo(6, bytes(48), 0, "x" * 60_000).encode()).host_name) == 512


@pytest.mark.parametrize(
    ("frame", "name"),
    [
        (b'{"action":"agentName","value":"Front desk"}', "Front desk"),
        (b'{"action":"agentName","value":"say "hi" \\o/"}', 'say "hi" \\o/'),
        (b'{ "action": "agentName", "value": " x " }', "x"),
        (b'{"action":"agentName","value":""}', None),
        (b'{"action":"agentName","value":"' + b"x" * 256 + b'"}', None),
        (b'{"action":"coreinfo"}', None),
        (b"{", None),
    ],
)
def test_agent_names(frame, name):
    assert messages.decode(frame) == (None if name is None else messages.AgentName(name))


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\0",
        b"\0\x01",
        b"\0\x01" + bytes(95),
        b"\0\x01" + bytes(97),
        b"\0\x02",
        b"\0\x02\0\0signature",
        b"\0\x02\0\x05certi",
        b"\0\x02\xff\xffshort",
        b"\0\x03" + bytes(67),
        b"\0\x03" + bytes(69),
        b"\0\x03" + bytes(68) + b"\0\x02x",
        b"\0\x04\0",
        b"\0\x05" + bytes(47),
        b"\0\x05" + bytes(33),
    ],
)
def test_malformed_frames(frame):
    with pytest.raises(HandshakeError):
        messages.decode(frame)


def test_messages_of_other_phases_have_no_part():
    assert messages.decode(b"\0\x0b\0\0") is None
    assert messages.decode(b"\x03\xe8anything") is None


@given(st.binary(max_size=400))
def test_any_bytes(frame):
    try:
        messages.decode(frame)
    except HandshakeError:
        pass
