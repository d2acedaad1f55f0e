"""Tasks that are kept and named, and bounded thread pools for blocking work.

The event loop holds tasks only weakly and nobody reads the exception of a lost one; `Tasks` holds them, logs their
failures with the owner's name, and ends them all at shutdown.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from meshcentral.plugins.errors import NotReady
from meshcentral.plugins.server import Pool

log = logging.getLogger("meshcentral.tasks")

T = TypeVar("T")


class Tasks:
    """The tasks of one server."""

    def __init__(self) -> None:
        self._owners: dict[asyncio.Task[Any], str] = {}

    def __len__(self) -> int:
        return len(self._owners)

    @property
    def names(self) -> list[str]:
        """`owner/name` of the tasks that run, for diagnosis."""
        return sorted(f"{owner}/{task.get_name()}" for task, owner in self._owners.items())

    def spawn(self, coro: Coroutine[Any, Any, T], *, name: str, owner: str) -> asyncio.Task[T]:
        """Start a task. A failure is logged with `owner` (a plugin's name, or `core`); it never spreads."""
        task = asyncio.get_running_loop().create_task(coro, name=name)
        self._owners[task] = owner
        task.add_done_callback(self._ended)
        return task

    async def cancel_all(self, timeout: float) -> list[str]:
        """Cancel every task but the caller's and wait up to `timeout` seconds. Returns those that would not end."""
        current = asyncio.current_task()
        pending = {task for task in self._owners if task is not current}
        for task in pending:
            task.cancel()
        if pending:
            await asyncio.wait(pending, timeout=timeout)
        stuck = [f"{self._owners[task]}/{task.get_name()}" for task in pending if not task.done()]
        for name in stuck:
            log.error("task %s did not end within %g s of being cancelled", name, timeout)
        return stuck

    def _ended(self, task: asyncio.Task[Any]) -> None:
        owner = self._owners.pop(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            log.error("task %s of %s failed", task.get_name(), owner, exc_info=error)


class _BoundedPool:
    """Threads plus the number of callers that may wait for one.

    Callers wait on the event loop, not in the executor's queue: one that is cancelled (its client left) costs no
    thread any more.
    """

    __slots__ = ("executor", "free", "longest_queue", "name", "waiting")

    def __init__(self, name: str, threads: int, longest_queue: int) -> None:
        self.name = name
        self.executor = ThreadPoolExecutor(threads, thread_name_prefix=f"mesh-{name}")
        self.free = asyncio.Semaphore(threads)
        self.longest_queue = longest_queue
        self.waiting = 0


class BlockingPools:
    """The thread pools of one server: a flood in one does not slow the others."""

    def __init__(self, processors: int | None = None) -> None:
        count = processors or os.cpu_count() or 1
        self._closed = False
        self._pools: dict[Pool, _BoundedPool] = {
            # Agents that reconnect after an outage all want a signature and may wait for it.
            "signing": _BoundedPool("signing", count, longest_queue=100_000),
            # A password hash costs memory and time on purpose: a login flood is turned away early.
            "passwords": _BoundedPool("passwords", max(1, count // 2), longest_queue=256),
            "general": _BoundedPool("general", max(8, count), longest_queue=10_000),
        }

    async def run(self, function: Callable[[], T], *, pool: Pool = "general") -> T:
        """Run `function` in a thread and return its result or raise its exception.

        Raises NotReady when too many callers wait already, or after `close()`. Cancelling the caller does not stop a
        function that has begun, but its thread stays counted until it is done.
        """
        bounded = self._pools[pool]
        if bounded.waiting >= bounded.longest_queue:
            raise NotReady(f"too much work is waiting ({bounded.name}: {bounded.waiting})", hint="Try again later.")
        bounded.waiting += 1
        try:
            await bounded.free.acquire()
        finally:
            bounded.waiting -= 1
        if self._closed:
            bounded.free.release()
            raise NotReady("the server is stopping")
        future = asyncio.get_running_loop().run_in_executor(bounded.executor, function)

        def done(finished: asyncio.Future[T]) -> None:
            bounded.free.release()
            if not finished.cancelled():
                # Mark it as seen: the caller may have been cancelled and will not look.
                finished.exception()

        future.add_done_callback(done)
        return await asyncio.shield(future)

    def close(self) -> None:
        """Take no more work, drop what has not begun, and let threads end when their function does."""
        self._closed = True
        for bounded in self._pools.values():
            bounded.executor.shutdown(wait=False, cancel_futures=True)
