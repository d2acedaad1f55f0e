"""Background services that are started again when they end.

A restart waits: one second at first, twice as long each time up to five minutes, less a random part so that many
services (or servers) do not return at the same moment. A service that ran for a minute has recovered and begins anew.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from meshcentral.core.tasks import Tasks
from meshcentral.plugins.dispatch import HookFailure, Hooks
from meshcentral.plugins.errors import NotReady
from meshcentral.plugins.server import Clock
from meshcentral.plugins.services import Health, Restart, Service

log = logging.getLogger("meshcentral.supervisor")

FIRST_DELAY = 1.0
LONGEST_DELAY = 300.0
RECOVERED_AFTER = 60.0


def backoff(failures: int, chance: float) -> float:
    """Seconds to wait after the n-th failure in a row (from 1); `chance` in 0..1 takes up to half of it away."""
    delay = min(FIRST_DELAY * 2.0 ** min(failures - 1, 30), LONGEST_DELAY)
    return delay * (1 - chance / 2)


@dataclass(slots=True)
class _Supervised:
    """One service and how it is doing."""

    service: Service
    owner: str
    failures: int = 0
    problem: str = ""
    """Why it is not running just now; empty while it runs."""
    task: asyncio.Task[None] | None = field(default=None, repr=False)


def once_ready(hooks: Hooks, failures: Iterable[HookFailure], **arguments: Any) -> list[Service]:
    """Services that call an `on_` hook again for the plugins that were not ready, until each has done its work.

    `failures` is what `Hooks.notify` returned; those that are not NotReady stay failed.
    """

    def service(failure: HookFailure) -> Service:
        async def run() -> None:
            for again in await hooks.notify(failure.hook, only={failure.plugin}, **arguments):
                raise again.error

        return Service(f"{failure.hook} of {failure.plugin}", run, Restart.NEVER)

    return [service(failure) for failure in failures if isinstance(failure.error, NotReady)]


class Supervisor:
    """Runs services until `stop()`."""

    def __init__(
        self,
        tasks: Tasks,
        clock: Clock,
        *,
        chance: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`chance` and `sleep` are replaced in tests."""
        self._tasks = tasks
        self._clock = clock
        self._chance = chance
        self._sleep = sleep
        self._supervised: list[_Supervised] = []

    def start(self, services: Iterable[Service], *, owner: str = "core") -> None:
        """Start services; they are independent of each other. `owner` is the plugin that they belong to."""
        for service in services:
            one = _Supervised(service, owner)
            self._supervised.append(one)
            one.task = self._tasks.spawn(self._keep_running(one), name=service.name, owner=owner)

    async def stop(self, timeout: float = 10.0) -> None:
        """Cancel all services and wait for them, `timeout` seconds at most."""
        tasks = [one.task for one in self._supervised if one.task is not None]
        self._supervised.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=timeout)

    def health(self) -> list[Health]:
        """One line per service; a service that waits for its restart is not ready."""
        return [Health(f"service {one.service.name}", not one.problem, one.problem) for one in self._supervised]

    async def _keep_running(self, one: _Supervised) -> None:
        while True:
            began = self._clock.monotonic()
            again = await self._run_once(one)
            if not again:
                return
            if self._clock.monotonic() - began >= RECOVERED_AFTER:
                one.failures = 0
            one.failures += 1
            delay = backoff(one.failures, self._chance())
            log.info("service %s of %s starts again in %.1f s", one.service.name, one.owner, delay)
            await self._sleep(delay)
            one.problem = ""

    async def _run_once(self, one: _Supervised) -> bool:
        """Run the service to its end, keep what went wrong, and decide whether it is to run again."""
        restart, name = one.service.restart, one.service.name
        try:
            await one.service.run()
        except NotReady as error:
            one.problem = f"waiting: {error}"
            log.warning("service %s of %s is not ready: %s", name, one.owner, error)
            return True
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            one.problem = "it was cancelled from inside"
            log.error("service %s of %s ended by a cancelled await of its own", name, one.owner)
        except (Exception, SystemExit) as error:
            one.problem = f"it failed: {type(error).__name__}: {error}"
            log.error("service %s of %s failed", name, one.owner, exc_info=error)
        else:
            if restart is Restart.ALWAYS:
                one.problem = "it ended"
            return restart is Restart.ALWAYS
        return restart is not Restart.NEVER
