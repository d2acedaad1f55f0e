"""The choice of the event loop, and what a process needs to hold thousands of connections, in one place."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from meshcentral.core.tls import shrink_tls_buffers

log = logging.getLogger("meshcentral.server")

T = TypeVar("T")

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt(3)."""


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
    allow_many_connections()
    if factory is None:
        shrink_tls_buffers()
    else:
        keep_tls_buffers_untouched()
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def allow_many_connections() -> None:
    """Raise the soft limit of open files to the hard one: each connection is one, and the usual soft limit is 1024."""
    try:
        import resource
    except ImportError:  # not a POSIX system
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError) as error:
        log.warning("the limit of %d open files cannot be raised: %s", soft, error)


def keep_tls_buffers_untouched() -> None:
    """Keep glibc from serving uvloop's TLS buffers out of recycled memory (50 against 27 KiB per idle agent).

    uvloop allocates 256 KiB per TLS connection and hardly writes to it, which costs next to nothing while such blocks
    are mapped afresh. But glibc raises its threshold for mapping whenever a large block is freed, and soon takes them
    from the heap, whose pages were all used before. Fixing the threshold just below the buffers' size prevents that.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries do not have it
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, 224 * 1024)
            mallopt(_M_TRIM_THRESHOLD, 4 * 1024 * 1024)
