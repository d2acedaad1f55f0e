"""Agent settings (`.msh`): the text file that tells an agent its device group and server.

Source: agent-protocol reference, section 9; reach protocol reference, 2.5 (order of lines). `key=value` lines ended by
CRLF after one empty line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Self

from meshcentral_protocol.errors import SettingsError
from meshcentral_protocol.identifiers import (
    HASH_SIZE,
    OLD_HASH_SIZE,
    group_id_from_hex,
    group_id_hex,
)

MAX_SETTINGS = 1024 * 1024
"""Characters of a settings file that `parse_lines` reads at most; branding may hold an image."""
BRANDING = (
    "displayName",
    "description",
    "companyName",
    "meshServiceName",
    "fileName",
    "image",
    "foreground",
    "background",
    "translation",
)
"""Keys of `AgentSettings.branding`, in the order in which they are written."""

_REFUSED = "CoreModule"
_KNOWN = frozenset(
    ("MeshName", "MeshType", "MeshID", "ServerID", "MeshServer", "DiscoveryKey", "Tag", "InstallFlags", *BRANDING)
) | {"ignoreProxyFile"}


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """What an agent needs to know, and what it may be told."""

    group_name: str
    group_id: str
    server_id: bytes
    """Key hash of the agent-server certificate: 48 bytes, or 32 in old files."""
    server_url: str
    """`wss://host:port/[domain/]agent.ashx`, or `local` for discovery on the local network."""
    group_type: int = 2
    discovery_key: str | None = None
    tag: str | None = None
    install_flags: int = 0
    """1 interactive only, 2 background only, 3 removal only; 0 writes no line."""
    ignore_proxy_file: bool = False
    extra: Mapping[str, str] = field(default_factory=dict)
    """Further lines, such as the site's own agent configuration, in order."""
    branding: Mapping[str, str] = field(default_factory=dict)

    def to_text(self) -> str:
        """The file. Raises SettingsError for what cannot be written, IdentifierError for a bad group id."""
        return "\r\n" + "".join(f"{_key(key)}={_value(key, value)}\r\n" for key, value in self._lines())

    def _lines(self) -> Iterator[tuple[str, str]]:
        yield "MeshName", self.group_name
        yield "MeshType", str(self.group_type)
        yield "MeshID", group_id_hex(self.group_id)
        if len(self.server_id) not in (HASH_SIZE, OLD_HASH_SIZE):
            raise SettingsError(f"ServerID: a server id has {HASH_SIZE} bytes, not {len(self.server_id)}")
        yield "ServerID", self.server_id.hex().upper()
        yield "MeshServer", self.server_url
        if self.discovery_key:
            yield "DiscoveryKey", self.discovery_key
        if self.tag:
            yield "Tag", self.tag
        if self.install_flags:
            yield "InstallFlags", str(self.install_flags)
        if self.ignore_proxy_file:
            yield "ignoreProxyFile", "1"
        for key, value in self.extra.items():
            if key in _KNOWN:
                raise SettingsError(f"{key}: this key has a place of its own")
            yield key, value
        for key in self.branding.keys() - set(BRANDING):
            raise SettingsError(f"{key!r}: not a branding key")
        for key in BRANDING:
            if key in self.branding:
                yield key, self.branding[key]

    @classmethod
    def from_text(cls, text: str, domain: str = "") -> Self:
        """Read a file. Raises SettingsError or IdentifierError."""
        values = parse_lines(text)
        for key in ("MeshID", "ServerID", "MeshServer"):
            if key not in values:
                raise SettingsError(f"{key}: missing")
        return cls(
            group_name=values.get("MeshName", ""),
            group_id=group_id_from_hex(values["MeshID"], domain),
            server_id=_server_id(values["ServerID"]),
            server_url=values["MeshServer"],
            group_type=_number("MeshType", values.get("MeshType", "2")),
            discovery_key=values.get("DiscoveryKey"),
            tag=values.get("Tag"),
            install_flags=_number("InstallFlags", values.get("InstallFlags", "0")),
            ignore_proxy_file=values.get("ignoreProxyFile") == "1",
            extra={key: value for key, value in values.items() if key not in _KNOWN},
            branding={key: values[key] for key in BRANDING if key in values},
        )


def parse_lines(text: str) -> dict[str, str]:
    """The keys and values of a settings file, as the agent reads them. Raises SettingsError.

    `#` begins a comment line, the first `=` splits, both sides are trimmed, an empty value deletes the key, later
    lines win, and lines without `=` are passed over.
    """
    if len(text) > MAX_SETTINGS:
        raise SettingsError(f"settings: over {MAX_SETTINGS} characters")
    values: dict[str, str] = {}
    for line in text.replace("\r\n", "\n").split("\n"):
        key, separator, value = line.partition("=")
        key, value = key.strip(), value.strip()
        if not separator or not key or key.startswith("#"):
            continue
        if key == _REFUSED:
            raise SettingsError(f"{_REFUSED}: agents refuse this key")
        values.pop(key, None)
        if value:
            values[key] = value
    return values


def _key(key: str) -> str:
    if not key or key != key.strip() or key.startswith("#") or "=" in key or not key.isprintable():
        raise SettingsError(f"{key[:40]!r}: not usable as a settings key")
    if key == _REFUSED:
        raise SettingsError(f"{_REFUSED}: agents refuse this key")
    return key


def _value(key: str, value: str) -> str:
    if any(character in value for character in "\r\n\0"):
        raise SettingsError(f"{key}: a settings value is one line, without line ends or NUL")
    return value.strip()


def _number(key: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise SettingsError(f"{key}: not a number")
    return int(text)


def _server_id(text: str) -> bytes:
    try:
        raw = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raise SettingsError("ServerID: not hexadecimal") from None
    if len(raw) not in (HASH_SIZE, OLD_HASH_SIZE):
        raise SettingsError(f"ServerID: {2 * HASH_SIZE} hex digits, not {2 * len(raw)}")
    return raw
