"""Tasks are kept and their failures told; pools are bounded and independent."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from meshcentral.core.tasks import BlockingPools, Tasks
from meshcentral.plugins.errors import NotReady


async def test_a_failing_task_is_logged_with_its_owner(caplog: pytest.LogCaptureFixture) -> None:
    async def fails() -> None:
        raise ValueError("broken")

    tasks = Tasks()
    task = tasks.spawn(fails(), name="work", owner="some-plugin")
    assert tasks.names == ["some-plugin/work"]
    await asyncio.wait([task])
    await asyncio.sleep(0)
    assert "task work of some-plugin failed" in caplog.text
    assert "ValueError: broken" in caplog.text
    assert len(tasks) == 0


async def test_results_come_back() -> None:
    async def answer() -> int:
        return 42

    assert await Tasks().spawn(answer(), name="answer", owner="core") == 42


async def test_cancel_all_waits_for_clean_up_and_spares_the_caller(caplog: pytest.LogCaptureFixture) -> None:
    tasks = Tasks()
    cleaned: list[str] = []

    async def works() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append("clean")

    async def stops() -> list[str]:
        return await tasks.cancel_all(timeout=5)

    tasks.spawn(works(), name="one", owner="a")
    tasks.spawn(works(), name="two", owner="a")
    await asyncio.sleep(0)
    assert await tasks.spawn(stops(), name="stop", owner="core") == []
    assert cleaned == ["clean", "clean"]
    assert caplog.text == ""


async def test_a_task_that_ignores_being_cancelled_is_named(caplog: pytest.LogCaptureFixture) -> None:
    tasks = Tasks()
    free = asyncio.Event()

    async def stubborn() -> None:
        while not free.is_set():
            try:
                await free.wait()
            except asyncio.CancelledError:
                continue

    task = tasks.spawn(stubborn(), name="stubborn", owner="bad")
    await asyncio.sleep(0)
    assert await tasks.cancel_all(timeout=0.01) == ["bad/stubborn"]
    assert "bad/stubborn did not end" in caplog.text
    free.set()
    await task


@pytest.fixture
def pools() -> Iterator[BlockingPools]:
    pools = BlockingPools(processors=1)
    yield pools
    pools.close()


async def test_results_and_exceptions_cross_the_thread(pools: BlockingPools) -> None:
    assert await pools.run(lambda: threading.current_thread().name, pool="signing") == "mesh-signing_0"
    with pytest.raises(ZeroDivisionError):
        await pools.run(lambda: 1 // 0)


async def test_a_full_pool_does_not_slow_the_others(pools: BlockingPools) -> None:
    begun, free = threading.Event(), threading.Event()

    def hash_password() -> bool:
        begun.set()
        return free.wait(30)

    busy = asyncio.gather(*(pools.run(hash_password, pool="passwords") for _ in range(3)))
    await asyncio.sleep(0)
    assert await pools.run(lambda: begun.wait(30), pool="signing")
    free.set()
    assert await busy == [True, True, True]


async def test_a_flood_is_turned_away(pools: BlockingPools) -> None:
    free = threading.Event()
    waiting = [asyncio.ensure_future(pools.run(free.wait, pool="passwords")) for _ in range(257)]  # noqa: TID251
    await asyncio.sleep(0)
    with pytest.raises(NotReady, match="passwords: 256"):
        await pools.run(free.wait, pool="passwords")
    free.set()
    assert all(await asyncio.gather(*waiting))


async def test_a_caller_that_left_costs_no_thread_and_one_that_began_keeps_it(pools: BlockingPools) -> None:
    begun, free = threading.Event(), threading.Event()
    ran: list[str] = []

    def works() -> None:
        begun.set()
        free.wait(30)
        ran.append("works")

    tasks = Tasks()
    first = tasks.spawn(pools.run(works, pool="passwords"), name="first", owner="test")
    await pools.run(lambda: begun.wait(30))
    second = tasks.spawn(pools.run(lambda: ran.append("second"), pool="passwords"), name="second", owner="test")
    await asyncio.sleep(0)
    first.cancel()
    second.cancel()
    await asyncio.wait([first, second])
    third = tasks.spawn(pools.run(lambda: ran.append("third"), pool="passwords"), name="third", owner="test")
    await asyncio.sleep(0)
    assert ran == []
    free.set()
    await third
    assert ran == ["works", "third"]


async def test_after_close_nothing_begins(pools: BlockingPools) -> None:
    pools.close()
    with pytest.raises(NotReady, match="stopping"):
        await pools.run(lambda: None)
    pools.close()
