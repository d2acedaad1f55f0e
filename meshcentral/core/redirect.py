"""The plain HTTP port: sends everybody to HTTPS and answers nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from meshcentral.core.front import HEAD_TIMEOUT, plain_response
from meshcentral.core.request_head import MAX_HEAD, BadRequest, parse_head
from meshcentral.core.websocket.handshake import Refusal
from meshcentral.core.websocket.sweep import Sweep

MAX_REDIRECTS = 256
"""Connections at one time; one more drops the oldest."""

Target = Callable[[str], str]
"""From a request target (`/path?query`) to the URL to go to."""


class Redirect(asyncio.Protocol):
    """One connection: one request head, one 301. The Host header is never looked at, so it cannot be reflected."""

    __slots__ = ("_buffer", "_target", "_transport", "_waiting", "due")

    def __init__(self, waiting: Sweep[Redirect], target: Target) -> None:
        self._waiting = waiting
        self._target = target
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self.due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if len(self._waiting) >= MAX_REDIRECTS:
            self._waiting.oldest().abort()
        self.due = asyncio.get_running_loop().time() + HEAD_TIMEOUT
        self._waiting.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._waiting.discard(self)

    def expire(self, now: float) -> None:
        """The head, or the end of the connection, did not come in time."""
        self.abort()

    def abort(self) -> None:
        """Drop the connection."""
        self._waiting.discard(self)
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._buffer += data
        head, end, _ = self._buffer.partition(b"\r\n\r\n")
        if end or len(self._buffer) > MAX_HEAD:
            transport.write(plain_response(self._answer(head)))
            transport.close()

    def _answer(self, head: bytes) -> Refusal:
        if len(head) > MAX_HEAD:
            return Refusal(431, "the request head is too long")
        try:
            request = parse_head(head)
        except BadRequest as error:
            return Refusal(error.status, error.reason)
        if request.method not in ("GET", "HEAD"):
            return Refusal(405, "only HTTPS is served", (("Allow", "GET, HEAD"),))
        if not request.target.startswith("/"):
            return Refusal(400, "the target is not an absolute path")
        return Refusal(301, "moved to HTTPS", (("Location", self._target(request.target)),))
