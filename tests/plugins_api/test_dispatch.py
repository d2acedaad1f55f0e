"""Calling hooks: what hangs, raises or answers nonsense hurts nobody else, and is named in the log."""

from __future__ import annotations

import asyncio
import logging
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from meshcentral.plugins.dispatch import Contribution, Hooks
from meshcentral.plugins.errors import NotReady
from meshcentral.plugins.hookspecs import hookimpl
from meshcentral.plugins.manager import PluginManager
from meshcentral.plugins.plugin import Plugin
from meshcentral.plugins.services import Health

SERVER: Any = SimpleNamespace()
DISCONNECTED = {"server": SERVER, "agent": b"", "reason": "gone"}


def hooks(**plugins: Any) -> Hooks:
    """Plugins by name, each a dict of hook name -> function without `self`."""
    manager = PluginManager()
    classes = [
        type(name, (Plugin,), {"name": name, **{hook: staticmethod(hookimpl(f)) for hook, f in members.items()}})
        for name, members in plugins.items()
    ]
    manager.load(classes=classes)
    assert [record.problem for record in manager.records] == [""] * len(classes)
    return manager.hooks


async def test_each_implementation_gets_only_the_arguments_that_it_takes() -> None:
    seen: list[Any] = []

    async def both(reason: str, agent: bytes) -> None:
        seen.append((reason, agent))

    def none() -> None:
        seen.append("none")

    called = hooks(a={"on_agent_disconnected": both}, b={"on_agent_disconnected": none})
    assert await called.notify("on_agent_disconnected", **DISCONNECTED) == []
    assert seen == ["none", ("gone", b"")]  # the last registered is asked first


async def test_all_run_at_the_same_time() -> None:
    meeting = asyncio.Barrier(2)

    async def meet() -> None:
        await meeting.wait()

    assert await hooks(a={"on_startup": meet}, b={"on_startup": meet}).notify("on_startup", server=SERVER) == []


async def _raises() -> None:
    raise ValueError("broken")


def _raises_at_once() -> None:
    raise ValueError("broken")


async def _exits() -> None:
    sys.exit(2)


async def _hangs() -> None:
    await asyncio.Event().wait()


async def _ends_in_a_cancelled_await() -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("bad", [_raises, _raises_at_once, _exits, _hangs, _ends_in_a_cancelled_await])
async def test_a_bad_implementation_is_reported_and_contained(
    bad: Any, alone: bool, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[str] = []

    async def good() -> None:
        done.append("good")

    others = {} if alone else {"a": {"on_startup": good}, "c": {"on_startup": good}}
    called = hooks(b={"on_startup": bad}, **others)
    [failure] = await called.notify("on_startup", server=SERVER, timeout=0.01)
    assert (failure.plugin, failure.hook) == ("b", "on_startup")
    assert done == ["good"] * len(others)
    assert called.errors == {"b": 1}
    assert "plugin b failed in on_startup" in caplog.text


async def test_the_logged_traceback_begins_in_the_plugin(caplog: pytest.LogCaptureFixture) -> None:
    await hooks(b={"on_startup": _raises}).notify("on_startup", server=SERVER)
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info
    trace = record.exc_info[2]
    assert trace is not None
    assert trace.tb_frame.f_code is _raises.__code__


async def test_a_hanging_implementation_is_told_apart_from_a_time_out_of_its_own() -> None:
    async def own() -> None:
        raise TimeoutError("the mail server")

    [hung] = await hooks(a={"on_startup": _hangs}).notify("on_startup", server=SERVER, timeout=0.01)
    assert "longer than 0.01 s" in str(hung.error)
    [failed] = await hooks(a={"on_startup": own}).notify("on_startup", server=SERVER)
    assert str(failed.error) == "the mail server"


async def test_cancelling_the_caller_cancels_the_implementations() -> None:
    ended = asyncio.Event()

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    called = hooks(a={"on_startup": waits}, b={"on_startup": waits})
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await called.notify("on_startup", server=SERVER)
    assert ended.is_set()
    assert called.errors == {}


async def test_those_that_were_not_ready_can_be_asked_again() -> None:
    answers = iter([NotReady("the database is away")])
    calls: list[str] = []

    async def late() -> None:
        calls.append("late")
        for error in answers:
            raise error

    async def ready() -> None:
        calls.append("ready")

    called = hooks(late={"on_startup": late}, ready={"on_startup": ready})
    failures = await called.notify("on_startup", server=SERVER)
    assert [type(failure.error) for failure in failures] == [NotReady]
    assert await called.notify("on_startup", only={failure.plugin for failure in failures}, server=SERVER) == []
    assert calls == ["ready", "late", "late"]


async def test_gather_joins_lists_and_leaves_out_what_failed() -> None:
    async def fine() -> list[Any]:
        return [Health("a", True), None]

    async def nothing() -> None:
        return None

    async def nonsense() -> int:
        return 5

    called = hooks(
        a={"gather_health": fine},
        b={"gather_health": nothing},
        c={"gather_health": nonsense},
        d={"gather_health": _hangs},
        e={"gather_health": lambda: [Health("e", False)]},
    )
    found = await called.gather("gather_health", server=SERVER, timeout=0.01)
    assert [line.name for line in found] == ["e", "a"]
    assert called.errors == {"c": 1, "d": 1}


async def test_nobody_implements_the_hook() -> None:
    assert await hooks().notify("on_startup", server=SERVER) == []
    assert await hooks().gather("gather_health", server=SERVER) == []
    assert hooks().collect("register_routes", server=SERVER) == []


def test_contributions_name_their_plugin() -> None:
    called = hooks(a={"register_routes": lambda: ["x", "y"]}, b={"register_routes": lambda: None})
    assert called.contributions("register_routes", server=SERVER) == [Contribution("a", "x"), Contribution("a", "y")]


def test_who_claims_what_another_has_is_unloaded() -> None:
    manager = PluginManager()
    declared = {"alpha": ["x"], "beta": ["y", "x"], "gamma": ["z"]}
    manager.load(classes=[_declaring(name, values) for name, values in declared.items()])
    claims = manager.hooks.claims("register_routes", names=lambda value: [value], server=SERVER)
    assert claims == [Contribution("alpha", "x"), Contribution("gamma", "z")]
    problems = {record.name: record.problem for record in manager.records}
    assert problems == {
        "alpha": "",
        "beta": "register_routes failed: x belongs to the plugin alpha",
        "gamma": "",
    }


def _declaring(name: str, values: list[str]) -> type[Plugin]:
    return type(name, (Plugin,), {"name": name, "register_routes": staticmethod(hookimpl(lambda: values))})


async def test_mistakes_of_the_caller_are_not_blamed_on_plugins() -> None:
    called = hooks(a={"on_agent_disconnected": lambda reason: None})
    with pytest.raises(LookupError, match="on_nothing"):
        await called.notify("on_nothing")
    with pytest.raises(TypeError, match="agent, reason"):
        await called.notify("on_agent_disconnected", server=SERVER)
    with pytest.raises(TypeError, match="not a gather_ hook"):
        await called.gather("on_startup", server=SERVER)
    assert called.errors == {}
