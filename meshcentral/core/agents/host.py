"""What the agents' door needs of the server that it belongs to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from meshcentral.plugins.events import Bus
from meshcentral.plugins.server import Clock, Pool
from meshcentral.plugins.store import Store
from meshcentral.plugins.web import CertificateHashes
from meshcentral_protocol.keys import SigningIdentity

T = TypeVar("T")


class AgentCertificates(Protocol):
    """The certificates that agents see and check."""

    def recognise(self, web_hash: bytes) -> CertificateHashes | None:
        """The web certificate with this full or key hash, if we serve or lately served it."""
        ...

    def identity_for(self, server_id: bytes | None) -> SigningIdentity | None:
        """The agent-server identity with this key hash (48 or 32 bytes); None asks for the first one."""
        ...


class Notifier(Protocol):
    """The part of the hooks that is used here."""

    async def notify(self, name: str, /, **arguments: Any) -> Any: ...


class AgentHost(Protocol):
    """The server, as far as agents go."""

    @property
    def certificates(self) -> AgentCertificates: ...
    @property
    def store(self) -> Store: ...
    @property
    def bus(self) -> Bus: ...
    @property
    def hooks(self) -> Notifier: ...
    @property
    def clock(self) -> Clock: ...

    async def run_blocking(self, function: Callable[[], T], *, pool: Pool = "general") -> T: ...
