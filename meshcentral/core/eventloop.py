"""The choice of the event loop, made in one place: uvloop where it is installed, else asyncio's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from meshcentral.core.tls import shrink_tls_buffers

T = TypeVar("T")

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def loop_factory() -> LoopFactory | None:
    """What makes event loops; None means asyncio's default (uvloop does not exist for Windows)."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: LoopFactory = uvloop.new_event_loop
    return factory


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in a new event loop, as `asyncio.run` does."""
    factory = loop_factory()
    if factory is None:
        shrink_tls_buffers()
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)
