"""The folders of one installation. This is the only code that joins their names.

A data folder named `meshcentral-data` has its siblings beside it, as the peer lays them out; any other folder holds
everything itself. Folders are 0700 and the files in them 0600 (security, T20): looser modes, which a moved-in folder
has, are repaired and logged; only a folder that belongs to somebody else is refused.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from meshcentral.plugins.errors import ConfigurationError

log = logging.getLogger("meshcentral.paths")

PEER_FOLDER = "meshcentral-data"
_PRIVATE_FILES = ("*.key", "*.toml", "*.json", "*.sqlite3*", "*.db", "*.lock")
"""In the data folder itself: keys, configuration and databases, ours and the peer's."""
_ANOTHER = "Choose another data folder (--data) or correct the owner and mode of this one."
LONGEST_SOCKET_PATH = 100
"""Bytes; `sun_path` has 104 on the BSDs and macOS, 108 on Linux, with the final NUL."""


@dataclass(frozen=True, slots=True)
class DataPaths:
    """Where everything is; implements `meshcentral.plugins.server.Paths`."""

    data: Path

    @classmethod
    def at(cls, folder: str | os.PathLike[str]) -> Self:
        """The installation in `folder`, which need not exist yet; `~` and relative paths are resolved here.

        Raises ConfigurationError for a path that leads nowhere: links in a circle, `~` of nobody, a NUL in it.
        """
        try:
            return cls(Path(folder).expanduser().resolve())
        except (OSError, RuntimeError, ValueError) as error:
            raise ConfigurationError(f"the data folder {folder} cannot be found: {error}", hint=_ANOTHER) from error

    @property
    def config_file(self) -> Path:
        return self.data / "config.toml"

    @property
    def database(self) -> Path:
        return self.data / "mesh.sqlite3"

    @property
    def lock_file(self) -> Path:
        return self.data / "mesh.lock"

    @property
    def certificates(self) -> Path:
        """Certificates and keys lie in the data folder itself, under the peer's names."""
        return self.data

    @property
    def agents(self) -> Path:
        """Imported agent binaries."""
        return self.data / "agents"

    @property
    def logs(self) -> Path:
        return self.data / "logs"

    @property
    def run(self) -> Path:
        return self.data / "run"

    @property
    def temporary(self) -> Path:
        """On the file system of the data folder, so that a finished file can be renamed into it."""
        return self.data / "tmp"

    @property
    def files(self) -> Path:
        return self._beside("files")

    @property
    def recordings(self) -> Path:
        return self._beside("recordings")

    @property
    def backups(self) -> Path:
        return self._beside("backups")

    @property
    def web(self) -> Path:
        """Custom pages and images, which override ours by name."""
        return self._beside("web")

    @property
    def control_socket(self) -> Path:
        """The owner-only local socket: in `run`, or in the runtime directory when that path is too long to bind.

        A socket that exists wins over the preferred place, so that a command finds a server which was started in
        another environment (by a service manager, say). One in somebody else's folder does not count: the last of the
        places is open to everybody, and who answered there would be told passwords.
        """
        usual = self.run / "control.sock"
        if len(os.fsencode(usual)) <= LONGEST_SOCKET_PATH:
            return usual
        tag = hashlib.sha256(os.fsencode(self.data)).hexdigest()[:16]
        candidates = [base / f"meshcentral-{_user_id()}-{tag}" / "control.sock" for base in _runtime_directories()]
        return next((candidate for candidate in candidates if _is_ours(candidate)), candidates[0])

    def create(self) -> None:
        """Make the folders that are missing and tighten those that are there.

        Raises ConfigurationError when a folder cannot be made, belongs to another user, or is one that everybody needs.
        """
        if is_there(self.data):
            _refuse_shared(self.data)
        for folder in (self.data, self.run, self.control_socket.parent, self.logs, self.agents, self.temporary):
            private_folder(folder)
        for folder in (self.files, self.recordings, self.backups, self.web):
            private_folder(folder)
        for pattern in _PRIVATE_FILES:
            for file in self.data.glob(pattern):
                if not file.is_symlink():  # what lies elsewhere has its own owner and readers
                    private_file(file)

    def clear_temporary(self) -> None:
        """Remove what an earlier run left unfinished. Only for the holder of the data-folder lock.

        Raises ConfigurationError when something cannot be removed.
        """
        try:
            for entry in self.temporary.iterdir():
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink(missing_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"the folder {self.temporary} cannot be emptied: {error.strerror}", hint=_ANOTHER
            ) from error

    def _beside(self, name: str) -> Path:
        if self.data.name == PEER_FOLDER:
            return self.data.with_name(f"meshcentral-{name}")
        return self.data / name


def is_there(path: Path) -> bool:
    """Whether something is at a path of the data folder.

    Raises ConfigurationError when that cannot be seen: the folder is closed to this user, or its name too long.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise ConfigurationError(f"the folder {path.parent} cannot be used: {error.strerror}", hint=_ANOTHER) from error
    return True


def private_folder(folder: Path) -> None:
    """Make `folder` if it is missing and keep everybody else out of it.

    Raises ConfigurationError when that is impossible or the folder belongs to another user.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _tighten(folder, 0o700)
    except OSError as error:
        raise ConfigurationError(
            f"the folder {folder} cannot be used: {error.strerror}",
            hint=_ANOTHER,
        ) from error


def private_file(file: Path) -> None:
    """Take group and other rights from `file`, if it exists. Raises ConfigurationError when it is not ours."""
    try:
        _tighten(file, 0o600)
    except FileNotFoundError:
        return


def _tighten(path: Path, mode: int) -> None:
    """Remove permissions beyond `mode`; a moved-in folder often has 0755 and 0644."""
    found = path.stat()
    if found.st_uid != _user_id():
        raise ConfigurationError(
            f"{path} belongs to user {found.st_uid}, but this process runs as user {_user_id()}",
            hint="Run the command as the owner of the data folder, or give the folder to this user with chown -R.",
        )
    loose = stat.S_IMODE(found.st_mode) & ~mode
    if loose:
        path.chmod(stat.S_IMODE(found.st_mode) & mode)
        log.warning("tightened the mode of %s from %04o to %04o", path, stat.S_IMODE(found.st_mode), mode)


def _refuse_shared(folder: Path) -> None:
    """Closing `/` or `/tmp` to everybody else would stop the machine."""
    if folder == folder.parent or folder.stat().st_mode & stat.S_ISVTX:
        raise ConfigurationError(
            f"{folder} is shared by all users and cannot be the data folder",
            hint=f"Name a folder inside it: --data {folder / 'mesh'}",
        )


def _is_ours(socket: Path) -> bool:
    """Whether a socket is there, in a folder that belongs to this user and that nobody else may write to."""
    try:
        folder = socket.parent.lstat()
    except OSError:
        return False
    private = stat.S_ISDIR(folder.st_mode) and not folder.st_mode & 0o022
    return private and folder.st_uid == _user_id() and socket.exists()


def _user_id() -> int:
    return os.geteuid()


def _runtime_directories() -> list[Path]:
    """Short folders where this user may keep sockets, best first; the last one always exists."""
    named = os.environ.get("XDG_RUNTIME_DIR")
    candidates = [Path(named)] if named else []
    candidates.append(Path(f"/run/user/{_user_id()}"))
    usable = [folder for folder in candidates if folder.is_dir() and os.access(folder, os.W_OK)]
    return [*usable, Path(tempfile.gettempdir())]
