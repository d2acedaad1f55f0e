"""Recorded frames and throw-away keys."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from meshcentral_protocol.handshake_messages import AuthVerify
from meshcentral_protocol.keys import AgentKey

VECTORS = Path(__file__).parent / "data" / "agent_handshake.json"


@dataclass(frozen=True)
class Recording:
    """One slow-path handshake of a real agent."""

    values: dict[str, Any]

    def bytes(self, name: str) -> bytes:
        return bytes.fromhex(self.values[name])

    def sent(self, direction: str) -> list[bytes]:
        return [bytes.fromhex(frame["hex"]) for frame in self.values["frames"] if frame["dir"] == direction]

    @property
    def from_agent(self) -> list[bytes]:
        return self.sent("A>S")

    @property
    def from_server(self) -> list[bytes]:
        return self.sent("S>A")


@dataclass(frozen=True)
class RecordedIdentity:
    """A recorded certificate; its private key is gone, so it replays the recorded signature."""

    certificate_der: bytes
    signature: bytes

    @classmethod
    def of(cls, frame: bytes) -> RecordedIdentity:
        answer = AuthVerify.decode(frame)
        return cls(answer.certificate, answer.signature)

    def sign(self, data: bytes) -> bytes:
        return self.signature


@pytest.fixture(scope="session")
def recording() -> Recording:
    return Recording(json.loads(VECTORS.read_text()))


@pytest.fixture(scope="session")
def server_identity(recording: Recording) -> RecordedIdentity:
    return RecordedIdentity.of(recording.from_server[1])


@pytest.fixture(scope="session")
def agent_identity(recording: Recording) -> RecordedIdentity:
    return RecordedIdentity.of(recording.from_agent[4])


@pytest.fixture(scope="session")
def agent_key() -> AgentKey:
    return AgentKey.generate(2048)


@pytest.fixture(scope="session")
def server_key() -> AgentKey:
    return AgentKey.generate(2048)
