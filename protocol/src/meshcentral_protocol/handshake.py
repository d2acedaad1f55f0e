"""The authentication between agent and server inside the web socket, both sides, without sockets or clocks.

Source: agent-protocol reference, section 3. Feed each received message to `feed()` and perform the effects that it
returns, in order. A `Sign` effect is answered with `signed()`. Malformed input never raises: it yields `Hold`.

The server signs W || Na || Ns and the agent signs W || Ns || Na, where W is the hash of the outer (TLS) certificate as
the agent reported it and Na, Ns are the nonces: each side signs the other's nonce before its own.
"""

from __future__ import annotations

import enum
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from meshcentral_protocol.errors import HandshakeError
from meshcentral_protocol.handshake_messages import (
    NONCE_SIZE,
    AgentName,
    AuthConfirm,
    AuthInfo,
    AuthRequest,
    AuthVerify,
    Code,
    CommitDate,
    HostInfo,
    Message,
    ServerId,
    decode,
)
from meshcentral_protocol.identifiers import rsa_key_hash
from meshcentral_protocol.keys import SigningIdentity, certificate_key, has_key_hash, verify

MAX_MESSAGE = 32 * 1024
"""Bytes of one message before the authentication is complete."""
MAX_MESSAGES = 32
"""Messages before the authentication is complete; a real agent sends at most eight."""
AUTH_CONFIRM = AuthConfirm().encode()
"""Message 4: the server sends it when the device record exists."""


class HoldReason(enum.StrEnum):
    """Why an agent is kept waiting. The codes are stable: they appear in events and on the command line."""

    UNKNOWN_WEB_CERTIFICATE = "unknown-web-certificate"
    WRONG_SERVER = "wrong-server"
    BAD_SIGNATURE = "bad-signature"
    UNKNOWN_GROUP = "unknown-group"
    WRONG_GROUP_TYPE = "wrong-group-type"
    TOO_MANY_RECONNECTS = "too-many-reconnects"
    PROTOCOL_ERROR = "protocol-error"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class Send:
    """Send this binary message."""

    frame: bytes


@dataclass(frozen=True, slots=True)
class Sign:
    """Let the identity sign the data (in a thread), then call `signed()` with the signature."""

    identity: SigningIdentity
    data: bytes


@dataclass(frozen=True, slots=True)
class Hold:
    """The authentication goes no further. Keep the socket open and read on, so that the agent does not hammer."""

    reason: HoldReason
    detail: str


@dataclass(frozen=True, slots=True)
class AuthenticatedAgent:
    """What is known of an agent that has proved its key."""

    key_hash: bytes
    """Of its public key: the device id."""
    web_hash: bytes
    """The outer certificate's hash as the agent reported it."""
    shown_certificate: bytes
    """The full hash of that certificate."""
    fast_path: bool
    """The agent knew the outer certificate and asked for no signature."""
    info: AuthInfo
    agent_name: str | None
    commit_date: str
    host_info: str


@dataclass(frozen=True, slots=True)
class Ready:
    """The agent is authenticated. Message 4 is due once the device record exists."""

    agent: AuthenticatedAgent


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Agent side: the server is verified and has accepted us."""


ServerEffect = Send | Sign | Hold | Ready
AgentEffect = Send | Sign | Hold | Confirmed


class _Sequence:
    """Counts, bounds and orders the messages of one side's peer. Raises HandshakeError."""

    __slots__ = ("_count", "_seen")

    def __init__(self) -> None:
        self._count = 0
        self._seen = 0

    def admit(self, frame: bytes) -> Message | None:
        """Parse a message, refusing what is too much, too large, or a second one of its kind."""
        self._count += 1
        if self._count > MAX_MESSAGES:
            raise HandshakeError(f"more than {MAX_MESSAGES} messages before the authentication is complete")
        if len(frame) > MAX_MESSAGE:
            raise HandshakeError(f"a message over {MAX_MESSAGE} bytes before the authentication is complete")
        message = decode(frame)
        if message is not None and not isinstance(message, AgentName) and message.code <= Code.SERVER_ID:
            if self.has(message.code):
                raise HandshakeError(f"message {message.code.value} came twice")
            self._seen |= 1 << message.code
        return message

    def has(self, code: Code) -> bool:
        """Whether a message of this kind was received."""
        return bool(self._seen & 1 << code)


class ServerHandshake:
    """The server's side of one connection.

    `recognise` gives the full hash of the web certificate that a reported hash (full or key hash) belongs to, None for
    one that we never showed. `identity_for` picks the agent-server certificate for an expected server id, the first
    one for None, and gives None when there is no such certificate.
    """

    __slots__ = (
        "_agent_name",
        "_commit_date",
        "_done",
        "_host_info",
        "_identity",
        "_identity_for",
        "_info",
        "_key_hash",
        "_nonce",
        "_recognise",
        "_request",
        "_sequence",
        "_shown",
        "_signing",
        "fast_path",
    )

    def __init__(
        self,
        recognise: Callable[[bytes], bytes | None],
        identity_for: Callable[[bytes | None], SigningIdentity | None],
        *,
        nonce: bytes | None = None,
    ) -> None:
        self._recognise = recognise
        self._identity_for = identity_for
        self._nonce = nonce or secrets.token_bytes(NONCE_SIZE)
        self._sequence = _Sequence()
        self._done = False
        self._signing = False
        self._identity: SigningIdentity | None = None
        self._request: AuthRequest | None = None
        self._info: AuthInfo | None = None
        self._shown = b""
        self._key_hash = b""
        self._agent_name: str | None = None
        self._commit_date = ""
        self._host_info = ""
        self.fast_path = False

    @property
    def key_hash(self) -> bytes | None:
        """The hash of the agent's key, once it is proved."""
        return self._key_hash or None

    @property
    def host_name(self) -> str | None:
        """What the agent says its host's name is, once it has; unproved while `key_hash` is None."""
        return self._info.host_name if self._info else None

    def feed(self, frame: bytes) -> list[ServerEffect]:
        """Take one received message. Never raises; after `Hold` or `Ready` everything is ignored."""
        if self._done:
            return []
        try:
            message = self._sequence.admit(frame)
            return [] if message is None else self._take(message)
        except HandshakeError as error:
            return self._hold(HoldReason.PROTOCOL_ERROR, str(error))

    def signed(self, signature: bytes) -> list[ServerEffect]:
        """Take the signature that a `Sign` effect asked for."""
        if self._done or self._identity is None or not self._signing:
            return []
        self._signing = False
        return [Send(AuthVerify(self._identity.certificate_der, signature).encode()), *self._complete()]

    def _take(self, message: Message) -> list[ServerEffect]:
        match message:
            case CommitDate(text):
                self._commit_date = text
            case HostInfo(text):
                self._host_info = text
            case AgentName(text):
                self._agent_name = text
            case ServerId(server_id):
                return self._choose_identity(server_id)
            case AuthConfirm():
                # After message 1 it comes too late to spare the signature; the agent ignores what it did not need.
                self.fast_path = self._request is None
            case AuthRequest():
                return self._answer_request(message)
            case AuthVerify():
                return self._verify_agent(message)
            case AuthInfo():
                self._info = message
                return self._complete()
        return []

    def _choose_identity(self, server_id: bytes) -> list[ServerEffect]:
        if self._request is not None:
            raise HandshakeError("message 5 must come before message 1")
        self._identity = self._identity_for(server_id)
        if self._identity is None:
            detail = f"the agent expects the server with id {server_id.hex()[:16]}..."
            return self._hold(HoldReason.WRONG_SERVER, detail)
        return []

    def _answer_request(self, request: AuthRequest) -> list[ServerEffect]:
        shown = self._recognise(request.web_hash)
        if shown is None:
            detail = f"the agent was shown a certificate with hash {request.web_hash.hex()[:16]}..., which is not ours"
            return self._hold(HoldReason.UNKNOWN_WEB_CERTIFICATE, detail)
        self._identity = self._identity or self._identity_for(None)
        if self._identity is None:
            return self._hold(HoldReason.WRONG_SERVER, "this server has no agent-server certificate")
        self._request = request
        self._shown = shown
        # The agent's own hash is echoed and signed: it computes with what it saw (reference, 3.3).
        effects: list[ServerEffect] = [Send(AuthRequest(request.web_hash, self._nonce).encode())]
        if not self.fast_path:
            self._signing = True
            effects.append(Sign(self._identity, request.web_hash + request.nonce + self._nonce))
        return effects

    def _verify_agent(self, answer: AuthVerify) -> list[ServerEffect]:
        if self._request is None:
            raise HandshakeError("message 2 must come after message 1")
        key = certificate_key(answer.certificate)
        if not verify(key, answer.signature, self._request.web_hash + self._nonce + self._request.nonce):
            return self._hold(HoldReason.BAD_SIGNATURE, "the agent's signature does not fit its certificate")
        self._key_hash = rsa_key_hash(key)
        return self._complete()

    def _complete(self) -> list[ServerEffect]:
        """Messages 2 and 3 come in either order, and our own signature goes out before message 4."""
        if self._signing or self._request is None or self._info is None or not self._key_hash:
            return []
        self._done = True
        agent = AuthenticatedAgent(
            key_hash=self._key_hash,
            web_hash=self._request.web_hash,
            shown_certificate=self._shown,
            fast_path=self.fast_path,
            info=self._info,
            agent_name=self._agent_name,
            commit_date=self._commit_date,
            host_info=self._host_info,
        )
        return [Ready(agent)]

    def _hold(self, reason: HoldReason, detail: str) -> list[ServerEffect]:
        self._done = True
        return [Hold(reason, detail)]


class AgentHandshake:
    """The agent's side of one connection.

    `web_hash` is the full hash of the TLS certificate that was shown; `fast` says that it equals the one of an earlier,
    verified connection. `server_id` is the expected key hash of the agent-server certificate.
    """

    __slots__ = (
        "_agent_name",
        "_commit_date",
        "_done",
        "_fast",
        "_host_info",
        "_identity",
        "_info",
        "_nonce",
        "_sequence",
        "_server_id",
        "_server_nonce",
        "_verified",
        "_web_hash",
    )

    def __init__(
        self,
        identity: SigningIdentity,
        info: AuthInfo,
        *,
        server_id: bytes,
        web_hash: bytes,
        fast: bool = False,
        agent_name: str | None = None,
        commit_date: str = "",
        host_info: str = "",
        nonce: bytes | None = None,
    ) -> None:
        self._identity = identity
        self._info = info
        self._server_id = server_id
        self._web_hash = web_hash
        self._fast = fast
        self._agent_name = agent_name
        self._commit_date = commit_date
        self._host_info = host_info
        self._nonce = nonce or secrets.token_bytes(NONCE_SIZE)
        self._sequence = _Sequence()
        self._server_nonce = b""
        self._verified = fast
        self._done = False

    @property
    def verified(self) -> bool:
        """The server has proved its key, now or (fast path) before."""
        return self._verified

    def start(self) -> list[AgentEffect]:
        """What to send as soon as the socket is open."""
        messages: list[Message] = []
        if self._commit_date:
            messages.append(CommitDate(self._commit_date))
        if self._host_info:
            messages.append(HostInfo(self._host_info))
        messages.append(ServerId(self._server_id))
        if self._fast:
            messages.append(AuthConfirm())
        messages.append(AuthRequest(self._web_hash, self._nonce))
        effects: list[AgentEffect] = [Send(message.encode()) for message in messages]
        return [*effects, *self._introduction()] if self._fast else effects

    def feed(self, frame: bytes) -> list[AgentEffect]:
        """Take one received message. Never raises; after `Hold` or `Confirmed` everything is ignored."""
        if self._done:
            return []
        try:
            message = self._sequence.admit(frame)
            return [] if message is None else self._take(message)
        except HandshakeError as error:
            return self._hold(HoldReason.PROTOCOL_ERROR, str(error))

    def signed(self, signature: bytes) -> list[AgentEffect]:
        """Take the signature that a `Sign` effect asked for."""
        if self._done:
            return []
        return [Send(AuthVerify(self._identity.certificate_der, signature).encode())]

    def _take(self, message: Message) -> list[AgentEffect]:
        match message:
            case AuthRequest():
                return self._answer_request(message)
            case AuthVerify() if not self._fast:
                return self._verify_server(message)
            case AuthConfirm():
                return self._confirm()
        return []

    def _answer_request(self, request: AuthRequest) -> list[AgentEffect]:
        if request.web_hash != self._web_hash:
            return self._hold(HoldReason.UNKNOWN_WEB_CERTIFICATE, "the server names another outer certificate")
        self._server_nonce = request.nonce
        return [Sign(self._identity, self._web_hash + request.nonce + self._nonce)]

    def _verify_server(self, answer: AuthVerify) -> list[AgentEffect]:
        if not self._server_nonce:
            raise HandshakeError("message 2 must come after message 1")
        key = certificate_key(answer.certificate)
        if not has_key_hash(key, self._server_id):
            return self._hold(HoldReason.WRONG_SERVER, "the server's certificate is not the expected one")
        if not verify(key, answer.signature, self._web_hash + self._nonce + self._server_nonce):
            return self._hold(HoldReason.BAD_SIGNATURE, "the server's signature does not fit its certificate")
        self._verified = True
        return self._introduction()

    def _introduction(self) -> list[AgentEffect]:
        name: list[AgentEffect] = [Send(AgentName(self._agent_name).encode())] if self._agent_name else []
        return [*name, Send(self._info.encode())]

    def _confirm(self) -> list[AgentEffect]:
        if not self._verified or not self._server_nonce:
            raise HandshakeError("message 4 before the server was verified")
        self._done = True
        return [Confirmed()]

    def _hold(self, reason: HoldReason, detail: str) -> list[AgentEffect]:
        self._done = True
        return [Hold(reason, detail)]
