"""Fixtures of the core's tests: throw-away certificates and a hosting stack on loopback ports."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from meshcentral.core.app import create_application
from meshcentral.core.listeners import Listeners
from meshcentral.core.tls import CertificateFiles, make_context
from meshcentral.plugins.services import Health
from meshcentral.plugins.web import CertificateHashes, Route, SocketRoute

SHOWN = (CertificateHashes(full=b"f" * 48, key=b"k" * 48),)


def make_certificate(folder: Path, name: str, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> CertificateFiles:
    """A self-signed certificate for localhost; returns its (chain, key) files."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain_file, key_file = folder / f"{name}.crt", folder / f"{name}.key"
    chain_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return chain_file, key_file


@pytest.fixture
def write_certificate() -> Callable[..., CertificateFiles]:
    """`write_certificate(folder, name, key)`: one more self-signed certificate."""
    return make_certificate


@pytest.fixture(scope="session")
def tls_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[CertificateFiles, CertificateFiles]:
    """An RSA and an ECDSA certificate, in that order."""
    folder = tmp_path_factory.mktemp("tls")
    return (
        make_certificate(folder, "rsa", rsa.generate_private_key(65537, 2048)),
        make_certificate(folder, "ecdsa", ec.generate_private_key(ec.SECP256R1())),
    )


@dataclass
class Hosting:
    """A running stack and what a test needs to talk to it."""

    listeners: Listeners
    port: int
    local_path: Path
    client_context: ssl.SSLContext
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def wss(self, path: str) -> str:
        return f"wss://127.0.0.1:{self.port}{path}"

    @property
    def origin(self) -> str:
        return "https://mesh.example:8443"

    async def open_stream(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=self.client_context)

    async def exchange(self, request: bytes) -> bytes:
        """Send bytes on a new TLS connection and return all that comes back until the server hangs up."""
        reader, writer = await self.open_stream()
        writer.write(request)
        try:
            return await reader.read()
        finally:
            writer.close()


MakeHosting = Callable[..., AbstractAsyncContextManager[Hosting]]


def client_context(*trusted: Path) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for chain_file in trusted:
        context.load_verify_locations(chain_file)
    return context


async def _healthy() -> list[Health]:
    return [Health("store", True, "12 devices")]


async def run_blocking(function: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(function)


@pytest.fixture
def hosting(tls_files: tuple[CertificateFiles, CertificateFiles], tmp_path: Path) -> MakeHosting:
    """`async with hosting(routes=..., sockets=...) as host:` serves them until the block ends."""

    @asynccontextmanager
    async def make(
        *,
        routes: Sequence[Route] = (),
        sockets: Sequence[SocketRoute] = (),
        domains: Sequence[str] = ("", "customer"),
        health: Callable[[], Coroutine[Any, Any, list[Health]]] = _healthy,
        agent_idle: float = 150.0,
    ) -> AsyncIterator[Hosting]:
        tasks: set[asyncio.Task[None]] = set()

        def spawn(coro: Coroutine[Any, Any, None], *, name: str, owner: str) -> asyncio.Task[None]:
            task = asyncio.get_running_loop().create_task(coro, name=f"{owner}: {name}")
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            return task

        def origins() -> frozenset[str]:
            return frozenset({"https://mesh.example:8443"})

        app = create_application(
            routes,
            domains,
            health=health,
            origins=origins,
            run_blocking=run_blocking,
            shown_certificates=lambda: SHOWN,
        )
        listeners = Listeners(
            app=app,
            sockets=sockets,
            domains=domains,
            origins=origins,
            shown_certificates=lambda: SHOWN,
            spawn=spawn,
            agent_idle=agent_idle,
        )
        port = await listeners.open_tls(["127.0.0.1"], 0, make_context("intermediate", tls_files))
        await listeners.open_local(tmp_path / "control.sock")
        host = Hosting(
            listeners, port, tmp_path / "control.sock", client_context(*(files[0] for files in tls_files)), tasks
        )
        try:
            yield host
        finally:
            await listeners.drain(2)
            assert not tasks, f"left behind: {tasks}"

    return make


@pytest.fixture(autouse=True)
def _quiet_websockets() -> None:
    """The client library of the tests logs every frame at DEBUG level."""
    logging.getLogger("websockets").setLevel(logging.INFO)
