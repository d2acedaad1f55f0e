"""Making certificates: the profile of each purpose, and issuing from the root.

Pure apart from randomness: keys, names and the time come in, certificates come out.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meshcentral.core.certificates.keys import KeyKind, PrivateKey, PublicKey
from meshcentral.core.certificates.model import Purpose
from meshcentral.core.certificates.names import general_name, host_name
from meshcentral.core.certificates.pairs import Pair
from meshcentral.plugins.errors import ConfigurationError

WEB_LIFE = timedelta(days=365)
LONG_LIFE = timedelta(days=22 * 365)
"""Of root, MPS and agent server. Ends before 2050 for many years to come: later dates are written in another form
(RFC 5280, 4.1.2.5), which is not worth trying on old Intel AMT firmware."""

CLOCK_SKEW = timedelta(days=2)
"""Certificates begin this long before they are made, for clients whose clock is behind."""

_MAX_COMMON_NAME = 64


@dataclass(frozen=True, slots=True)
class CertificateSettings:
    """What the configuration says about the server's certificates. Bad values raise ConfigurationError."""

    name: str
    """Host name or IP address of the server (`settings.cert`)."""
    fast: bool = False
    """RSA-2048 everywhere, for small machines."""
    organization: str | None = None
    country: str | None = None
    """Two letters, ISO 3166."""
    mps_name: str | None = None
    """Host name that Intel AMT devices connect to, when it is not `name`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", host_name(self.name))
        if self.mps_name is not None:
            object.__setattr__(self, "mps_name", host_name(self.mps_name, "settings.mpsaliashost"))
        if self.country is not None and not (
            len(self.country) == 2 and self.country.isascii() and self.country.isalpha()
        ):
            raise ConfigurationError(
                f"certificate country: {self.country[:20]!r} is not a country code",
                hint="write two letters, such as DE",
            )
        if self.organization is not None and not 1 <= len(self.organization) <= 64:
            raise ConfigurationError(
                "certificate organization: the name must have 1 to 64 characters", hint="shorten the name"
            )

    def key_kind(self, purpose: Purpose) -> KeyKind:
        """The key to make. Older Intel AMT firmware refuses more than RSA-2048 (seed, "MPS certificate")."""
        if purpose is Purpose.WEB_ECDSA:
            return KeyKind.ECDSA_P256
        return KeyKind.RSA_2048 if self.fast or purpose is Purpose.MPS else KeyKind.RSA_3072

    def names(self, purpose: Purpose) -> tuple[str, ...]:
        """Host names for a certificate of this purpose; the first is its common name."""
        match purpose:
            case Purpose.WEB | Purpose.WEB_ECDSA:
                return (self.name,)
            case Purpose.MPS:
                return (self.mps_name or self.name,)
            case _:
                return ()


def issue_root(key: PrivateKey, settings: CertificateSettings, now: datetime) -> x509.Certificate:
    """The self-signed root. It may issue leaves only."""
    subject = _subject(f"MeshRoot-{secrets.token_hex(3)}", settings)
    public = key.public_key()
    builder = _builder(subject, subject, public, now, LONG_LIFE)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
    return builder.sign(key, hashes.SHA384())


def issue_leaf(
    purpose: Purpose,
    key: PublicKey,
    root: Pair,
    names: Sequence[str],
    settings: CertificateSettings,
    now: datetime,
) -> x509.Certificate:
    """A certificate signed by `root`.

    Its end is not clamped to the root's: paths are validated certificate by certificate, and near the end of a root
    clamping would make the renewal run in circles.
    """
    life = WEB_LIFE if purpose in (Purpose.WEB, Purpose.WEB_ECDSA) else LONG_LIFE
    common_name = names[0] if names else f"MeshAgentServer-{secrets.token_hex(3)}"
    subject = _subject(common_name, settings)
    builder = _builder(subject, root.certificate.subject, key, now, life)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_authority(root.certificate, root.key.public_key()), critical=False)
    # Static-RSA suites, which Intel AMT uses, need keyEncipherment; the agent server only ever signs.
    enciphers = isinstance(key, rsa.RSAPublicKey) and bool(names)
    builder = builder.add_extension(_key_usage(digital_signature=True, key_encipherment=enciphers), critical=True)
    if names:
        server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        builder = builder.add_extension(server, critical=False)
        alternative = x509.SubjectAlternativeName([general_name(name) for name in names])
        builder = builder.add_extension(alternative, critical=not list(subject))
    return builder.sign(root.key, hashes.SHA384())


def is_issued_by(certificate: x509.Certificate, root: x509.Certificate) -> bool:
    """Whether `root`'s key signed this certificate under its name. Dates do not matter."""
    try:
        certificate.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _builder(
    subject: x509.Name, issuer: x509.Name, key: PublicKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    moment = now.replace(microsecond=0)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(secrets.randbelow(2**128 - 1) + 1)
        .not_valid_before(moment - CLOCK_SKEW)
        .not_valid_after(moment + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _subject(common_name: str, settings: CertificateSettings) -> x509.Name:
    """A longer host name than a common name can hold is in SubjectAlternativeName only."""
    attributes = []
    if settings.country:
        attributes.append(x509.NameAttribute(NameOID.COUNTRY_NAME, settings.country.upper()))
    if settings.organization:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, settings.organization))
    if len(common_name) <= _MAX_COMMON_NAME:
        attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
    return x509.Name(attributes)


def _authority(root: x509.Certificate, root_key: PublicKey) -> x509.AuthorityKeyIdentifier:
    """The root's own identifier when it has one, however it was computed (RFC 5280, 4.2.1.1)."""
    try:
        subject_key = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject_key)


def _key_usage(
    *,
    digital_signature: bool = False,
    key_encipherment: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_encipherment=key_encipherment,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
