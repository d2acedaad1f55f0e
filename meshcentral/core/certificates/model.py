"""What the server knows of each of its certificates."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypedDict

from cryptography import x509

from meshcentral.core.certificates.keys import key_type, public_key_of
from meshcentral.core.certificates.names import certificate_names
from meshcentral.plugins.web import CertificateHashes


class Purpose(enum.StrEnum):
    """What a certificate is for. The value is what people type and what `describe` reports."""

    ROOT = "root"
    WEB = "web"
    WEB_ECDSA = "web-ecdsa"
    MPS = "mps"
    AGENT_SERVER = "agentserver"


WEB_PURPOSES = frozenset({Purpose.WEB, Purpose.WEB_ECDSA})


class CertificateDescription(TypedDict):
    """One row of the certificate list; its members are an API."""

    purpose: str
    subject: str
    issuer: str
    names: list[str]
    not_before: str
    not_after: str
    days_left: int
    key_type: str
    key_bits: int
    sha384: str
    key_sha384: str
    file: str
    self_issued: bool
    managed: bool


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """One certificate as it was read from its files, with what comes after it in the chain."""

    purpose: Purpose
    chain: tuple[x509.Certificate, ...]
    """Leaf first."""
    chain_file: Path
    key_file: Path
    hashes: CertificateHashes
    self_issued: bool
    """Issued by the root in the same folder (or is that root)."""

    @property
    def certificate(self) -> x509.Certificate:
        """The leaf."""
        return self.chain[0]

    @property
    def managed(self) -> bool:
        """Renewed by the server itself. What an administrator put there is not."""
        return self.self_issued and self.purpose in WEB_PURPOSES

    @property
    def not_before(self) -> datetime:
        return self.certificate.not_valid_before_utc

    @property
    def not_after(self) -> datetime:
        return self.certificate.not_valid_after_utc

    @property
    def names(self) -> tuple[str, ...]:
        """Host names: DNS names and IP addresses. Root and agent server have none."""
        if self.purpose in (Purpose.ROOT, Purpose.AGENT_SERVER):
            return ()
        return certificate_names(self.certificate)

    def describe(self, now: datetime) -> CertificateDescription:
        """A row for people and scripts; times in ISO 8601, hashes in lower-case hex, names in RFC 4514 form."""
        key = public_key_of(self.certificate)
        kind, bits = key_type(key) if key is not None else ("", 0)
        return {
            "purpose": self.purpose.value,
            "subject": self.certificate.subject.rfc4514_string(),
            "issuer": self.certificate.issuer.rfc4514_string(),
            "names": list(self.names),
            "not_before": self.not_before.isoformat(),
            "not_after": self.not_after.isoformat(),
            "days_left": (self.not_after - now).days,
            "key_type": kind,
            "key_bits": bits,
            "sha384": self.hashes.full.hex(),
            "key_sha384": self.hashes.key.hex(),
            "file": str(self.chain_file),
            "self_issued": self.self_issued,
            "managed": self.managed,
        }
