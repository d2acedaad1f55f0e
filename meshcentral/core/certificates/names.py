"""Host names in certificates: DNS names as A-labels and IP addresses."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from cryptography import x509
from cryptography.x509.oid import NameOID

from meshcentral.plugins.errors import ConfigurationError

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_MAX_DNS_NAME = 253

# IDNA 2003 (the standard library) and IDNA 2008 (browsers) turn names with these into different A-labels.
_DEVIATIONS = frozenset("ßς\u200c\u200d")


def host_name(name: str, setting: str = "settings.cert") -> str:
    """The one written form of a host name: lower-case A-labels without a trailing dot, or the canonical IP address.

    Raises ConfigurationError naming `setting`.
    """
    text = name.strip().removesuffix(".")
    try:
        return str(ipaddress.ip_address(text.removeprefix("[").removesuffix("]")))
    except ValueError:
        pass
    if _DEVIATIONS & set(text):
        raise ConfigurationError(
            f"{setting}: {name!r} has letters whose DNS form differs between standards",
            hint="write the name as it is registered in DNS, in its xn-- form",
        )
    try:
        dns = text.encode("idna").decode("ascii").lower()
    except UnicodeError:
        dns = ""
    labels = dns.split(".")
    if len(dns) > _MAX_DNS_NAME or labels[-1].isdigit() or not all(_LABEL.fullmatch(label) for label in labels):
        raise ConfigurationError(
            f"{setting}: {name[:80]!r} is neither a DNS name nor an IP address",
            hint='write the name that agents and browsers connect to, such as "mesh.example.com"',
        )
    return dns


def general_name(name: str) -> x509.GeneralName:
    """A name in its written form (`host_name`) as a SubjectAlternativeName entry."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def certificate_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """DNS names and IP addresses of SubjectAlternativeName; without any, the common name."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        names: list[str] = []
    else:
        names = [name.lower() for name in extension.value.get_values_for_type(x509.DNSName)]
        names += [str(address) for address in extension.value.get_values_for_type(x509.IPAddress)]
    if names:
        return tuple(dict.fromkeys(names))
    return tuple(
        str(attribute.value).lower() for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    )


def covers(names: Iterable[str], name: str) -> bool:
    """Whether a certificate with `names` is valid for host `name`; `*` stands for one whole first label (RFC 9525)."""
    wildcard = "*." + name.partition(".")[2] if "." in name else None
    return any(candidate in (name, wildcard) for candidate in names)
