from __future__ import annotations

import asyncio

from meshcentral.core.websocket.sweep import Sweep


class Item:
    def __init__(self, due: float) -> None:
        self.due = due
        self.expired: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def expire(self, now: float) -> None:
        self.due = now + 3600
        self.expired.set_result(now)


async def test_only_what_is_due_expires() -> None:
    now = asyncio.get_running_loop().time()
    sweep: Sweep[Item] = Sweep(interval=0.01)
    early, late = Item(now), Item(now + 3600)
    sweep.add(early)
    sweep.add(late)

    assert await early.expired >= now
    assert not late.expired.done()
    assert sweep.oldest() is early
    assert list(sweep) == [early, late]


async def test_waiting_for_the_last_item() -> None:
    sweep: Sweep[Item] = Sweep()
    await sweep.wait_empty()
    items = [Item(1e12), Item(1e12)]
    for item in items:
        sweep.add(item)
    waiting = asyncio.get_running_loop().create_task(sweep.wait_empty())
    await asyncio.sleep(0)
    sweep.discard(items[0])
    await asyncio.sleep(0)
    assert not waiting.done()
    sweep.discard(items[1])

    await waiting
    assert len(sweep) == 0
