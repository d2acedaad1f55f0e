"""Keys and folders that are made once, and a clock that tests set."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meshcentral.core.certificates import CertificateSettings, CertificateStore
from meshcentral.core.certificates.keys import KeyKind, PrivateKey, generate_keys
from meshcentral.core.paths import DataPaths

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
NAME = "mesh.example.com"


@dataclass
class SetClock:
    """A clock that stands still until a test moves it."""

    moment: datetime = NOW

    def now(self) -> datetime:
        return self.moment

    def milliseconds(self) -> int:
        return int(self.moment.timestamp() * 1000)

    def monotonic(self) -> float:
        return self.moment.timestamp()

    def forward(self, **time: float) -> None:
        self.moment += timedelta(**time)


@dataclass(frozen=True)
class Keys:
    """Throw-away keys, shared because making them is slow."""

    root: rsa.RSAPrivateKey
    web: rsa.RSAPrivateKey
    agent: rsa.RSAPrivateKey
    other: rsa.RSAPrivateKey
    curve: PrivateKey


@pytest.fixture(scope="session")
def keys() -> Keys:
    kinds = dict.fromkeys(("root", "web", "agent", "other"), KeyKind.RSA_2048) | {"curve": KeyKind.ECDSA_P256}
    made = generate_keys(kinds)
    rsa_keys = {label: key for label, key in made.items() if isinstance(key, rsa.RSAPrivateKey)}
    return Keys(**rsa_keys, curve=made["curve"])


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def settings() -> CertificateSettings:
    return CertificateSettings(NAME, fast=True)


@pytest.fixture(scope="session")
def issued_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder after a first start. Copy it: the `data` fixture does."""
    folder = tmp_path_factory.mktemp("issued")
    CertificateStore.load(DataPaths.at(folder), CertificateSettings(NAME, fast=True), SetClock())
    return folder


@pytest.fixture
def data(issued_folder: Path, tmp_path: Path) -> Path:
    """A data folder of ours with RSA-2048 keys."""
    return Path(shutil.copytree(issued_folder, tmp_path / "data"))


@pytest.fixture
def peer_data(keys: Keys, tmp_path: Path) -> Path:
    """A data folder as the peer makes it: PKCS#1 keys, fixed dates, no authority key identifiers."""
    folder = tmp_path / "meshcentral-data"
    folder.mkdir()
    root = peer_certificate("MeshCentralRoot-ab12cd", keys.root, authority=True)
    write_pem_pair(folder, "root-cert", root, keys.root)
    for base, key in (("webserver-cert", keys.web), ("mpsserver-cert", keys.other), ("agentserver-cert", keys.agent)):
        write_pem_pair(folder, base, peer_certificate(NAME, key, issuer=root, issuer_key=keys.root), key)
    return folder


def peer_certificate(
    name: str,
    key: PrivateKey,
    *,
    issuer: x509.Certificate | None = None,
    issuer_key: PrivateKey | None = None,
    authority: bool = False,
) -> x509.Certificate:
    """A certificate as forge makes it for the peer; self-signed without an issuer."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(4711)
        .not_valid_before(datetime(2018, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2049, 12, 31, tzinfo=UTC))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=False)
    )
    if not authority:
        names = x509.SubjectAlternativeName([x509.DNSName(name), x509.UniformResourceIdentifier(f"http://{name}/")])
        builder = builder.add_extension(names, critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return builder.sign(issuer_key or key, hashes.SHA384())


def write_pem_pair(
    folder: Path, base: str, certificate: x509.Certificate, key: PrivateKey, *more: x509.Certificate
) -> None:
    """Write a pair as an administrator or the peer would: PKCS#1, CRLF, modes of an open umask."""
    chain = b"".join(each.public_bytes(Encoding.PEM) for each in (certificate, *more)).replace(b"\n", b"\r\n")
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).replace(b"\n", b"\r\n")
    (folder / f"{base}-public.crt").write_bytes(chain)
    (folder / f"{base}-private.key").write_bytes(pem)
    (folder / f"{base}-private.key").chmod(0o644)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of the folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}
