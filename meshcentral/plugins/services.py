"""Background work: supervised services and hook descriptors that belong to no other place."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


class Restart(enum.Enum):
    """What the supervisor does when a service ends."""

    ON_FAILURE = "on-failure"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Service:
    """A coroutine that runs as long as the server does. It is cancelled at shutdown."""

    name: str
    run: Callable[[], Awaitable[None]]
    restart: Restart = Restart.ON_FAILURE


@dataclass(frozen=True, slots=True)
class Health:
    """One line of the health report; `ready` False turns `/ready` into 503."""

    name: str
    ready: bool
    detail: str = ""
