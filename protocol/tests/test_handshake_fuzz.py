"""Whatever an agent or a server sends: the other side answers with effects, never with an exception."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from meshcentral_protocol.handshake import (
    AgentHandshake,
    Confirmed,
    Hold,
    HoldReason,
    Ready,
    Send,
    ServerHandshake,
    Sign,
)
from meshcentral_protocol.handshake_messages import AuthInfo

UNPROVED = {HoldReason.PROTOCOL_ERROR, HoldReason.BAD_SIGNATURE, HoldReason.WRONG_SERVER}


def run_server(recording, identity, frames) -> list[object]:
    web = recording.bytes("web_full_cert_hash")
    handshake = ServerHandshake(
        {web: web}.get,
        {recording.bytes("server_id_hex"): identity, None: identity}.get,
        nonce=recording.bytes("server_nonce"),
    )
    done: list[object] = []
    for frame in frames:
        for effect in handshake.feed(frame):
            done.append(effect)
            if isinstance(effect, Sign):
                done += handshake.signed(effect.identity.sign(effect.data))
    assert all(isinstance(effect, Send | Sign | Hold | Ready) for effect in done)
    return done


def run_agent(recording, identity, frames, *, fast=False) -> list[object]:
    handshake = AgentHandshake(
        identity,
        AuthInfo(6, recording.bytes("mesh_id_hex"), 0x118, "vm"),
        server_id=recording.bytes("server_id_hex"),
        web_hash=recording.bytes("web_full_cert_hash"),
        fast=fast,
        nonce=recording.bytes("agent_nonce"),
    )
    done: list[object] = handshake.start()
    for frame in frames:
        for effect in handshake.feed(frame):
            done.append(effect)
            if isinstance(effect, Sign):
                done += handshake.signed(effect.identity.sign(effect.data))
    assert all(isinstance(effect, Send | Sign | Hold | Confirmed) for effect in done)
    return done


def mutated(data, frame: bytes) -> bytes:
    changed = bytearray(frame)
    for _ in range(data.draw(st.integers(1, 3))):
        match data.draw(st.sampled_from(["change", "cut", "insert"])):
            case "change" if changed:
                changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
            case "cut":
                del changed[data.draw(st.integers(0, len(changed))) :]
            case _:
                position = data.draw(st.integers(0, len(changed)))
                changed[position:position] = data.draw(st.binary(max_size=3))
    return bytes(changed)


commands = st.sampled_from([0, 1, 2, 3, 4, 5, 10, 11, 15, 30, 31, 1000]).map(lambda code: code.to_bytes(2, "big"))
frames = st.one_of(st.binary(max_size=300), st.builds(bytes.__add__, commands, st.binary(max_size=200)))


@given(st.lists(frames, max_size=40))
def test_any_frames_in_any_order(recording, server_identity, agent_identity, frames):
    assert not any(isinstance(effect, Ready) for effect in run_server(recording, server_identity, frames))
    assert not any(isinstance(effect, Confirmed) for effect in run_agent(recording, agent_identity, frames))
    run_agent(recording, agent_identity, frames, fast=True)


@settings(max_examples=300)
@given(data=st.data())
def test_recorded_frames_shuffled_and_mixed_with_others(recording, server_identity, data):
    recorded = data.draw(st.permutations(recording.from_agent))
    for frame in data.draw(st.lists(frames, max_size=4)):
        recorded.insert(data.draw(st.integers(0, len(recorded))), frame)
    effects = run_server(recording, server_identity, recorded)
    assert sum(isinstance(effect, Ready | Hold) for effect in effects) <= 1


@settings(max_examples=500)
@given(data=st.data())
def test_recorded_frames_with_changed_bytes(recording, server_identity, data):
    """A change of anything that is proved never ends in a proved agent."""
    sent = list(recording.from_agent)
    index = data.draw(st.sampled_from([2, 3, 4]))
    sent[index] = mutated(data, sent[index])
    effects = run_server(recording, server_identity, sent)
    ready = [effect for effect in effects if isinstance(effect, Ready)]
    assert all(effect.agent.key_hash == recording.bytes("node_id_hex") for effect in ready)
    if index == 3 and sent[3] != recording.from_agent[3]:
        assert not ready


@settings(max_examples=300)
@given(data=st.data())
def test_the_agent_takes_no_changed_server(recording, agent_identity, data):
    sent = list(recording.from_server)
    index = data.draw(st.integers(0, 1))
    sent[index] = mutated(data, sent[index])
    effects = run_agent(recording, agent_identity, sent)
    if index == 0 and sent[0] != recording.from_server[0]:
        assert not any(isinstance(effect, Confirmed) for effect in effects)


def test_every_single_changed_byte_of_the_signature_is_noticed(recording, server_identity):
    frame = recording.from_agent[4]
    for position in range(len(frame) - len(server_identity.signature), len(frame)):
        changed = bytearray(frame)
        changed[position] ^= 1
        *_, last = run_server(recording, server_identity, [*recording.from_agent[:4], bytes(changed)])
        assert isinstance(last, Hold)
        assert last.reason in UNPROVED
