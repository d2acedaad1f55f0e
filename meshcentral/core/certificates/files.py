"""Writing and reading certificate files: atomic, bounded, keys never readable by others, not even for a moment."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from meshcentral.plugins.errors import ConfigurationError

log = logging.getLogger("meshcentral.certificates")

KEY_MODE = 0o600
PUBLIC_MODE = 0o644
_OTHERS = 0o077
_MAX_FILE = 256 * 1024
_POSIX = os.name == "posix"

Mark = tuple[int, int, int]
"""Modification time in ns, size, inode: differs when a file was rewritten or replaced."""


@contextlib.contextmanager
def _explained(path: Path, verb: str) -> Iterator[None]:
    """Turn an operating system error into one that names the file and the remedy."""
    try:
        yield
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be {verb}: {error.strerror or error}",
            hint="check that the server's account owns the data folder and that the disk is not full",
        ) from error


def write_synced(path: Path, content: bytes, mode: int) -> None:
    """Write a new file with `mode` from its creation on, and force it to disk. An older one of that name is removed."""
    with _explained(path, "written"):
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())


def move(source: Path, target: Path) -> None:
    """Put `source` in the place of `target`, atomically."""
    with _explained(target, "replaced"):
        os.replace(source, target)


def remove(path: Path) -> None:
    """Remove the file if there is one."""
    with _explained(path, "removed"):
        path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Force the folder's entries to disk, where the operating system has a way to."""
    if not _POSIX:
        return
    with _explained(folder, "synchronised"):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def replace_file(path: Path, content: bytes, mode: int) -> None:
    """Write a whole file so that a crash leaves either the old or the new content."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write_synced(temporary, content, mode)
        move(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def read_file(path: Path) -> bytes:
    """The file's bytes, at most 256 KiB. Raises ConfigurationError naming the file."""
    with _explained(path, "read"):
        if path.is_fifo():
            raise OSError("it is a pipe, not a file")
        with path.open("rb") as stream:
            content = stream.read(_MAX_FILE + 1)
    if len(content) > _MAX_FILE:
        raise ConfigurationError(
            f"{path}: the file is over {_MAX_FILE // 1024} KiB, too large for a certificate or a key",
            hint="leave only this server's certificate chain or key in the file",
        )
    return content


def list_names(folder: Path) -> list[str]:
    """Names in the folder. Raises ConfigurationError when it is missing or closed to us."""
    with _explained(folder, "listed"):
        return os.listdir(folder)


def is_there(path: Path) -> bool:
    """Whether the name is taken; a link that leads nowhere counts, so that it is reported and not written over."""
    return os.path.lexists(path)


def repair_key_mode(path: Path) -> None:
    """Take a key file away from group and others, as in a folder that was moved in with open modes."""
    if not _POSIX:
        return
    with _explained(path, "examined"):
        mode = path.stat().st_mode & 0o777
    if not mode & _OTHERS:
        return
    try:
        path.chmod(KEY_MODE)
    except OSError as error:
        log.warning("%s is open to other accounts (mode %03o) and cannot be repaired: %s", path, mode, error.strerror)
    else:
        log.warning("%s was open to other accounts (mode %03o): repaired to 0600", path, mode)


def mark(path: Path) -> Mark | None:
    """What `stat` says of the file, or None when there is none (or it cannot be seen)."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
