"""Identifiers of devices, device groups, accounts and user groups, and the hashes they are made of.

Source: agent-protocol reference, section 1; control-protocol reference, 3.5. An id is `<kind>/<domain>/<name>`; the
default domain is the empty string, so a device of it reads `node//<64 characters>`.
"""

from __future__ import annotations

import base64
import enum
import hashlib
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshcentral_protocol.errors import IdentifierError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

HASH_SIZE = 48
"""Bytes of a SHA-384 hash, and so of node ids, group ids and server ids."""
OLD_HASH_SIZE = 32
"""Bytes of the SHA-256 era's ids."""
MAX_USER_NAME = 2000

_MODIFIED_BASE64 = re.compile(r"[A-Za-z0-9@$]+={0,2}", re.ASCII)
_HASH_NAME = re.compile(r"[A-Za-z0-9@$]{64}", re.ASCII)
_OLD_GROUP_NAME = re.compile(r"[0-9a-f]{64}", re.ASCII)
_GROUP_HEX = re.compile(r"0x(?:[0-9A-Fa-f]{64}|[0-9A-Fa-f]{96})", re.ASCII)
_DOMAIN = re.compile(r"[A-Za-z0-9._-]{0,64}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f/]")


class Kind(enum.StrEnum):
    """What an id names; the value is its first part."""

    NODE = "node"
    GROUP = "mesh"
    USER = "user"
    USER_GROUP = "ugrp"


@dataclass(frozen=True, slots=True)
class Identifier:
    """A validated id, taken apart. `str()` puts it together again."""

    kind: Kind
    domain: str
    name: str
    """64 characters of modified base64, or an account's lower-case name."""

    def __str__(self) -> str:
        return f"{self.kind.value}/{self.domain}/{self.name}"


def parse(text: str, kind: Kind | None = None) -> Identifier:
    """Take an id apart and check each part. Raises IdentifierError; `kind` demands that kind."""
    parts = text.split("/", 3)
    if len(parts) != 3:
        raise IdentifierError("an id has three parts: kind/domain/name")
    try:
        found = Kind(parts[0])
    except ValueError:
        raise IdentifierError(f"unknown kind of id: {parts[0][:16]!r}") from None
    if kind is not None and found is not kind:
        raise IdentifierError(f"expected a {kind.value}/ id, not a {found.value}/ one")
    _check_domain(parts[1])
    if found is Kind.USER:
        _check_user_name(parts[2])
    elif not _HASH_NAME.fullmatch(parts[2]):
        raise IdentifierError(f"the name of a {found.value}/ id has 64 characters of A-Z a-z 0-9 @ $")
    return Identifier(found, parts[1], parts[2])


def complete(text: str, kind: Kind, domain: str) -> str:
    """The full id of what may be the short form (no `/`), checked. Raises IdentifierError."""
    return str(parse(text if "/" in text else f"{kind.value}/{domain}/{text}", kind))


def domain_of(text: str) -> str:
    """The domain part of an id, without checking the name. Raises IdentifierError."""
    parts = text.split("/", 2)
    if len(parts) != 3:
        raise IdentifierError("an id has three parts: kind/domain/name")
    return parts[1]


def encode_base64(raw: bytes) -> str:
    """Modified base64: `+` is `@` and `/` is `$`; 48 bytes give exactly 64 characters."""
    return base64.b64encode(raw, b"@$").decode("ascii")


def decode_base64(text: str) -> bytes:
    """The bytes of modified base64. Raises IdentifierError."""
    if not _MODIFIED_BASE64.fullmatch(text):
        raise IdentifierError("modified base64 has only A-Z a-z 0-9 @ $")
    try:
        return base64.b64decode(text, b"@$", validate=True)
    except ValueError:
        raise IdentifierError("modified base64 has a wrong length") from None


def node_id(key_hash: bytes, domain: str = "") -> str:
    """The device id of an agent whose public key has this SHA-384 hash (`rsa_key_hash`)."""
    _check_size(key_hash, "a node id")
    return f"node/{domain}/{encode_base64(key_hash)}"


def group_id(raw: bytes, domain: str = "") -> str:
    """The device group id for the 48 bytes that agents send.

    In ids of the SHA-256 era the last 16 bytes are zero; their text is the lower-case hex of the first 32.
    """
    _check_size(raw, "a device group id")
    if not any(raw[OLD_HASH_SIZE:]):
        return f"mesh/{domain}/{raw[:OLD_HASH_SIZE].hex()}"
    return f"mesh/{domain}/{encode_base64(raw)}"


def new_group_id(domain: str = "") -> str:
    """A fresh random device group id."""
    _check_domain(domain)
    return group_id(secrets.token_bytes(HASH_SIZE), domain)


def user_id(name: str, domain: str = "") -> str:
    """The account id of a user name, which is lower-cased. Raises IdentifierError."""
    name = name.lower()
    _check_domain(domain)
    _check_user_name(name)
    return f"user/{domain}/{name}"


def raw_group_id(text: str) -> bytes:
    """The 48 bytes that agents of this device group send. Raises IdentifierError."""
    name = parse(text, Kind.GROUP).name
    if _OLD_GROUP_NAME.fullmatch(name):
        return bytes.fromhex(name) + bytes(HASH_SIZE - OLD_HASH_SIZE)
    return decode_base64(name)


def group_id_hex(text: str) -> str:
    """The form used in settings files: `0x` and 96 (old ids: 64) upper-case hex digits. Raises IdentifierError."""
    raw = raw_group_id(text)
    if not any(raw[OLD_HASH_SIZE:]):
        raw = raw[:OLD_HASH_SIZE]
    return f"0x{raw.hex().upper()}"


def group_id_from_hex(text: str, domain: str = "") -> str:
    """The device group id of a settings file's `MeshID`. Raises IdentifierError."""
    if not _GROUP_HEX.fullmatch(text):
        raise IdentifierError("a group id in hex form has 0x and 96 (old ids: 64) hex digits")
    _check_domain(domain)
    return group_id(bytes.fromhex(text[2:]).ljust(HASH_SIZE, b"\0"), domain)


def rsa_key_hash(public_key: RSAPublicKey) -> bytes:
    """SHA-384 (48 bytes) of the DER PKCS#1 public key: what node ids and server ids are made of.

    It is *not* the hash of the SubjectPublicKeyInfo (agent-protocol reference, pitfall 1).
    """
    return hashlib.sha384(rsa_key_bytes(public_key)).digest()


def rsa_key_bytes(public_key: RSAPublicKey) -> bytes:
    """The DER PKCS#1 `RSAPublicKey`, over which key hashes are made."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return public_key.public_bytes(Encoding.DER, PublicFormat.PKCS1)


def certificate_hash(certificate: bytes) -> bytes:
    """SHA-384 (48 bytes) of a whole DER certificate."""
    return hashlib.sha384(certificate).digest()


def _check_domain(domain: str) -> None:
    if not _DOMAIN.fullmatch(domain):
        raise IdentifierError("a domain has at most 64 characters of A-Z a-z 0-9 . _ -")


def _check_user_name(name: str) -> None:
    if not 1 <= len(name) <= MAX_USER_NAME or _CONTROL.search(name) or name != name.lower() or name != name.strip():
        raise IdentifierError(
            f"a user name has 1 to {MAX_USER_NAME} lower-case characters, no / or control character, "
            "and no blank at either end"
        )


def _check_size(raw: bytes, what: str) -> None:
    if len(raw) != HASH_SIZE:
        raise IdentifierError(f"{what} has {HASH_SIZE} bytes, not {len(raw)}")
