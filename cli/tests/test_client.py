"""The control channel as a client speaks it, against a scripted other side."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from meshcentral.plugins.errors import NotAuthorised, NotFound, ServerUnreachable, UsageError
from meshcentral_cli.client import IN_FLIGHT, ControlClient, NoAnswer

Message = dict[str, Any]


class ScriptedChannel:
    """Answers each request with what `script` makes of it; then the line is dead, or silent for ever."""

    def __init__(self, script: Callable[[Message], list[Any]], first: list[Any] | None = None, *, hang: bool = False):
        self.sent: list[Message] = []
        self._script = script
        self._waiting = list(first or [])
        self._hang = hang

    async def send(self, text: str) -> None:
        message = json.loads(text)
        self.sent.append(message)
        self._waiting += self._script(message)

    async def receive(self) -> str | bytes:
        if not self._waiting:
            if self._hang:
                await asyncio.Event().wait()
            raise ServerUnreachable("gone")
        message = self._waiting.pop(0)
        return message if isinstance(message, str | bytes) else json.dumps(message)


def echo(**members: Any) -> Callable[[Message], list[Any]]:
    return lambda request: (
        [{"action": request["action"], "responseid": request["responseid"], **members}]
        if "responseid" in request
        else []
    )


async def test_a_reply_is_matched_through_greeting_events_and_strangers() -> None:
    noise = [
        {"action": "serverinfo", "serverinfo": {}},
        "[]",
        "null",
        {"action": "event", "event": {"action": "x"}},
        {"action": "users", "responseid": "someone else's", "users": ["wrong"]},
        {"action": "users", "responseid": ["mesh-1"]},
    ]
    channel = ScriptedChannel(echo(users=[1]), noise)
    assert (await ControlClient(channel).request("users"))["users"] == [1]


async def test_a_refusal_is_raised() -> None:
    with pytest.raises(NotFound, match="Unknown device group"):
        await ControlClient(ScriptedChannel(echo(result="Unknown device group"))).request("deletemesh")


async def test_many_requests_answered_in_any_order() -> None:
    def script(request: Message) -> list[Any]:
        if request["n"] < 2:
            return []
        return [{"responseid": f"mesh-{number}", "n": number - 1} for number in (3, 1, 2)]

    client = ControlClient(ScriptedChannel(script))
    replies = [(index, reply["n"]) async for index, reply in client.request_all("x", [{"n": 0}, {"n": 1}, {"n": 2}])]
    assert replies == [(2, 2), (0, 0), (1, 1)]


async def test_the_silence_of_some_does_not_hide_the_answers_of_others() -> None:
    def script(request: Message) -> list[Any]:
        return [] if request["n"] == 1 else echo(n=request["n"])(request)

    client = ControlClient(ScriptedChannel(script, hang=True))
    requests = [{"n": number} for number in range(3)]
    assert [index async for index, _ in client.request_all("x", requests, seconds=0.01)] == [0, 2]


async def test_only_so_many_requests_are_under_way() -> None:
    sent: list[Message] = []
    most = 0

    def script(request: Message) -> list[Any]:
        nonlocal most
        sent.append(request)
        most = max(most, len(sent))
        if len(sent) < IN_FLIGHT and request["n"] < 2 * IN_FLIGHT:
            return []
        replies = [echo()(one)[0] for one in sent]
        sent.clear()
        return replies

    client = ControlClient(ScriptedChannel(script))
    requests = [{"n": number} for number in range(2 * IN_FLIGHT + 1)]
    assert sorted([index async for index, _ in client.request_all("x", requests)]) == list(range(len(requests)))
    assert most == IN_FLIGHT


async def test_progress_is_passed_on_and_is_not_the_reply() -> None:
    steps: list[tuple[int, int, str]] = []

    class Recorder:
        def update(self, done: int, total: int, label: str = "") -> None:
            steps.append((done, total, label))

    def script(request: Message) -> list[Any]:
        return [
            {"responseid": request["responseid"], "progress": {"done": 1, "total": 3, "label": "a"}},
            {"responseid": request["responseid"], "progress": {"done": "x"}},
            {"responseid": request["responseid"], "imported": 3},
        ]

    reply = await ControlClient(ScriptedChannel(script)).request("agentsimport", progress=Recorder())
    assert reply["imported"] == 3
    assert steps == [(1, 3, "a"), (0, 0, "")]


async def test_silence_ends_in_an_error() -> None:
    client = ControlClient(ScriptedChannel(lambda request: [], hang=True))
    with pytest.raises(NoAnswer):
        await client.request("users", seconds=0.01)


async def test_pings_are_answered() -> None:
    channel = ScriptedChannel(echo(), [{"action": "ping"}])
    await ControlClient(channel).request("users")
    assert {"action": "pong"} in channel.sent


@pytest.mark.parametrize(
    ("farewell", "kind"),
    [
        ({"action": "close", "cause": "noauth", "msg": "noauth"}, NotAuthorised),
        ({"action": "close", "cause": "shutdown"}, ServerUnreachable),
        ({"action": "stopped", "msg": "Session count exceed"}, ServerUnreachable),
        ("not json", ServerUnreachable),
        (b"\xff\xfe", ServerUnreachable),
    ],
)
async def test_the_end_of_a_session_is_an_error(farewell: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        await ControlClient(ScriptedChannel(lambda request: [], [farewell])).request("users")


async def test_events_until_the_server_is_gone() -> None:
    channel = ScriptedChannel(echo(), [{"action": "event", "event": {"n": 1}}, {"action": "event", "event": 5}])
    events = ControlClient(channel).events()
    assert await anext(events) == {"n": 1}
    with pytest.raises(ServerUnreachable):
        await anext(events)


async def test_text_that_is_no_unicode_is_not_sent() -> None:
    channel = ScriptedChannel(echo())
    with pytest.raises(UsageError):
        await ControlClient(channel).request("createmesh", {"meshname": "\udc80"})
    assert channel.sent == []
