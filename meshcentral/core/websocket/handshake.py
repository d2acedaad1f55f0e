"""The server's half of the WebSocket opening handshake (RFC 6455, 4.2), as pure functions."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")
"""16 bytes in base64. The bits that the last character leaves over are not looked at: MeshAgent sets them."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP answer instead of the upgrade."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...] = ()


def accept_token(key: str) -> str:
    """`Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`."""
    digest = hashlib.sha1((key + _GUID).encode(), usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def wants_upgrade(headers: Mapping[str, str]) -> bool:
    """The request asks for a WebSocket. `headers` has lower-case names and joined values."""
    return _has_token(headers.get("upgrade", ""), "websocket") and _has_token(headers.get("connection", ""), "upgrade")


def check_upgrade(method: str, headers: Mapping[str, str]) -> Refusal | None:
    """None when the upgrade request is well-formed, else how to refuse it."""
    if method != "GET":
        return Refusal(405, "a WebSocket is opened with GET", (("Allow", "GET"),))
    if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
        # A proxy would take our first frames for the body, or the body for frames.
        return Refusal(400, "a request that opens a WebSocket has no body")
    if headers.get("sec-websocket-version", "") != "13":
        return Refusal(426, "only WebSocket version 13 is spoken here", (("Sec-WebSocket-Version", "13"),))
    if not _KEY.fullmatch(headers.get("sec-websocket-key", "")):
        return Refusal(400, "Sec-WebSocket-Key must be 16 bytes in base64")
    return None


def switching_protocols(headers: Mapping[str, str]) -> bytes:
    """The 101 response for a checked request. No extension and no sub-protocol is ever negotiated."""
    token = accept_token(headers["sec-websocket-key"])
    return (
        "HTTP/1.1 101 Switching Protocols\r\n"
        "Upgrade: websocket\r\n"
        "Connection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {token}\r\n\r\n"
    ).encode()


def _has_token(value: str, token: str) -> bool:
    return any(part.strip().lower() == token for part in value.split(","))
