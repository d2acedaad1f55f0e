"""The messages of the agent authentication, as frozen dataclasses with their byte layouts.

Source: agent-protocol reference, 3.2. All integers are big-endian. `decode` raises HandshakeError and nothing else.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self

from meshcentral_protocol.errors import HandshakeError
from meshcentral_protocol.identifiers import HASH_SIZE, OLD_HASH_SIZE

NONCE_SIZE = 48
MAX_TEXT = 512
"""Characters that are kept of any text of an agent that is not yet authenticated."""
MAX_AGENT_NAME = 255

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_AGENT_NAME = re.compile(rb'\{\s*"action"\s*:\s*"agentName"\s*,\s*"value"\s*:\s*"(.*)"\s*\}\s*\0*', re.DOTALL)


class Code(enum.IntEnum):
    """The first two bytes of a message."""

    AUTH_REQUEST = 1
    AUTH_VERIFY = 2
    AUTH_INFO = 3
    AUTH_CONFIRM = 4
    SERVER_ID = 5
    COMMIT_DATE = 30
    HOST_INFO = 31


@dataclass(frozen=True, slots=True)
class AuthRequest:
    """Message 1, both ways: which outer certificate the agent saw, and the sender's nonce."""

    code: ClassVar = Code.AUTH_REQUEST
    web_hash: bytes
    nonce: bytes

    def encode(self) -> bytes:
        """98 bytes."""
        return b"\0\x01" + self.web_hash + self.nonce

    @classmethod
    def decode(cls, frame: bytes) -> Self:
        if len(frame) != 2 + HASH_SIZE + NONCE_SIZE:
            raise HandshakeError(f"message 1 has {2 + HASH_SIZE + NONCE_SIZE} bytes, not {len(frame)}")
        return cls(frame[2 : 2 + HASH_SIZE], frame[2 + HASH_SIZE :])


@dataclass(frozen=True, slots=True)
class AuthVerify:
    """Message 2, both ways: the sender's certificate (DER) and its signature over web hash and nonces."""

    code: ClassVar = Code.AUTH_VERIFY
    certificate: bytes
    signature: bytes

    def encode(self) -> bytes:
        return b"\0\x02" + len(self.certificate).to_bytes(2, "big") + self.certificate + self.signature

    @classmethod
    def decode(cls, frame: bytes) -> Self:
        if len(frame) < 4:
            raise HandshakeError("message 2 is cut short")
        end = 4 + int.from_bytes(frame[2:4], "big")
        if end == 4 or end >= len(frame):
            raise HandshakeError("message 2: the certificate's length does not fit the message")
        return cls(frame[4:end], frame[end:])


@dataclass(frozen=True, slots=True)
class AuthInfo:
    """Message 3, from the agent: what it is and which device group it was installed for."""

    code: ClassVar = Code.AUTH_INFO
    type_id: int
    group: bytes
    """48 raw bytes; ids of the SHA-256 era are filled with zeros."""
    capabilities: int
    host_name: str = ""
    version: int = 0
    platform: int = 1
    """As sent: 1 desktop, 2 laptop .. 8 virtual; see `icon`."""
    info_version: int = 1

    @property
    def icon(self) -> int:
        """The platform as a device icon: what is not within 1..8 counts as 1."""
        return self.platform if 1 <= self.platform <= 8 else 1

    def encode(self) -> bytes:
        host_name = self.host_name.encode()
        numbers = (self.info_version, self.type_id, self.version, self.platform)
        return b"".join(
            (
                b"\0\x03",
                *(number.to_bytes(4, "big") for number in numbers),
                self.group,
                self.capabilities.to_bytes(4, "big"),
                len(host_name).to_bytes(2, "big"),
                host_name,
            )
        )

    @classmethod
    def decode(cls, frame: bytes) -> Self:
        if len(frame) < 70:
            raise HandshakeError(f"message 3 has at least 70 bytes, not {len(frame)}")
        info_version, type_id, version, platform = (
            int.from_bytes(frame[offset : offset + 4], "big") for offset in (2, 6, 10, 14)
        )
        name = b""
        if len(frame) > 70:
            end = 72 + int.from_bytes(frame[70:72], "big")
            if end > len(frame):
                raise HandshakeError("message 3: the host name is cut short")
            name = frame[72:end]
        capabilities = int.from_bytes(frame[66:70], "big")
        return cls(type_id, frame[18:66], capabilities, _text(name), version, platform, info_version)


@dataclass(frozen=True, slots=True)
class AuthConfirm:
    """Message 4. From the server: you are authenticated and known. From the agent, before message 1: I know your
    outer certificate, do not sign."""

    code: ClassVar = Code.AUTH_CONFIRM

    def encode(self) -> bytes:
        return b"\0\x04"

    @classmethod
    def decode(cls, frame: bytes) -> Self:
        if len(frame) != 2:
            raise HandshakeError(f"message 4 has 2 bytes, not {len(frame)}")
        return cls()


@dataclass(frozen=True, slots=True)
class ServerId:
    """Message 5, from the agent: the key hash of the agent-server certificate that it expects."""

    code: ClassVar = Code.SERVER_ID
    server_id: bytes
    """48 bytes, or 32 (SHA-256) from old agents."""

    def encode(self) -> bytes:
        return b"\0\x05" + self.server_id

    @classmethod
    def decode(cls, frame: bytes) -> Self:
        if len(frame) - 2 not in (HASH_SIZE, OLD_HASH_SIZE):
            raise HandshakeError(f"message 5 has 50 or 34 bytes, not {len(frame)}")
        return cls(frame[2:])


@dataclass(frozen=True, slots=True)
class CommitDate:
    """Message 30, from the agent: when its source was committed, such as `2022-Nov-2 23:01:45-0700`."""

    code: ClassVar = Code.COMMIT_DATE
    text: str

    def encode(self) -> bytes:
        return b"\0\x1e" + self.text.encode() + b"\0"

    @classmethod
    def decode(cls, frame: bytes) -> Self:
        return cls(_text(frame[2:].rstrip(b"\0")))


@dataclass(frozen=True, slots=True)
class HostInfo:
    """Message 31, from the agent: its operating system in words. Old builds do not send it."""

    code: ClassVar = Code.HOST_INFO
    text: str

    def encode(self) -> bytes:
        return b"\0\x1f" + self.text.encode()

    @classmethod
    def decode(cls, frame: bytes) -> Self:
        return cls(_text(frame[2:].rstrip(b"\0")))


@dataclass(frozen=True, slots=True)
class AgentName:
    """The JSON message that may come before message 3: the name under which the device is to appear.

    The real agent builds it by plain formatting, so quotes and backslashes inside the value are not escaped.
    """

    text: str

    def encode(self) -> bytes:
        return b'{"action":"agentName","value":"' + self.text.encode() + b'"}'

    @classmethod
    def decode(cls, frame: bytes) -> Self | None:
        """None when the JSON is something else or the name is empty or too long: it may be ignored."""
        match = _AGENT_NAME.fullmatch(frame)
        text = _text(match[1]).strip() if match else ""
        return cls(text) if 1 <= len(text) <= MAX_AGENT_NAME else None


Message = AuthRequest | AuthVerify | AuthInfo | AuthConfirm | ServerId | CommitDate | HostInfo | AgentName

_DECODERS: dict[int, Callable[[bytes], Message]] = {
    kind.code: kind.decode for kind in (AuthRequest, AuthVerify, AuthInfo, AuthConfirm, ServerId, CommitDate, HostInfo)
}


def decode(frame: bytes) -> Message | None:
    """Parse one message. None for messages that have no part in the authentication. Raises HandshakeError."""
    if frame[:1] == b"{":
        return AgentName.decode(frame)
    if len(frame) < 2:
        raise HandshakeError("a message has at least 2 bytes")
    decoder = _DECODERS.get(frame[0] << 8 | frame[1])
    return None if decoder is None else decoder(frame)


def _text(raw: bytes) -> str:
    """Hostile text made presentable: replaced bad UTF-8, no control or direction characters, bounded."""
    return _UNPRINTABLE.sub("", raw[: 4 * MAX_TEXT].decode("utf-8", "replace"))[:MAX_TEXT]
