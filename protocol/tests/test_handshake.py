from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from meshcentral_protocol.handshake import (
    AUTH_CONFIRM,
    MAX_MESSAGE,
    MAX_MESSAGES,
    AgentHandshake,
    AuthenticatedAgent,
    Confirmed,
    Hold,
    HoldReason,
    Ready,
    Send,
    ServerHandshake,
    Sign,
)
from meshcentral_protocol.handshake_messages import (
    AgentName,
    AuthConfirm,
    AuthInfo,
    AuthRequest,
    AuthVerify,
    CommitDate,
    HostInfo,
    ServerId,
)
from meshcentral_protocol.keys import AgentKey, certificate_key, verify

WEB, WEB_KEY = bytes([1]) * 48, bytes([2]) * 48
NA, NS = bytes([3]) * 48, bytes([4]) * 48
INFO = AuthInfo(6, bytes([5]) * 48, 0x118, "host")


@dataclass
class Server:
    """A server's side and all that it did."""

    identity: AgentKey
    handshake: ServerHandshake = field(init=False)
    effects: list[object] = field(default_factory=list)

    def __post_init__(self) -> None:
        known = {WEB: WEB, WEB_KEY: WEB}
        identities = {None: self.identity, self.identity.key_hash: self.identity}
        self.handshake = ServerHandshake(known.get, identities.get, nonce=NS)

    def feed(self, *messages: object) -> list[object]:
        """Feed messages (or raw frames), answering signature requests at once; returns the new effects."""
        before = len(self.effects)
        for message in messages:
            frame = message if isinstance(message, bytes) else message.encode()
            for effect in self.handshake.feed(frame):
                self.effects.append(effect)
                if isinstance(effect, Sign):
                    self.effects += self.handshake.signed(effect.identity.sign(effect.data))
        return self.effects[before:]


@pytest.fixture
def server(server_key) -> Server:
    return Server(server_key)


@pytest.fixture
def proof(agent_key) -> AuthVerify:
    return AuthVerify(agent_key.certificate_der, agent_key.sign(WEB + NS + NA))


def held(effects) -> HoldReason:
    assert len(effects) == 1, effects
    assert isinstance(effects[0], Hold)
    return effects[0].reason


# -- the recorded handshake ---------------------------------------------------------------------------------------


def test_the_server_side_reproduces_the_recording(recording, server_identity):
    web = recording.bytes("web_full_cert_hash")
    handshake = ServerHandshake(
        {web: web}.get,
        {recording.bytes("server_id_hex"): server_identity}.get,
        nonce=recording.bytes("server_nonce"),
    )
    sent, agents = [], []
    for frame in recording.from_agent:
        for effect in handshake.feed(frame):
            match effect:
                case Send(reply):
                    sent.append(reply)
                case Sign(identity, data):
                    assert identity is server_identity
                    assert data == web + recording.bytes("agent_nonce") + recording.bytes("server_nonce")
                    sent += [each.frame for each in handshake.signed(identity.sign(data))]
                case Ready(agent):
                    agents.append(agent)
                    sent.append(AUTH_CONFIRM)
    assert sent == recording.from_server
    assert agents == [
        AuthenticatedAgent(
            key_hash=recording.bytes("node_id_hex"),
            web_hash=web,
            shown_certificate=web,
            fast_path=False,
            info=AuthInfo(6, recording.bytes("mesh_id_hex"), 0x118, "vm"),
            agent_name=None,
            commit_date="2022-Nov-2 23:01:45-0700",
            host_info="Debian GNU/Linux 12 (bookworm) - x64",
        )
    ]


def test_the_agent_side_reproduces_the_recording(recording, agent_identity):
    handshake = AgentHandshake(
        agent_identity,
        AuthInfo(6, recording.bytes("mesh_id_hex"), 0x118, "vm"),
        server_id=recording.bytes("server_id_hex"),
        web_hash=recording.bytes("web_full_cert_hash"),
        commit_date="2022-Nov-2 23:01:45-0700",
        host_info="Debian GNU/Linux 12 (bookworm) - x64",
        nonce=recording.bytes("agent_nonce"),
    )
    effects = handshake.start()
    for frame in recording.from_server:
        effects += handshake.feed(frame)
        if isinstance(effects[-1], Sign):
            request = effects.pop()
            effects += handshake.signed(request.identity.sign(request.data))
    assert effects.pop() == Confirmed()
    assert [effect.frame for effect in effects] == recording.from_agent


# -- the server's side --------------------------------------------------------------------------------------------


def test_slow_path(server, server_key, agent_key, proof):
    assert server.feed(CommitDate("2022"), HostInfo("Debian"), ServerId(server_key.key_hash)) == []
    request, sign, answer = server.feed(AuthRequest(WEB, NA))
    assert request == Send(AuthRequest(WEB, NS).encode())
    assert sign == Sign(server_key, WEB + NA + NS)
    signature = AuthVerify.decode(answer.frame).signature
    assert verify(certificate_key(server_key.certificate_der), signature, WEB + NA + NS)
    assert server.feed(proof, AgentName("Front desk")) == []
    expected = AuthenticatedAgent(agent_key.key_hash, WEB, WEB, False, INFO, "Front desk", "2022", "Debian")
    assert server.feed(INFO) == [Ready(expected)]


@pytest.mark.parametrize("info_first", [True, False])
def test_fast_path_needs_no_signature_and_no_order_of_2_and_3(server, agent_key, proof, info_first):
    assert server.feed(AuthConfirm(), AuthRequest(WEB, NA)) == [Send(AuthRequest(WEB, NS).encode())]
    last = server.feed(INFO, proof) if info_first else server.feed(proof, INFO)
    assert last == [Ready(AuthenticatedAgent(agent_key.key_hash, WEB, WEB, True, INFO, None, "", ""))]


def test_an_announcement_after_message_1_comes_too_late(server, proof):
    assert len(server.feed(AuthRequest(WEB, NA))) == 3
    (ready,) = server.feed(AuthConfirm(), proof, INFO)
    assert not ready.agent.fast_path


def test_the_key_hash_is_recognised_and_echoed(server, agent_key):
    request, sign, _ = server.feed(AuthRequest(WEB_KEY, NA))
    assert request == Send(AuthRequest(WEB_KEY, NS).encode())
    assert sign.data == WEB_KEY + NA + NS
    proof = AuthVerify(agent_key.certificate_der, agent_key.sign(WEB_KEY + NS + NA))
    (ready,) = server.feed(proof, INFO)
    assert (ready.agent.web_hash, ready.agent.shown_certificate) == (WEB_KEY, WEB)


def test_ready_waits_for_the_signature_to_be_sent(server, server_key, proof):
    handshake = server.handshake
    _, sign = handshake.feed(AuthRequest(WEB, NA).encode())
    assert handshake.feed(proof.encode()) == []
    assert handshake.feed(INFO.encode()) == []
    sent, ready = handshake.signed(server_key.sign(sign.data))
    assert isinstance(sent, Send)
    assert isinstance(ready, Ready)
    assert handshake.signed(b"again") == []


def test_an_unknown_outer_certificate_gets_no_reply(server):
    assert held(server.feed(AuthRequest(bytes(48), NA))) is HoldReason.UNKNOWN_WEB_CERTIFICATE


def test_an_unknown_server_id(server):
    assert held(server.feed(ServerId(bytes(48)))) is HoldReason.WRONG_SERVER


def test_no_identity_at_all():
    handshake = ServerHandshake(lambda web: web, lambda server_id: None)
    assert held(handshake.feed(AuthRequest(WEB, NA).encode())) is HoldReason.WRONG_SERVER


@pytest.mark.parametrize("data", [WEB + NA + NS, WEB_KEY + NS + NA, b"", WEB + NS + NS])
def test_a_signature_over_anything_else_is_refused(server, agent_key, data):
    server.feed(AuthRequest(WEB, NA))
    effects = server.feed(AuthVerify(agent_key.certificate_der, agent_key.sign(data)))
    assert held(effects) is HoldReason.BAD_SIGNATURE
    assert server.handshake.key_hash is None


def test_a_signature_of_another_key_is_refused(server, server_key, agent_key):
    server.feed(AuthRequest(WEB, NA))
    effects = server.feed(AuthVerify(agent_key.certificate_der, server_key.sign(WEB + NS + NA)))
    assert held(effects) is HoldReason.BAD_SIGNATURE


def test_the_servers_own_signature_cannot_be_played_back(server, server_key):
    """The nonces change places, so what we signed is no proof of an agent."""
    _, _, answer = server.feed(AuthRequest(WEB, NA))
    assert held(server.feed(answer.frame)) is HoldReason.BAD_SIGNATURE


def test_what_was_proved_is_known(server, agent_key, proof):
    assert (server.handshake.key_hash, server.handshake.host_name) == (None, None)
    server.feed(AuthRequest(WEB, NA), INFO)
    assert (server.handshake.key_hash, server.handshake.host_name) == (None, "host")
    assert server.handshake.fast_path is False


@pytest.mark.parametrize("message", [AuthRequest(WEB, NA), "proof", INFO, AuthConfirm(), "server id"], ids=repr)
def test_nothing_comes_twice(server, server_key, proof, message):
    message = {"proof": proof, "server id": ServerId(server_key.key_hash)}.get(message, message)
    server.feed(ServerId(server_key.key_hash), AuthConfirm(), AuthRequest(WEB, NA))
    if message in (proof, INFO):
        assert server.feed(message) == []
    assert held(server.feed(message)) is HoldReason.PROTOCOL_ERROR


@pytest.mark.parametrize("frame", [b"", b"\0", b"\0\x01short", b"\0\x02\xff\xffx", b"\0\x05x"])
def test_malformed_messages_end_the_authentication(server, frame, proof):
    assert held(server.feed(frame)) is HoldReason.PROTOCOL_ERROR
    assert server.feed(AuthRequest(WEB, NA), proof, INFO) == []


def test_message_2_before_1(server, proof):
    assert held(server.feed(proof)) is HoldReason.PROTOCOL_ERROR


def test_message_5_after_1(server, server_key):
    server.feed(AuthRequest(WEB, NA))
    assert held(server.feed(ServerId(server_key.key_hash))) is HoldReason.PROTOCOL_ERROR


def test_other_messages_are_passed_over_but_counted(server):
    assert server.feed(*[b"\0\x0b\0\0"] * MAX_MESSAGES) == []
    assert held(server.feed(b"\0\x0b\0\0")) is HoldReason.PROTOCOL_ERROR


def test_a_message_that_is_too_large(server):
    assert held(server.feed(b"\0\x02" + bytes(MAX_MESSAGE))) is HoldReason.PROTOCOL_ERROR


def test_nonces_are_fresh():
    nonces = set()
    for _ in range(3):
        handshake = ServerHandshake(lambda web: web, lambda server_id: AgentKeyStub)
        request, _ = handshake.feed(AuthRequest(WEB, NA).encode())
        nonces.add(AuthRequest.decode(request.frame).nonce)
    assert len(nonces) == 3


class AgentKeyStub:
    certificate_der = b""


# -- the agent's side ---------------------------------------------------------------------------------------------


def agent(identity, server_id, **options) -> AgentHandshake:
    return AgentHandshake(identity, INFO, server_id=server_id, web_hash=WEB, nonce=NA, **options)


def test_the_agent_reveals_its_group_only_to_the_right_server(agent_key, server_key):
    handshake = agent(agent_key, server_key.key_hash)
    assert handshake.start() == [Send(ServerId(server_key.key_hash).encode()), Send(AuthRequest(WEB, NA).encode())]
    assert handshake.feed(AuthRequest(WEB, NS).encode()) == [Sign(agent_key, WEB + NS + NA)]
    answer = AuthVerify(server_key.certificate_der, server_key.sign(WEB + NA + NS))
    assert not handshake.verified
    assert handshake.feed(answer.encode()) == [Send(INFO.encode())]
    assert handshake.verified
    assert handshake.feed(AUTH_CONFIRM) == [Confirmed()]
    assert handshake.feed(AUTH_CONFIRM) == []


def test_the_agent_on_the_fast_path_introduces_itself_at_once(agent_key, server_key):
    handshake = agent(agent_key, server_key.key_hash, fast=True, agent_name="Front desk")
    frames = [effect.frame for effect in handshake.start()]
    assert frames[1:] == [
        AuthConfirm().encode(),
        AuthRequest(WEB, NA).encode(),
        AgentName("Front desk").encode(),
        INFO.encode(),
    ]
    handshake.feed(AuthRequest(WEB, NS).encode())
    assert handshake.feed(AUTH_CONFIRM) == [Confirmed()]


def test_the_agent_refuses_another_outer_certificate(agent_key, server_key):
    handshake = agent(agent_key, server_key.key_hash)
    assert held(handshake.feed(AuthRequest(WEB_KEY, NS).encode())) is HoldReason.UNKNOWN_WEB_CERTIFICATE


def test_the_agent_refuses_another_server(agent_key, server_key):
    handshake = agent(agent_key, bytes(48))
    handshake.feed(AuthRequest(WEB, NS).encode())
    answer = AuthVerify(server_key.certificate_der, server_key.sign(WEB + NA + NS))
    assert held(handshake.feed(answer.encode())) is HoldReason.WRONG_SERVER
    assert handshake.feed(AUTH_CONFIRM) == []


def test_the_agent_refuses_a_bad_server_signature(agent_key, server_key):
    handshake = agent(agent_key, server_key.key_hash)
    handshake.feed(AuthRequest(WEB, NS).encode())
    answer = AuthVerify(server_key.certificate_der, server_key.sign(WEB + NS + NA))
    assert held(handshake.feed(answer.encode())) is HoldReason.BAD_SIGNATURE


@pytest.mark.parametrize("frame", [AUTH_CONFIRM, AuthVerify(b"x", b"y").encode(), b"\0\x01"])
def test_the_agent_refuses_what_comes_out_of_order(agent_key, server_key, frame):
    assert held(agent(agent_key, server_key.key_hash).feed(frame)) is HoldReason.PROTOCOL_ERROR


@pytest.mark.parametrize("fast", [True, False])
def test_both_sides_understand_each_other(server, server_key, agent_key, fast):
    handshake = agent(agent_key, server_key.key_hash, fast=fast)
    pending, confirmed = handshake.start(), False
    while pending:
        effect = pending.pop(0)
        match effect:
            case Sign(identity, data):
                pending += handshake.signed(identity.sign(data))
            case Send(frame):
                for reply in server.feed(frame):
                    if isinstance(reply, Send):
                        pending += handshake.feed(reply.frame)
                    elif isinstance(reply, Ready):
                        assert reply.agent.fast_path is fast
                        pending += handshake.feed(AUTH_CONFIRM)
            case Confirmed():
                confirmed = True
    assert confirmed
    assert handshake.verified
