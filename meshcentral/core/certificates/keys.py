"""Private keys: generating, reading and writing them, and the hashes by which agents know the public half."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from meshcentral.plugins.errors import ConfigurationError
from meshcentral.plugins.web import CertificateHashes
from meshcentral_protocol.identifiers import certificate_hash, rsa_key_bytes

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey
Label = TypeVar("Label")


class KeyKind(enum.Enum):
    """The keys that we make; others are only read."""

    RSA_2048 = "RSA-2048"
    RSA_3072 = "RSA-3072"
    ECDSA_P256 = "ECDSA-P256"


def generate_key(kind: KeyKind) -> PrivateKey:
    """A new private key. Blocks: up to half a second for RSA-3072."""
    match kind:
        case KeyKind.RSA_2048:
            return rsa.generate_private_key(65537, 2048)
        case KeyKind.RSA_3072:
            return rsa.generate_private_key(65537, 3072)
        case KeyKind.ECDSA_P256:
            return ec.generate_private_key(ec.SECP256R1())


def generate_keys(kinds: Mapping[Label, KeyKind]) -> dict[Label, PrivateKey]:
    """One new key per label, side by side in threads: generating releases the interpreter lock."""
    if not kinds:
        return {}
    with ThreadPoolExecutor(max_workers=len(kinds), thread_name_prefix="keys") as pool:
        return dict(zip(kinds, pool.map(generate_key, kinds.values()), strict=True))


def key_to_pem(key: PrivateKey) -> bytes:
    """Unencrypted PKCS#8, which the peer and every TLS library read. It belongs into a file of mode 0600."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def parse_private_key(pem: bytes, file: Path) -> PrivateKey:
    """Read a PEM key, PKCS#1, SEC 1 or PKCS#8. Raises ConfigurationError naming `file`.

    The library's test of RSA primes takes a tenth of a second per key and is left out: `belongs_to` follows.
    """
    try:
        key = load_pem_private_key(pem, password=None, unsafe_skip_rsa_key_validation=True)
    except TypeError:  # what the library raises for an encrypted key without a password
        raise ConfigurationError(
            f"{file}: the private key is encrypted; the server must be able to read it without a password",
            hint=f"put a decrypted copy in its place: openssl pkey -in {file.name} -out decrypted.key",
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError(
            f"{file}: there is no readable PEM private key in this file",
            hint="restore the file from a backup; it begins with a line like -----BEGIN PRIVATE KEY-----",
        ) from None
    if not isinstance(key, PrivateKey):
        raise ConfigurationError(
            f"{file}: the key must be RSA or elliptic-curve (ECDSA)",
            hint="replace certificate and key: browsers and agents cannot use other kinds of key",
        )
    return key


def key_type(key: PublicKey) -> tuple[str, int]:
    """`("RSA" | "ECDSA", bits)`."""
    return ("RSA" if isinstance(key, rsa.RSAPublicKey) else "ECDSA"), key.key_size


def public_key_bits(key: PublicKey) -> bytes:
    """Content of the BIT STRING in SubjectPublicKeyInfo: RSAPublicKey in DER, or the uncompressed curve point.

    Agents hash this and not the whole SubjectPublicKeyInfo (agent-protocol reference, 1).
    """
    if isinstance(key, rsa.RSAPublicKey):
        return rsa_key_bytes(key)
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def public_key_of(certificate: x509.Certificate) -> PublicKey | None:
    """The certificate's key; None when it is neither RSA nor elliptic-curve, or malformed."""
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, PublicKey) else None


def belongs_to(key: PrivateKey, public: PublicKey | None) -> bool:
    """Whether `key` is the private half of `public` and not damaged: a signature is made and verified."""
    if public is None or key.public_key() != public:
        return False
    probe, digest = b"certificate and key", hashes.SHA384()
    try:
        if isinstance(key, rsa.RSAPrivateKey):
            signature = key.sign(probe, padding.PKCS1v15(), digest)
            key.public_key().verify(signature, probe, padding.PKCS1v15(), digest)
        else:
            key.public_key().verify(key.sign(probe, ec.ECDSA(digest)), probe, ec.ECDSA(digest))
    except (InvalidSignature, ValueError):
        return False
    return True


def hash_key(key: PublicKey) -> bytes:
    """SHA-384 (48 bytes): a server id, a node id, or the short form of a web hash."""
    return hashlib.sha384(public_key_bits(key)).digest()


def hash_certificate(certificate: x509.Certificate, key: PublicKey) -> CertificateHashes:
    """Both hashes under which an agent may report this certificate (agent-protocol reference, 3.3)."""
    return CertificateHashes(full=certificate_hash(certificate.public_bytes(Encoding.DER)), key=hash_key(key))
