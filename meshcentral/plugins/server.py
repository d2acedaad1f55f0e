"""The server as a plugin sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from meshcentral.plugins.agents import AgentRegistry
from meshcentral.plugins.events import Bus
from meshcentral.plugins.store import Store
from meshcentral.plugins.web import CertificateHashes, Socket

if TYPE_CHECKING:
    from meshcentral.plugins.dispatch import Hooks
    from meshcentral.plugins.records import PluginRecord

T = TypeVar("T")

Pool = Literal["signing", "passwords", "general"]
"""Bounded thread pools: a flood of logins or downloads cannot stop agents from being signed in."""


class Clock(Protocol):
    """Time; fixed in tests."""

    def now(self) -> datetime:
        """Aware, UTC."""
        ...

    def milliseconds(self) -> int:
        """Milliseconds since 1970, for the wire."""
        ...

    def monotonic(self) -> float:
        """Seconds, for intervals."""
        ...


class Paths(Protocol):
    """The folders of one installation. Only `core.paths` joins them."""

    @property
    def data(self) -> Path: ...
    @property
    def agents(self) -> Path:
        """Imported agent binaries."""
        ...

    @property
    def files(self) -> Path: ...
    @property
    def recordings(self) -> Path: ...
    @property
    def backups(self) -> Path: ...
    @property
    def temporary(self) -> Path:
        """Inside the data folder, same file system, emptied at start."""
        ...


@dataclass(frozen=True, slots=True)
class PublicAddress:
    """How clients reach us: what links, `.msh` files and greetings say."""

    name: str
    port: int
    redirect_port: int | None
    mps_port: int

    def https(self, domain: str = "", path: str = "") -> str:
        """`https://name[:port]/[domain/]path`."""
        return self._url("https", domain, path, elide=443)

    def wss(self, domain: str = "", path: str = "") -> str:
        """`wss://name:port/[domain/]path`; the port is always written, as the peer does for agents."""
        return self._url("wss", domain, path, elide=None)

    def _url(self, scheme: str, domain: str, path: str, elide: int | None) -> str:
        host = f"[{self.name}]" if ":" in self.name else self.name
        port = "" if self.port == elide else f":{self.port}"
        prefix = f"{domain}/" if domain else ""
        return f"{scheme}://{host}{port}/{prefix}{path}"


class Certificates(Protocol):
    """The server's own certificates, as far as plugins need them."""

    @property
    def web_hashes(self) -> Sequence[CertificateHashes]:
        """Every web certificate that clients may have been shown, newest first."""
        ...

    @property
    def agent_server_hash(self) -> bytes:
        """Key hash (48 bytes) of the first agent-server certificate: the ServerID of `.msh` files."""
        ...


class Server(Protocol):
    """One running (or offline) server. Two in one process share nothing."""

    @property
    def paths(self) -> Paths: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def store(self) -> Store: ...
    @property
    def bus(self) -> Bus: ...
    @property
    def agents(self) -> AgentRegistry: ...
    @property
    def hooks(self) -> Hooks: ...
    @property
    def plugins(self) -> Sequence[PluginRecord]: ...
    @property
    def certificates(self) -> Certificates: ...
    @property
    def address(self) -> PublicAddress: ...
    @property
    def domains(self) -> Sequence[str]:
        """Ids of the configured domains; always contains `""`."""
        ...

    @property
    def serving(self) -> bool:
        """Listeners are open; False in offline commands."""
        ...

    def spawn(self, coro: Coroutine[Any, Any, T], *, name: str, owner: str) -> asyncio.Task[T]:
        """Start a task that is kept, named, and whose failure is logged with its owner."""
        ...

    async def run_blocking(self, function: Callable[[], T], *, pool: Pool = "general") -> T:
        """Run blocking work in a bounded thread pool."""
        ...

    async def open_local(self, path: str) -> Socket:
        """Our end of an in-memory socket to one of our own socket routes, as the local administrator."""
        ...
