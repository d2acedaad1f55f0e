"""The first file: private, complete, readable again, never over another one."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from pathlib import Path

import pytest

from meshcentral.core.config import Configuration, load, write_initial
from meshcentral.core.paths import DataPaths
from meshcentral.plugins.errors import ConfigurationError, Conflict


@pytest.fixture
def paths(tmp_path: Path) -> DataPaths:
    paths = DataPaths.at(tmp_path / "mesh")
    paths.create()
    return paths


def test_what_is_written_is_what_is_read(paths: DataPaths) -> None:
    given = {
        "settings.cert": "mesh.example.com",
        "settings.port": 8443,
        "settings.redirport": False,
        "settings.portbind": "127.0.0.1",
        "settings.mode": None,
        "plugins.disabled": ["mail"],
    }
    written = write_initial(paths, given)
    assert load(paths, environment={}) == written
    assert written.settings.port == 8443
    assert written.settings.redirect_port is None
    assert tomllib.loads(paths.config_file.read_text()) == {
        "settings": {"cert": "mesh.example.com", "port": 8443, "redirport": False, "portbind": "127.0.0.1"},
        "plugins": {"disabled": ["mail"]},
        "retention": {},
    }


def test_it_is_private_under_any_umask_and_leaves_nothing_beside_it(paths: DataPaths) -> None:
    before = os.umask(0)
    try:
        write_initial(paths, {})
    finally:
        os.umask(before)
    assert stat.S_IMODE(paths.config_file.stat().st_mode) == 0o600
    assert [entry.name for entry in paths.data.iterdir() if entry.is_file()] == ["config.toml"]


def test_every_setting_is_there_to_be_uncommented(paths: DataPaths) -> None:
    write_initial(paths, {})
    text = paths.config_file.read_text()
    uncommented = re.sub(r"^# ([\[a-z]\S* ?(= .*)?)$", lambda match: match[1], text, flags=re.MULTILINE)
    tables = tomllib.loads(uncommented)
    defaults = Configuration()
    for name in ("settings", "plugins", "retention"):
        section = getattr(defaults, name)
        assert set(tables[name]) == {field.alias or key for key, field in type(section).model_fields.items()}
    paths.config_file.write_text(uncommented)
    configuration = load(paths, environment={})
    assert configuration.warnings == ()
    assert configuration.retention == defaults.retention
    assert configuration.domain_ids == ("", "customer1")


def test_an_existing_file_is_never_overwritten(paths: DataPaths) -> None:
    paths.config_file.write_text("# mine\n")
    with pytest.raises(Conflict, match="exists already"):
        write_initial(paths, {})
    assert paths.config_file.read_text() == "# mine\n"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"settings.port": 70000}, "settings.port must be at most 65535"),
        ({"settings.prt": 1}, "did you mean settings.port"),
    ],
)
def test_bad_values_write_nothing(paths: DataPaths, values: dict[str, int], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        write_initial(paths, values)
    assert not paths.config_file.exists()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be written"):
        write_initial(DataPaths.at(tmp_path / "absent"), {})
