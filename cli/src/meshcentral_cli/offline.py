"""The one place where commands touch the core: the data folder's paths, and a server inside this process.

An offline command runs the same server without listeners, so there is one action registry and one code path.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshcentral.plugins.errors import ConfigurationError

if TYPE_CHECKING:
    from meshcentral.core.paths import DataPaths
    from meshcentral.plugins.web import Socket

CONTROL_PATH = "/control.ashx"


def control_socket(data: Path) -> str | None:
    """Where a server on this data folder listens for local commands; None when there is no socket.

    Raises ConfigurationError when the folder is closed to this user.
    """
    from meshcentral.core.paths import DataPaths, is_there

    path = DataPaths.at(data).control_socket
    return str(path) if is_there(path) else None


def initialised(data: Path) -> DataPaths:
    """The paths of a data folder that `mesh init` has finished. Raises ConfigurationError for any other."""
    from meshcentral.core.paths import DataPaths, is_there

    paths = DataPaths.at(data)
    if not is_there(paths.config_file):
        raise ConfigurationError(
            f"{paths.data} holds no configuration",
            hint=f"make one with: mesh --data {data} init --cert-name NAME, or name another folder with --data",
        )
    return paths


@contextlib.asynccontextmanager
async def in_process(data: Path) -> AsyncIterator[Socket]:
    """A control socket to a server of our own, which holds the data folder until the block ends.

    Raises Busy when another process holds it, ConfigurationError when it has no usable configuration.
    """
    paths = initialised(data)
    from meshcentral.core.config import load
    from meshcentral.core.server import Server

    server = Server(load(paths), paths)
    with _logging_to_file(paths):
        await server.start(listen=False)
        try:
            yield await server.open_local(CONTROL_PATH)
        finally:
            await server.stop()


def check_database(data: Path) -> dict[str, Any]:
    """The report of a database that no server has open. Raises Busy when one has."""
    paths = initialised(data)
    from meshcentral.core.lock import DataFolderLock
    from meshcentral.core.store.check import check_database as check

    with DataFolderLock(paths):
        return check(paths.database).describe()


@contextlib.contextmanager
def _logging_to_file(paths: DataPaths) -> Iterator[None]:
    """The log file gets what the server has to say; stderr is for the command's own errors."""
    from meshcentral.core import log

    with open(os.devnull, "w") as nowhere:
        log.configure(paths, logging.WARNING, nowhere)
        try:
            yield
        finally:
            log.shutdown()
