"""Binary commands between server and agent after the authentication, both ways.

Source: agent-protocol reference, section 4. A command is its number (u16), a request id (u16, echoed in replies) and a
payload; message 15 alone has no request id. Numbers from 1000 on belong to the agent's core. JSON is not handled here:
it begins with `{`, and receivers must look at the first byte, never at the kind of frame.
"""

from __future__ import annotations

import enum
import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self

from meshcentral_protocol.errors import CommandError
from meshcentral_protocol.identifiers import HASH_SIZE

CORE_PREFIX = bytes(4)
"""The agent skips four bytes before it compiles a core; the hash covers them."""
NO_HASH = bytes(HASH_SIZE)
"""As a core hash: a local core, leave it alone. As an executable hash: updates are disabled."""
UPDATE_NOW_HASH = b"\xff" * HASH_SIZE
"""As an executable hash: the agent wants an update now."""
MAX_UPDATE_BLOCK = 65531
MAX_CORE = 16 * 1024 * 1024
"""Bytes of a core that `CompressedCore.core` inflates at most."""
FIRST_CORE_COMMAND = 1000


class Number(enum.IntEnum):
    """The first two bytes of a command."""

    CORE_MODULE = 10
    CORE_HASH = 11
    AGENT_HASH = 12
    AGENT_UPDATE = 13
    UPDATE_BLOCK = 14
    AGENT_TAG = 15
    CORE_OK = 16
    COMPRESSED_CORE = 20


def make_core(source: str) -> bytes:
    """A core as it is hashed, sent and stored: the prefix and the UTF-8 JavaScript."""
    return CORE_PREFIX + source.encode()


def core_hash(core: bytes) -> bytes:
    """SHA-384 (48 bytes) of a whole core, prefix included."""
    return hashlib.sha384(core).digest()


@dataclass(frozen=True, slots=True)
class CoreModule:
    """10, to the agent: install and start a core; without one, stop and delete the present core."""

    number: ClassVar = Number.CORE_MODULE
    core: bytes | None = None
    hash: bytes = b""
    """As received; `encode` computes it when it is empty."""
    request_id: int = 0

    def encode(self) -> bytes:
        if self.core is None:
            return _header(self)
        return _header(self) + (self.hash or core_hash(self.core)) + self.core

    @classmethod
    def decode(cls, frame: bytes) -> Self:
        if len(frame) == 4:
            return cls(request_id=_request_id(frame))
        return cls(_after_hash(frame), _hash(frame), _request_id(frame))

    @property
    def intact(self) -> bool:
        """Whether the hash fits the core."""
        return self.core is not None and self.hash == core_hash(self.core)


@dataclass(frozen=True, slots=True)
class CompressedCore:
    """20, to the agent: like 10, with raw DEFLATE data. The hash is that of the core before compression."""

    number: ClassVar = Number.COMPRESSED_CORE
    hash: bytes
    data: bytes
    request_id: int = 0

    @classmethod
    def of(cls, core: bytes, request_id: int = 0) -> Self:
        """Compress a core. A zlib header would make the agent drop its core."""
        compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        return cls(core_hash(core), compressor.compress(core) + compressor.flush(), request_id)

    def core(self) -> bytes:
        """The inflated core, checked against the hash. Raises CommandError."""
        inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        try:
            core = inflater.decompress(self.data, MAX_CORE)
        except zlib.error:
            raise CommandError("command 20: not raw DEFLATE data") from None
        if not inflater.eof or core_hash(core) != self.hash:
            raise CommandError("command 20: the core does not fit its hash")
        return core

    def encode(self) -> bytes:
        return _header(self) + self.hash + self.data

    @classmethod
    def decode(cls, frame: bytes) -> Self:
        return cls(_hash(frame), _after_hash(frame), _request_id(frame))


@dataclass(frozen=True, slots=True)
class CoreHash:
    """11. To the agent, without a hash: the question. From it: its core's hash, None for no core."""

    number: ClassVar = Number.CORE_HASH
    hash: bytes | None = None
    request_id: int = 0

    def encode(self) -> bytes:
        return _header(self) + (self.hash or b"")

    @classmethod
    def decode(cls, frame: bytes) -> Self:
        return cls(_optional_hash(frame), _request_id(frame))


@dataclass(frozen=True, slots=True)
class AgentHash:
    """12. To the agent, without a hash: the question. From it: its executable's hash."""

    number: ClassVar = Number.AGENT_HASH
    hash: bytes | None = None
    request_id: int = 0

    def encode(self) -> bytes:
        return _header(self) + (self.hash or b"")

    @classmethod
    def decode(cls, frame: bytes) -> Self:
        return cls(_optional_hash(frame), _request_id(frame))


@dataclass(frozen=True, slots=True)
class AgentUpdate:
    """13, to the agent: an executable's transfer begins (no hash) or is complete (hash of all that was sent)."""

    number: ClassVar = Number.AGENT_UPDATE
    hash: bytes | None = None
    request_id: int = 0

    def encode(self) -> bytes:
        return _header(self) + (self.hash or b"")

    @classmethod
    def decode(cls, frame: bytes) -> Self:
        return cls(_optional_hash(frame), _request_id(frame))


@dataclass(frozen=True, slots=True)
class UpdateBlock:
    """14. To the agent: the next part of the executable. From it, empty: send the next one."""

    number: ClassVar = Number.UPDATE_BLOCK
    data: bytes = b""
    request_id: int = 1

    def encode(self) -> bytes:
        if len(self.data) > MAX_UPDATE_BLOCK:
            raise CommandError(f"command 14: a block has at most {MAX_UPDATE_BLOCK} bytes, not {len(self.data)}")
        return _header(self) + self.data

    @classmethod
    def decode(cls, frame: bytes) -> Self:
        if len(frame) - 4 > MAX_UPDATE_BLOCK:
            raise CommandError(f"command 14: a block has at most {MAX_UPDATE_BLOCK} bytes, not {len(frame) - 4}")
        return cls(frame[4:], _request_id(frame))


@dataclass(frozen=True, slots=True)
class AgentTag:
    """15, from the agent: the text that an installer set. It has no request id."""

    number: ClassVar = Number.AGENT_TAG
    text: str

    def encode(self) -> bytes:
        return self.number.to_bytes(2, "big") + self.text.encode()

    @classmethod
    def decode(cls, frame: bytes) -> Self:
        return cls(frame[2:].rstrip(b"\0").decode("utf-8", "replace"))


@dataclass(frozen=True, slots=True)
class CoreOk:
    """16, to the agent: the stored core is the right one, start it now."""

    number: ClassVar = Number.CORE_OK
    request_id: int = 0

    def encode(self) -> bytes:
        return _header(self)

    @classmethod
    def decode(cls, frame: bytes) -> Self:
        return cls(_request_id(frame))


@dataclass(frozen=True, slots=True)
class CoreData:
    """1000 and above, both ways: bytes for or from the core, the two bytes of the number included."""

    data: bytes

    def encode(self) -> bytes:
        return self.data


Command = CoreModule | CompressedCore | CoreHash | AgentHash | AgentUpdate | UpdateBlock | AgentTag | CoreOk | CoreData

_Numbered = CoreModule | CompressedCore | CoreHash | AgentHash | AgentUpdate | UpdateBlock | CoreOk

_DECODERS: dict[int, Callable[[bytes], Command]] = {
    kind.number: kind.decode
    for kind in (CoreModule, CompressedCore, CoreHash, AgentHash, AgentUpdate, UpdateBlock, CoreOk)
}


def decode(frame: bytes) -> Command | None:
    """Parse one binary command. None for numbers that have no meaning here. Raises CommandError."""
    if len(frame) < 2:
        raise CommandError("a command has at least 2 bytes")
    number = frame[0] << 8 | frame[1]
    if number >= FIRST_CORE_COMMAND:
        return CoreData(frame)
    if number == Number.AGENT_TAG:
        return AgentTag.decode(frame)
    decoder = _DECODERS.get(number)
    if decoder is None:
        return None
    if len(frame) < 4:
        raise CommandError(f"command {number} has at least 4 bytes")
    return decoder(frame)


def _header(command: _Numbered) -> bytes:
    return command.number.to_bytes(2, "big") + command.request_id.to_bytes(2, "big")


def _request_id(frame: bytes) -> int:
    return frame[2] << 8 | frame[3]


def _hash(frame: bytes) -> bytes:
    if len(frame) < 4 + HASH_SIZE:
        raise CommandError(f"command {frame[1]}: the hash is cut short")
    return frame[4 : 4 + HASH_SIZE]


def _after_hash(frame: bytes) -> bytes:
    return frame[4 + HASH_SIZE :]


def _optional_hash(frame: bytes) -> bytes | None:
    return _hash(frame) if len(frame) > 4 else None
