"""RSA keys of agents and agent-servers: reading certificates, verifying and making signatures.

Source: agent-protocol reference, sections 1 and 3.3. All signatures are RSA PKCS#1 v1.5 with SHA-384.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import secrets
from pathlib import Path
from typing import Protocol, Self

from cryptography import x509
from cryptography.exceptions import InternalError, InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from meshcentral_protocol.errors import HandshakeError
from meshcentral_protocol.identifiers import OLD_HASH_SIZE, rsa_key_bytes, rsa_key_hash
from meshcentral_protocol.signed_data import first_signature

MAX_CERTIFICATE = 16 * 1024
"""Bytes of a DER certificate; real ones have about 1 KiB."""
MIN_KEY_BITS = 2048
MAX_KEY_BITS = 8192
MAX_EXPONENT_BITS = 64
"""A public exponent as long as the modulus makes one verification take a hundred times as long."""

_PADDING = padding.PKCS1v15()
_SHA384 = hashes.SHA384()


class SigningIdentity(Protocol):
    """A certificate with its private key, as far as the authentication needs it."""

    @property
    def certificate_der(self) -> bytes: ...

    def sign(self, data: bytes) -> bytes:
        """The raw signature (key size / 8 bytes). Takes about a millisecond: call it in a thread."""
        ...


def certificate_key(certificate: bytes) -> rsa.RSAPublicKey:
    """The public key of a DER certificate. Nothing else in it counts. Raises HandshakeError."""
    if len(certificate) > MAX_CERTIFICATE:
        raise HandshakeError(f"certificate: over {MAX_CERTIFICATE} bytes")
    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
    except Exception:
        # The library has no common base for what it finds wrong (ValueError, InvalidVersion, UnsupportedAlgorithm ...).
        raise HandshakeError("certificate: not readable as X.509 (DER)") from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise HandshakeError("certificate: the key is not RSA")
    if not MIN_KEY_BITS <= key.key_size <= MAX_KEY_BITS:
        raise HandshakeError(f"certificate: RSA keys have {MIN_KEY_BITS} to {MAX_KEY_BITS} bits, not {key.key_size}")
    if key.public_numbers().e.bit_length() > MAX_EXPONENT_BITS:
        raise HandshakeError(f"certificate: the RSA exponent is over {MAX_EXPONENT_BITS} bits")
    return key


def verify(key: rsa.RSAPublicKey, signature: bytes, data: bytes) -> bool:
    """Whether this key signed the data. A signature that is not as long as the key is a PKCS#7 structure around it.

    Raises HandshakeError when such a structure is malformed.
    """
    if len(signature) != (key.key_size + 7) // 8:
        signature = first_signature(signature)
    try:
        key.verify(signature, data, _PADDING, _SHA384)
    except (InvalidSignature, InternalError, ValueError):
        return False
    return True


def has_key_hash(key: rsa.RSAPublicKey, expected: bytes) -> bool:
    """Whether the key has this hash: 48 bytes SHA-384, or 32 bytes SHA-256 in old settings."""
    if len(expected) == OLD_HASH_SIZE:
        return hashlib.sha256(rsa_key_bytes(key)).digest() == expected
    return rsa_key_hash(key) == expected


class AgentKey:
    """An agent's own identity: an RSA key and a self-signed certificate around it."""

    __slots__ = ("_key", "certificate_der", "key_hash")

    def __init__(self, key: rsa.RSAPrivateKey, certificate_der: bytes) -> None:
        self._key = key
        self.certificate_der = certificate_der
        self.key_hash = rsa_key_hash(key.public_key())

    def sign(self, data: bytes) -> bytes:
        """RSA PKCS#1 v1.5 with SHA-384."""
        return self._key.sign(data, _PADDING, _SHA384)

    @classmethod
    def generate(cls, bits: int = 3072) -> Self:
        """A new identity. Takes up to a second."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
        return cls(key, _self_signed(key))

    @classmethod
    def load_or_create(cls, path: Path, bits: int = 3072) -> Self:
        """The identity kept in a PEM file (key and certificate, mode 0600), made on first use.

        Raises ValueError when the file is not such a PEM, OSError when it cannot be read or written.
        """
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            created = cls.generate(bits)
            created._save(path)
            return created
        key = serialization.load_pem_private_key(text, password=None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise ValueError(f"{path}: the private key is not RSA")
        certificate = x509.load_pem_x509_certificate(text)
        return cls(key, certificate.public_bytes(serialization.Encoding.DER))

    def _save(self, path: Path) -> None:
        key = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        certificate = x509.load_der_x509_certificate(self.certificate_der)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(key + certificate.public_bytes(serialization.Encoding.PEM))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _self_signed(key: rsa.RSAPrivateKey) -> bytes:
    """A certificate like the real agent's: only its key counts, so the dates are as wide as there."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "MeshNodeCertificate")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=10))
        .not_valid_after(now + datetime.timedelta(days=10_000))
        .sign(key, _SHA384)
    )
    return certificate.public_bytes(serialization.Encoding.DER)
