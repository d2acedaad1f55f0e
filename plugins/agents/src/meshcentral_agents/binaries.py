"""The agent programs that this server hands out: importing, checking, finding.

A program is taken only if its SHA-384 is one that we recorded for a release; others need an explicit permission. The
source's own `hashagents.json` (reach-protocol reference, 2.3) comes with the files and so proves nothing, but a file
that contradicts it is damaged and always refused. Files are copied into the data folder one by one, each complete or
not at all, and listed in a manifest.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from meshcentral.plugins import MeshError, NotFound, UsageError
from meshcentral_agents.binary_source import MAX_BINARY, Source, open_source
from meshcentral_protocol.agent_types import AGENT_TYPES

MANIFEST = "manifest.json"
UNRECORDED = "unrecorded"
CHUNK = 1024 * 1024
_UNFINISHED = ".import-"

Progress = Callable[[int, int, str], None]
"""Called with bytes done, bytes in all (0: not known yet), and the name of the file."""


class Binary(BaseModel):
    """One imported program."""

    model_config = ConfigDict(frozen=True)

    file: str
    sha384: str = Field(pattern="^[0-9a-f]{96}$")
    size: int = Field(ge=0, le=MAX_BINARY)
    version: str
    """Version of the package whose recorded hash it has, or `unrecorded`."""


class _Manifest(BaseModel):
    binaries: list[Binary] = []


@dataclass(slots=True)
class ImportReport:
    """What an import did, by file name."""

    version: str | None
    """Version of the source package, None when it does not say."""
    imported: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    """File name -> why."""

    def to_json(self) -> dict[str, object]:
        return asdict(self)


class AgentBinaries:
    """The imported programs of one data folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._by_file: dict[str, Binary] = {}

    def load(self) -> None:
        """Read the manifest (blocking). Programs whose file is gone are left out. Raises MeshError if unreadable."""
        path = self._folder / MANIFEST
        try:
            manifest = _Manifest.model_validate_json(path.read_bytes())
            written = path.stat().st_mtime_ns
        except FileNotFoundError:
            manifest, written = _Manifest(), 0
        except (OSError, ValidationError) as error:
            raise MeshError(
                f"{path} cannot be read: {error.__class__.__name__}", hint="remove it and import the agents again"
            ) from error
        known = {agent_type.file for agent_type in AGENT_TYPES.values()}
        self._by_file = {
            binary.file: self._as_it_is(binary, written)
            for binary in manifest.binaries
            if binary.file in known and (self._folder / binary.file).is_file()
        }

    def _as_it_is(self, binary: Binary, written: int) -> Binary:
        """The program that is there: an import which was killed has replaced programs but not yet the manifest.

        `written` is the manifest's modification time in ns. What was moved into the folder had been checked.
        """
        path = self._folder / binary.file
        status = path.stat()
        if status.st_mtime_ns <= written:
            return binary
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha384").hexdigest()
        version = recorded_version(binary.file, digest) or UNRECORDED
        return Binary(file=binary.file, sha384=digest, size=status.st_size, version=version)

    def __len__(self) -> int:
        return len(self._by_file)

    def find(self, type_id: int) -> tuple[Binary, Path]:
        """The program for an agent type. Raises NotFound."""
        agent_type = AGENT_TYPES.get(type_id)
        binary = self._by_file.get(agent_type.file) if agent_type is not None else None
        if binary is None:
            raise NotFound(f"there is no program for agent type {type_id}", hint="mesh agents import FOLDER")
        return binary, self._folder / binary.file

    def describe(self) -> list[dict[str, object]]:
        """One row for each agent type that can be downloaded."""
        return [
            {"id": agent_type.id, "platform": agent_type.platform.value, **self._by_file[agent_type.file].model_dump()}
            for agent_type in AGENT_TYPES.values()
            if agent_type.file in self._by_file
        ]

    def import_from(self, path: Path, *, allow_unrecorded: bool, progress: Progress) -> ImportReport:
        """Import a peer's installation, its `agents` folder, or an npm tarball (blocking).

        A file that fails its check is refused and named in the report; the others are taken. Raises MeshError when
        the source holds no agent at all.
        """
        with _writing(self._folder):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for left_over in self._folder.glob(f"{_UNFINISHED}*"):
                left_over.unlink()  # of an import that was killed
        progress(0, 0, f"reading {path.name}")
        found = dict(self._by_file)
        with open_source(path) as source:
            report = ImportReport(source.version)
            importer = _Importer(self._folder, source, allow_unrecorded, report, progress)
            try:
                importer.run(found)
            finally:  # a source that breaks off half-way does not undo what was taken
                if found != self._by_file:
                    self._by_file = found
                    self._write_manifest(found)
        if not (report.imported or report.unchanged or report.refused):
            raise UsageError(f"{path} holds no agent program", hint="name a MeshCentral folder or its npm tarball")
        return report

    def _write_manifest(self, found: Mapping[str, Binary]) -> None:
        manifest = _Manifest(binaries=[found[name] for name in sorted(found)])
        with _Replacement(self._folder, MANIFEST) as file:
            file.write(manifest.model_dump_json(indent=2).encode() + b"\n")


class _TooLarge(Exception):
    """A file goes on beyond the size of any agent program."""


class _Importer:
    """One import: walks the source's programs and decides about each."""

    def __init__(
        self, folder: Path, source: Source, allow_unrecorded: bool, report: ImportReport, progress: Progress
    ) -> None:
        self._folder = folder
        self._source = source
        self._allow_unrecorded = allow_unrecorded
        self._report = report
        self._progress = progress
        self._done = 0

    def run(self, present: dict[str, Binary]) -> None:
        """Enter what is taken into `present`."""
        wanted = {agent_type.file for agent_type in AGENT_TYPES.values()}
        for name, stream in self._source.programs(wanted):
            try:
                binary = self._take(name, stream, present.get(name))
            except _TooLarge:
                self._report.refused[name] = f"it is larger than {MAX_BINARY} bytes: not an agent program"
                continue
            if binary is not None:
                present[name] = binary

    def _take(self, name: str, stream: BinaryIO, present: Binary | None) -> Binary | None:
        with _Replacement(self._folder, name) as file:
            digest, size = self._copy(name, stream, file)
            version = recorded_version(name, digest)
            refusal = self._refusal(name, digest, version)
            if refusal is not None:
                self._report.refused[name] = refusal
                file.keep = False
                return None
            if present is not None and present.sha384 == digest and self._intact(present):
                self._report.unchanged.append(name)
                file.keep = False
                return None
        self._report.imported.append(name)
        return Binary(file=name, sha384=digest, size=size, version=version or UNRECORDED)

    def _copy(self, name: str, stream: BinaryIO, file: _Replacement) -> tuple[str, int]:
        digest, size = hashlib.sha384(), 0
        while block := stream.read(CHUNK):
            size += len(block)
            if size > MAX_BINARY:
                raise _TooLarge
            digest.update(block)
            file.write(block)
            self._done += len(block)
            self._progress(self._done, self._source.total, name)
        return digest.hexdigest(), size

    def _intact(self, present: Binary) -> bool:
        """Whether the imported file still is what the manifest says."""
        try:
            with (self._folder / present.file).open("rb") as file:
                return hashlib.file_digest(file, "sha384").hexdigest() == present.sha384
        except OSError:
            return False

    def _refusal(self, name: str, digest: str, version: str | None) -> str | None:
        """Why the file must not be taken; None when it may."""
        listed = self._source.listed_hashes.get(name)
        if listed is not None and listed != digest:
            return f"its SHA-384 {digest[:16]}... is not the {listed[:16]}... that hashagents.json names: damaged?"
        if version is not None or self._allow_unrecorded:
            return None
        if recorded_for_version(self._source.version, name) is not None:
            return f"its SHA-384 {digest[:16]}... is not the one recorded for version {self._source.version}"
        return "no release is recorded with this SHA-384; --allow-unrecorded takes it all the same"


class _Replacement:
    """A new file beside its final place, moved there when the block ends well and `keep` is still set."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._target = folder / name
        with _writing(folder):
            handle, path = tempfile.mkstemp(prefix=_UNFINISHED, dir=folder)  # mode 0600
        self._file = os.fdopen(handle, "wb")
        self._path = Path(path)
        self.keep = True

    def write(self, data: bytes) -> None:
        with _writing(self._folder):
            self._file.write(data)

    def __enter__(self) -> _Replacement:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None and self.keep:
                with _writing(self._folder):
                    self._file.flush()
                    os.fsync(self._file.fileno())
                    self._path.replace(self._target)
                    _sync_folder(self._folder)
        finally:
            with suppress(OSError):  # a full disk refuses the rest of the buffer once more
                self._file.close()
            self._path.unlink(missing_ok=True)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn what the disk refuses into one clear error."""
    try:
        yield
    except OSError as error:
        raise MeshError(
            f"agent programs cannot be written to {folder}: {error.strerror}",
            hint="check free space, and the folder's owner and mode, then import again",
        ) from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@lru_cache(maxsize=1)
def _recorded() -> Mapping[str, Mapping[str, str]]:
    """Version of the peer's package -> file name -> SHA-384 in lower-case hex."""
    text = (files("meshcentral_agents") / "recorded_hashes.json").read_text("utf-8")
    versions: dict[str, dict[str, str]] = json.loads(text)["versions"]
    return versions


def recorded_version(name: str, digest: str) -> str | None:
    """The newest recorded package version that holds this very file, None if none does."""
    return next((version for version, hashes in _recorded().items() if hashes.get(name) == digest), None)


def newest_recorded() -> str:
    """The newest package version whose programs are recorded: the one to fetch when nothing else is asked for."""
    return next(iter(_recorded()))


def recorded_for_version(version: str | None, name: str) -> str | None:
    """The hash recorded for a file of one package version."""
    return _recorded().get(version or "", {}).get(name)
