"""One process per data folder.

The lock is the kernel's (`flock`), so it is gone when its holder is, however it ended. The file stays: removing it
would let two processes hold "the" lock on different files.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from types import TracebackType
from typing import Self

from meshcentral.core.paths import DataPaths
from meshcentral.plugins.errors import Busy, ConfigurationError


class DataFolderLock:
    """The right to open the database and the keys of a data folder. The folder must exist."""

    def __init__(self, paths: DataPaths) -> None:
        self._file = paths.lock_file
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock, or raise Busy with the id of the process that has it. Never waits.

        Raises ConfigurationError when the lock file cannot be opened.
        """
        try:
            descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigurationError(
                f"{self._file} cannot be opened: {error.strerror}",
                hint="Check that the data folder is writable and belongs to this user.",
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise Busy(
                f"the data folder {self._file.parent} is in use by process {holder or '(just starting)'}",
                hint="Stop that process, or run the command as its user so that it can ask the running server.",
            ) from None
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        with contextlib.suppress(OSError):  # the number is only told to people; a full disk may lack room for it
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Give the lock back. Does nothing when it is not held."""
        if self._descriptor is None:
            return
        os.ftruncate(self._descriptor, 0)
        # Closing alone would leave the lock to a child process that was forked a moment ago and has yet to exec.
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        os.close(self._descriptor)
        self._descriptor = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()
