"""Services come back, more slowly each time, and what is wrong with them can be read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from meshcentral.core.supervisor import LONGEST_DELAY, RECOVERED_AFTER, Supervisor, backoff, once_ready
from meshcentral.core.tasks import Tasks
from meshcentral.plugins.errors import NotReady
from meshcentral.plugins.hookspecs import hookimpl
from meshcentral.plugins.manager import PluginManager
from meshcentral.plugins.plugin import Plugin
from meshcentral.plugins.services import Restart, Service
from meshcentral.plugins.testing.clock import ManualClock


def test_the_back_off_doubles_to_a_limit_less_a_random_part() -> None:
    assert [backoff(failures, 0.0) for failures in (1, 2, 3, 4)] == [1, 2, 4, 8]
    assert backoff(1, 1.0) == 0.5
    assert backoff(10_000, 0.0) == LONGEST_DELAY


class Bench:
    """A supervisor whose sleeps are noted, and which stops sleeping after a few."""

    def __init__(self, rounds: int) -> None:
        self.clock = ManualClock()
        self.delays: list[float] = []
        self.rounds = rounds
        self.done = asyncio.Event()
        self.tasks = Tasks()
        self.supervisor = Supervisor(self.tasks, self.clock, chance=lambda: 0.0, sleep=self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.delays.append(seconds)
        self.clock.advance(seconds)
        if len(self.delays) == self.rounds:
            self.done.set()
            await asyncio.Event().wait()

    async def run(self, run: Callable[[], Awaitable[None]], restart: Restart = Restart.ON_FAILURE) -> None:
        self.supervisor.start([Service("probe", run, restart)], owner="plugin")
        await self.done.wait()


def _raiser(error: BaseException) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        raise error

    return run


@pytest.mark.parametrize("restart", [Restart.ON_FAILURE, Restart.ALWAYS])
async def test_a_failing_service_is_restarted_and_reported(restart: Restart, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(4)
    await bench.run(_raiser(ValueError("broken")), restart)
    assert bench.delays == [1, 2, 4, 8]
    [health] = bench.supervisor.health()
    assert (health.name, health.ready) == ("service probe", False)
    assert "ValueError: broken" in health.detail
    assert "service probe of plugin failed" in caplog.text
    await bench.supervisor.stop()
    assert len(bench.tasks) == 0
    assert bench.supervisor.health() == []


async def test_a_service_that_is_not_ready_waits_without_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(2)
    await bench.run(_raiser(NotReady("the mail host is away")), Restart.NEVER)
    assert bench.supervisor.health()[0].detail == "waiting: the mail host is away"
    assert all(record.exc_info is None for record in caplog.records)
    await bench.supervisor.stop()


@pytest.mark.parametrize("error", [SystemExit(1), asyncio.CancelledError()])
async def test_neither_an_exit_nor_a_stray_cancellation_ends_the_server(error: BaseException) -> None:
    bench = Bench(2)
    await bench.run(_raiser(error))
    assert bench.delays == [1, 2]
    await bench.supervisor.stop()


async def test_a_service_that_ran_for_a_while_begins_anew() -> None:
    bench = Bench(4)

    async def run() -> None:
        if len(bench.delays) == 2:
            bench.clock.advance(RECOVERED_AFTER)
        raise ValueError

    await bench.run(run)
    assert bench.delays == [1, 2, 1, 2]
    await bench.supervisor.stop()


async def test_ending_is_a_reason_to_restart_only_for_always() -> None:
    async def ends() -> None:
        return None

    bench = Bench(2)
    await bench.run(ends, Restart.ALWAYS)
    await bench.supervisor.stop()
    finished = Bench(1)
    finished.supervisor.start([Service("once", ends), Service("never", _raiser(ValueError()), Restart.NEVER)])
    # They end by themselves within a few rounds of the loop.
    for _ in range(10):
        await asyncio.sleep(0)
    assert finished.tasks.names == []
    assert finished.delays == []
    assert [health.ready for health in finished.supervisor.health()] == [True, False]


async def test_one_service_does_not_hold_up_another() -> None:
    bench = Bench(1)
    reached = asyncio.Event()

    async def works() -> None:
        reached.set()
        await asyncio.Event().wait()

    bench.supervisor.start([Service("bad", _raiser(ValueError())), Service("good", works)])
    await reached.wait()
    await bench.done.wait()
    assert [health.ready for health in bench.supervisor.health()] == [False, True]
    await bench.supervisor.stop()


async def test_a_plugin_that_was_not_ready_is_asked_until_it_is() -> None:
    answers: list[Exception | None] = [NotReady("away"), NotReady("still away"), None]
    bench = Bench(2)

    async def on_startup(self: Plugin) -> None:
        answer = answers.pop(0)
        if answer is not None:
            raise answer

    async def broken(self: Plugin) -> None:
        raise ValueError

    manager = PluginManager()
    manager.load(
        classes=[
            type("Late", (Plugin,), {"name": "late", "on_startup": hookimpl(on_startup)}),
            type("Broken", (Plugin,), {"name": "broken", "on_startup": hookimpl(broken)}),
        ]
    )
    failures = await manager.hooks.notify("on_startup", server=None)
    assert len(failures) == 2
    [again] = once_ready(manager.hooks, failures, server=None)
    assert again.name == "on_startup of late"
    bench.supervisor.start([again])
    for _ in range(20):
        await asyncio.sleep(0)
    assert answers == []
    assert bench.delays == [1]
    assert [health.ready for health in bench.supervisor.health()] == [True]
