"""Runs the server's side of the authentication over a socket.

The protocol object decides; this only receives, sends and has signatures made in the signing pool. Nobody waits for a
place: when too many sockets are half-way, the oldest of them is dropped, so that a flood of silent connections cannot
keep real agents, which are through in a moment, outside.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from meshcentral.core.agents.admission import Refused
from meshcentral.core.agents.host import AgentHost
from meshcentral.plugins.web import Socket
from meshcentral_protocol.handshake import (
    AuthenticatedAgent,
    Hold,
    HoldReason,
    Ready,
    Send,
    ServerEffect,
    ServerHandshake,
    Sign,
)

HANDSHAKE_SECONDS = 20.0
"""As long as real agents wait for each step."""
MAX_UNFINISHED = 2048
"""Sockets that may be half-way through."""


class Authenticator:
    """All authentications in progress."""

    __slots__ = ("_host", "_unfinished")

    def __init__(self, host: AgentHost) -> None:
        self._host = host
        self._unfinished: dict[Socket, None] = {}

    async def authenticate(self, socket: Socket) -> AuthenticatedAgent | Refused:
        """Let the agent prove its key. Raises SocketClosed when it leaves before it has."""
        handshake = ServerHandshake(self._recognise, self._host.certificates.identity_for)
        self._begin(socket)
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                while True:
                    message = await socket.receive()
                    frame = message if isinstance(message, bytes) else message.encode("utf-8", "replace")
                    outcome = await self._perform(handshake.feed(frame), handshake, socket)
                    if isinstance(outcome, Hold):
                        return Refused(outcome.reason, outcome.detail, host_name=handshake.host_name)
                    if outcome is not None:
                        return outcome
        except TimeoutError:
            detail = f"not authenticated within {HANDSHAKE_SECONDS:g} s"
            return Refused(HoldReason.TIMEOUT, detail, host_name=handshake.host_name)
        finally:
            self._unfinished.pop(socket, None)

    async def _perform(
        self, effects: Sequence[ServerEffect], handshake: ServerHandshake, socket: Socket
    ) -> AuthenticatedAgent | Hold | None:
        for effect in effects:
            match effect:
                case Send(frame):
                    socket.send(frame)
                case Sign(identity, data):
                    signature = await self._host.run_blocking(lambda: identity.sign(data), pool="signing")
                    return await self._perform(handshake.signed(signature), handshake, socket)
                case Hold():
                    return effect
                case Ready(agent):
                    return agent
        return None

    def _recognise(self, web_hash: bytes) -> bytes | None:
        hashes = self._host.certificates.recognise(web_hash)
        return None if hashes is None else hashes.full

    def _begin(self, socket: Socket) -> None:
        if len(self._unfinished) >= MAX_UNFINISHED:
            oldest = next(iter(self._unfinished))
            del self._unfinished[oldest]
            oldest.abort()
        self._unfinished[socket] = None
