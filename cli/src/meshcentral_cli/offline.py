"""The one place where commands touch the core: the data folder's paths, and a server inside this process.

An offline command runs the same server without listeners, so there is one action registry and one code path.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshcentral.plugins.web import Socket

CONTROL_PATH = "/control.ashx"


def control_socket(data: Path) -> Path:
    """Where a server on this data folder listens for local commands."""
    from meshcentral.core.paths import DataPaths

    return DataPaths.at(data).control_socket


@contextlib.asynccontextmanager
async def in_process(data: Path) -> AsyncIterator[Socket]:
    """A control socket to a server of our own, which holds the data folder until the block ends.

    Raises Busy when another process holds it, ConfigurationError when it has no usable configuration.
    """
    from meshcentral.core.config import load
    from meshcentral.core.paths import DataPaths
    from meshcentral.core.server import Server

    paths = DataPaths.at(data)
    server = Server(load(paths, {}), paths)
    with _only_errors_logged():
        await server.start(listen=False)
        try:
            yield await server.open_local(CONTROL_PATH)
        finally:
            await server.stop()


@contextlib.contextmanager
def _only_errors_logged() -> Iterator[None]:
    """What a server reports of its routine is no news for somebody who asked for a list."""
    log = logging.getLogger("meshcentral")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
