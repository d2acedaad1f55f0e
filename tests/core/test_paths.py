"""Where things lie, and that nobody else can read them."""

from __future__ import annotations

import logging
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from meshcentral.core import paths as paths_module
from meshcentral.core.paths import LONGEST_SOCKET_PATH, DataPaths, is_there
from meshcentral.plugins.errors import ConfigurationError


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's name, wherever the tests' own folder is."""
    with tempfile.TemporaryDirectory(prefix="m") as folder:
        yield Path(folder)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_everything_is_inside_an_ordinary_folder(tmp_path: Path) -> None:
    paths = DataPaths.at(tmp_path / "mesh")
    for folder in (paths.files, paths.recordings, paths.backups, paths.web, paths.agents, paths.logs, paths.temporary):
        assert folder.parent == paths.data


def test_the_peers_folder_has_siblings(tmp_path: Path) -> None:
    paths = DataPaths.at(tmp_path / "meshcentral-data")
    assert paths.files == tmp_path / "meshcentral-files"
    assert paths.recordings == tmp_path / "meshcentral-recordings"
    assert paths.backups == tmp_path / "meshcentral-backups"
    assert paths.web == tmp_path / "meshcentral-web"
    assert paths.agents == tmp_path / "meshcentral-data" / "agents"
    assert paths.certificates == paths.data


def test_a_relative_folder_is_resolved_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = DataPaths.at("mesh")
    monkeypatch.chdir("/")
    assert paths.data == tmp_path.resolve() / "mesh"


def test_folders_are_private_and_loose_ones_are_repaired(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths = DataPaths.at(tmp_path / "meshcentral-data")
    paths.data.mkdir()
    paths.data.chmod(0o755)
    paths.database.write_bytes(b"")
    paths.database.chmod(0o644)
    with caplog.at_level(logging.WARNING):
        paths.create()
    for folder in (paths.data, paths.run, paths.logs, paths.agents, paths.temporary, paths.files, paths.backups):
        assert mode(folder) == 0o700
    assert mode(paths.database) == 0o600
    assert f"{paths.data} from 0755 to 0700" in caplog.text
    assert f"{paths.database} from 0644 to 0600" in caplog.text
    caplog.clear()
    paths.create()
    assert caplog.text == ""


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths_module, "_user_id", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(ConfigurationError, match="belongs to user"):
        DataPaths.at(tmp_path).create()


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be used"):
        DataPaths.at(tmp_path / "file").create()


@pytest.mark.parametrize("folder", ["loop", "~nobody-has-this-name/mesh", "a\0b"])
def test_a_path_that_leads_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    with pytest.raises(ConfigurationError):
        is_there(DataPaths.at(folder).data)  # newer Pythons resolve a loop to itself


@pytest.mark.parametrize("length", [300, 6000])
def test_a_name_that_is_too_long(tmp_path: Path, length: int) -> None:
    with pytest.raises(ConfigurationError, match="too long"):
        is_there(DataPaths.at(tmp_path / ("x" * length)).config_file)


def test_the_folder_of_everybody_is_left_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    with pytest.raises(ConfigurationError, match="shared by all users"):
        DataPaths.at(tmp_path).create()
    assert mode(tmp_path) == 0o1777
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigurationError, match="shared by all users"):
        DataPaths.at("/").create()


def test_files_that_lie_elsewhere_keep_their_mode(tmp_path: Path) -> None:
    elsewhere = tmp_path / "shared.key"
    elsewhere.write_text("")
    elsewhere.chmod(0o644)
    paths = DataPaths.at(tmp_path / "mesh")
    paths.create()
    (paths.data / "webserver-cert-private.key").symlink_to(elsewhere)
    paths.create()
    assert mode(elsewhere) == 0o644


def test_unfinished_work_is_cleared_and_links_are_not_followed(tmp_path: Path) -> None:
    paths = DataPaths.at(tmp_path / "mesh")
    paths.create()
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("")
    (paths.temporary / "link").symlink_to(kept)
    (paths.temporary / "folder" / "inner").mkdir(parents=True)
    (paths.temporary / "half").write_text("")
    paths.clear_temporary()
    assert list(paths.temporary.iterdir()) == []
    assert (kept / "file").exists()


@pytest.fixture
def deep(tmp_path: Path) -> DataPaths:
    return DataPaths.at(tmp_path / ("x" * LONGEST_SOCKET_PATH) / "mesh")


def test_the_control_socket_is_in_the_data_folder() -> None:
    assert DataPaths.at("/srv/mesh").control_socket == Path("/srv/mesh/run/control.sock")


def test_a_socket_path_that_is_too_long(deep: DataPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = tmp_path / "r"
    runtime.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    place = deep.control_socket
    assert place.parent.parent == runtime
    assert place != DataPaths.at("/elsewhere/" + "x" * LONGEST_SOCKET_PATH).control_socket
    deep.create()
    assert mode(place.parent) == 0o700


def test_a_socket_made_in_another_environment_is_found_unless_it_is_anothers(
    deep: DataPaths, short: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths_module, "_runtime_directories", lambda: [short])
    served = deep.control_socket
    served.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(served))
        monkeypatch.setattr(paths_module, "_runtime_directories", lambda: [tmp_path, short])
        assert deep.control_socket == served
        served.parent.chmod(0o777)
        assert deep.control_socket != served
        served.parent.chmod(0o700)
        user = paths_module._user_id()
        monkeypatch.setattr(paths_module.Path, "lstat", lambda path: SimpleNamespace(st_mode=0o40700, st_uid=user + 1))
        assert deep.control_socket != served
