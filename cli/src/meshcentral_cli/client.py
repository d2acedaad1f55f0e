"""The control channel, as a client speaks it: requests matched by `responseid`, events in between.

There is one reader, whoever waits; no background task. Over which carrier the messages go is `connect`'s business.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from meshcentral.plugins.errors import MeshError, NotAuthorised, ServerUnreachable, UsageError
from meshcentral_cli.failures import error_from, failure_of
from meshcentral_cli.output import Progress

REPLY_SECONDS = 60.0
"""How long a server may be silent about a request. Progress of a long action starts the time anew."""


IN_FLIGHT = 256
"""Requests that are sent before an answer is waited for; a session may not owe itself too many."""


class Channel(Protocol):
    """Text messages in both directions."""

    async def send(self, text: str) -> None:
        """Raises ServerUnreachable when the other side is gone."""
        ...

    async def receive(self) -> str | bytes:
        """Raises ServerUnreachable when the other side is gone."""
        ...


class NoAnswer(MeshError):
    """The server is there but did not answer in time."""

    code = "timeout"


@dataclass(slots=True)
class _Waiting:
    """A request that was sent: its place in the list, and until when its answer counts."""

    index: int
    deadline: float


class ControlClient:
    """A session of the local administrator."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._last_id = 0

    async def request(
        self,
        action: str,
        members: Mapping[str, Any] | None = None,
        *,
        progress: Progress | None = None,
        seconds: float = REPLY_SECONDS,
    ) -> dict[str, Any]:
        """Run one action and return its reply. Raises the MeshError that a refusal stands for."""
        async for _, reply in self.request_all(action, [members or {}], progress=progress, seconds=seconds):
            if (failure := failure_of(reply)) is not None:
                raise failure
            return reply
        raise NoAnswer(f"the server did not answer {action!r} within {seconds:g} seconds")

    async def request_all(
        self,
        action: str,
        requests: Sequence[Mapping[str, Any]],
        *,
        progress: Progress | None = None,
        seconds: float = REPLY_SECONDS,
    ) -> AsyncIterator[tuple[int, dict[str, Any]]]:
        """Run one action many times, side by side; yields (index, reply) as the replies come, refusals too.

        A request that is not answered within `seconds` is given up: what was not yielded did not answer.
        """
        loop = asyncio.get_running_loop()
        unsent = iter(enumerate(requests))
        waiting: dict[str, _Waiting] = {}
        while True:
            for index, members in itertools.islice(unsent, IN_FLIGHT - len(waiting)):
                waiting[await self._send(action, members)] = _Waiting(index, loop.time() + seconds)
            if not waiting:
                return
            try:
                async with asyncio.timeout_at(min(one.deadline for one in waiting.values())):
                    message = await self._receive()
            except TimeoutError:
                waiting = {key: one for key, one in waiting.items() if one.deadline > loop.time()}
                continue
            response_id = message.get("responseid")
            if not isinstance(response_id, str) or response_id not in waiting:
                continue
            if isinstance(step := message.get("progress"), dict):
                waiting[response_id].deadline = loop.time() + seconds
                if progress is not None:
                    progress.update(_count(step, "done"), _count(step, "total"), str(step.get("label", "")))
                continue
            yield waiting.pop(response_id).index, message

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """The events that this session sees, until the server is gone (ServerUnreachable)."""
        while True:
            message = await self._receive()
            if message.get("action") == "event" and isinstance(event := message.get("event"), dict):
                yield event

    async def _send(self, action: str, members: Mapping[str, Any]) -> str:
        self._last_id += 1
        response_id = f"mesh-{self._last_id}"
        text = json.dumps({**members, "action": action, "responseid": response_id}, ensure_ascii=False)
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise UsageError("the command line holds bytes that are not UTF-8 text") from error
        await self._channel.send(text)
        return response_id

    async def _receive(self) -> dict[str, Any]:
        """The next JSON object. The server's `ping` is answered, its farewell becomes an error."""
        while True:
            try:
                message = json.loads(await self._channel.receive())
            except ValueError as error:
                raise ServerUnreachable("the server sent something that is not JSON") from error
            if not isinstance(message, dict):
                continue
            match message.get("action"):
                case "ping":
                    await self._channel.send('{"action":"pong"}')
                case "close":
                    raise _farewell(message)
                case "stopped":
                    raise ServerUnreachable(f"the server ended the session: {message.get('msg', 'no reason given')}")
                case _:
                    return message


def _farewell(message: Mapping[str, Any]) -> MeshError:
    """`{"action":"close","cause":..,"msg":..}` comes before the socket closes (control-protocol reference, 2.1)."""
    reason = str(message.get("msg") or message.get("cause") or "no reason given")
    if message.get("cause") in {"noauth", "banned", "expired", "invalidorigin", "locked"}:
        return NotAuthorised(f"the server refused the session: {reason}")
    return error_from(f"the server ended the session: {reason}", ServerUnreachable.code)


def _count(step: Mapping[str, Any], name: str) -> int:
    value = step.get(name)
    return value if isinstance(value, int) else 0
