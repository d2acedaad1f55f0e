"""Where agent programs are imported from: a folder or an npm tarball. Nothing in either is trusted.

Only regular files whose names are in the table of agent types are read; links, devices and paths that lead elsewhere
are passed over, and sizes are bounded, so that no archive can write outside or fill the disk.
"""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol, Self

from meshcentral.plugins import MeshError, NotFound, UsageError

MAX_BINARY = 64 * 1024 * 1024
MAX_ARCHIVE = 2 * 1024 * 1024 * 1024
"""Bytes of all members of a tarball, unpacked."""
MAX_MEMBERS = 20_000
MAX_LIST = 1024 * 1024
MAX_EXTENDED = 64 * 1024
"""Bytes of an extended header of a tarball: long names and the like."""

HASH_LIST = "hashagents.json"
PACKAGE = "package.json"
FOLDER = "agents"

_EXTENDED = frozenset(
    (
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.SOLARIS_XHDTYPE,
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
    )
)

_HASH = re.compile(r"[0-9A-Fa-f]{96}", re.ASCII)
_VERSION = re.compile(r"[0-9A-Za-z.+-]{1,32}", re.ASCII)


class Source(Protocol):
    """An opened source."""

    version: str | None
    """What its `package.json` says, None without one."""
    listed_hashes: Mapping[str, str]
    """File name -> SHA-384 in lower-case hex, from its `hashagents.json`."""
    total: int
    """Bytes of all programs, for progress."""

    def programs(self, wanted: Collection[str]) -> Iterator[tuple[str, BinaryIO]]:
        """The wanted files that it holds, each to be read before the next is asked for."""
        ...


@contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """Open a folder or a tarball. Raises NotFound, UsageError or MeshError."""
    try:
        if path.is_dir():
            yield _Folder(path)
            return
        if not path.is_file():
            raise NotFound(f"{path} does not exist or is neither a folder nor a file")
        with tarfile.open(path, "r:*", tarinfo=_BoundedInfo) as archive:
            yield _Tarball(archive)
    except (tarfile.TarError, EOFError) as error:
        raise UsageError(f"{path} is not a readable tarball: {error}") from error
    except OSError as error:
        if error.filename is not None:
            raise MeshError(f"{os.fsdecode(error.filename)} cannot be read: {error.strerror}") from error
        raise UsageError(f"{path} is not a readable tarball: {error}") from error  # bad gzip data has no file name


class _Folder:
    """`X`, `X/agents`, or `X/package/agents`; the package is the folder above `agents`."""

    def __init__(self, path: Path) -> None:
        candidates = (path / FOLDER, path / "package" / FOLDER, path / "node_modules" / "meshcentral" / FOLDER, path)
        self._folder = next(folder for folder in candidates if folder.is_dir())
        self.version = _version(_read_small(self._folder.parent / PACKAGE))
        self.listed_hashes: Mapping[str, str] = _listed(_read_small(self._folder / HASH_LIST))
        self.total = 0

    def programs(self, wanted: Collection[str]) -> Iterator[tuple[str, BinaryIO]]:
        paths = [path for name in sorted(wanted) if _is_plain(path := self._folder / name)]
        self.total = sum(path.stat().st_size for path in paths)
        for path in paths:
            with path.open("rb") as stream:
                yield path.name, stream


class _BoundedInfo(tarfile.TarInfo):
    """A member whose extended header, which the library reads into memory whole, has a size that makes sense."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Raises ReadError; the library calls this for each header."""
        member = super().frombuf(buf, encoding, errors)
        if member.type in _EXTENDED and member.size > MAX_EXTENDED:
            raise tarfile.ReadError("an extended header is too large")
        return member


class _Tarball:
    """An npm package: everything lies below one folder, usually `package`."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self._programs: dict[str, tarfile.TarInfo] = {}
        package: tarfile.TarInfo | None = None
        hash_list: tarfile.TarInfo | None = None
        for member in self._members():
            parts = PurePosixPath(member.name).parts
            if parts[1:] == (PACKAGE,):
                package = member
            elif parts[1:] == (FOLDER, HASH_LIST):
                hash_list = member
            elif len(parts) == 3 and parts[1] == FOLDER:
                self._programs[parts[2]] = member
        self.version = _version(self._small(package))
        self.listed_hashes: Mapping[str, str] = _listed(self._small(hash_list))
        self.total = 0

    def _members(self) -> Iterator[tarfile.TarInfo]:
        size = 0
        for count, member in enumerate(self._archive):
            size += member.size
            if size > MAX_ARCHIVE or count >= MAX_MEMBERS:
                raise MeshError("the tarball is too large to be the peer's package")
            if member.isreg():
                yield member

    def _small(self, member: tarfile.TarInfo | None) -> bytes | None:
        if member is None or member.size > MAX_LIST:
            return None
        with self._open(member) as stream:
            return stream.read(MAX_LIST)

    def _open(self, member: tarfile.TarInfo) -> BinaryIO:
        stream = self._archive.extractfile(member)
        return io.BytesIO() if stream is None else stream  # type: ignore[return-value]  # IO[bytes] is one

    def programs(self, wanted: Collection[str]) -> Iterator[tuple[str, BinaryIO]]:
        members = {name: member for name, member in self._programs.items() if name in wanted}
        self.total = sum(member.size for member in members.values())
        # In the order of the archive: going back in a compressed one means reading it again from the start.
        for name, member in sorted(members.items(), key=lambda item: item[1].offset):
            with self._open(member) as stream:
                yield name, stream


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _read_small(path: Path) -> bytes | None:
    if not _is_plain(path) or path.stat().st_size > MAX_LIST:
        return None
    return path.read_bytes()


def _object(text: bytes | None) -> dict[str, Any]:
    try:
        value = json.loads(text or b"{}")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _version(text: bytes | None) -> str | None:
    package = _object(text)
    version = package.get("version")
    named = package.get("name") == "meshcentral" and isinstance(version, str) and _VERSION.fullmatch(version)
    return version if named else None


def _listed(text: bytes | None) -> dict[str, str]:
    """`{"<type>": {"filename", "hash"}}` as file name -> hash; entries of another shape are passed over."""
    hashes: dict[str, str] = {}
    for entry in _object(text).values():
        if not isinstance(entry, dict):
            continue
        name, digest = entry.get("filename"), entry.get("hash")
        if isinstance(name, str) and isinstance(digest, str) and _HASH.fullmatch(digest):
            hashes[name] = digest.lower()
    return hashes
