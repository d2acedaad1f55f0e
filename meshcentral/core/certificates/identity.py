"""The keys by which this server proves itself to agents."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from meshcentral_protocol.identifiers import rsa_key_bytes, rsa_key_hash


@dataclass(frozen=True, slots=True)
class AgentServerIdentity:
    """One agent-server certificate with its key. Agents look at the public key only: names and dates do not matter."""

    certificate_der: bytes
    key_hash: bytes
    """48 bytes, SHA-384: the server id of `.msh` files and of message 5."""
    short_key_hash: bytes
    """32 bytes, SHA-256 of the same key bytes: the server id of old agents."""
    _key: rsa.RSAPrivateKey = field(repr=False)

    @classmethod
    def from_pair(cls, certificate: x509.Certificate, key: rsa.RSAPrivateKey) -> AgentServerIdentity:
        """Join a certificate with its own key; the caller has checked that they match."""
        public = key.public_key()
        return cls(
            certificate_der=certificate.public_bytes(Encoding.DER),
            key_hash=rsa_key_hash(public),
            short_key_hash=hashlib.sha256(rsa_key_bytes(public)).digest(),
            _key=key,
        )

    def sign(self, data: bytes) -> bytes:
        """RSA PKCS#1 v1.5 over SHA-384 (agent-protocol reference, 3.3); as long as the key, 256 or 384 bytes.

        Blocks for about a millisecond, from any thread: run it in the signing pool.
        """
        return self._key.sign(data, padding.PKCS1v15(), hashes.SHA384())

    def answers_to(self, server_id: bytes) -> bool:
        """Whether an agent that expects `server_id` (48 or 32 bytes) expects this identity."""
        return server_id in (self.key_hash, self.short_key_hash)
