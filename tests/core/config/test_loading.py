"""File, environment and command line; one clear error for bad values, a warning for unknown keys."""

from __future__ import annotations

import contextlib
import os
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcentral.core.config import load
from meshcentral.core.config.loading import validated
from meshcentral.core.paths import DataPaths
from meshcentral.plugins.errors import ConfigurationError


@pytest.fixture
def paths(tmp_path: Path) -> DataPaths:
    paths = DataPaths.at(tmp_path / "mesh")
    paths.create()
    return paths


def write(paths: DataPaths, text: str) -> DataPaths:
    paths.config_file.write_text(textwrap.dedent(text), encoding="utf-8")
    return paths


def error_of(paths: DataPaths, overrides: dict[str, Any] | None = None, **environment: str) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        load(paths, overrides, environment)
    assert caught.value.exit_code == 78
    assert caught.value.hint
    return caught.value


def test_without_a_file_the_defaults_count(paths: DataPaths) -> None:
    configuration = load(paths, environment={})
    assert configuration.settings.port == 443
    assert configuration.warnings == ()


def test_keys_are_case_insensitive_and_underscored_ones_are_ignored(paths: DataPaths) -> None:
    write(
        paths,
        """
        [Settings]
        Cert = "mesh.example.com"
        RedirPort = 81
        _mpsPort = "whatever"
        [Domains.Customer1]
        Title = "Customer"
        [_old]
        x = 1
        """,
    )
    configuration = load(paths, environment={})
    assert configuration.settings.cert == "mesh.example.com"
    assert configuration.settings.redirect_port == 81
    assert configuration.domain_ids == ("", "customer1")
    assert configuration.domains["customer1"].title == "Customer"
    assert configuration.warnings == ()


def test_a_key_twice_in_different_case(paths: DataPaths) -> None:
    assert "settings.port is written twice" in str(error_of(write(paths, "[settings]\nport = 1\nPort = 2\n")))


def test_command_line_over_environment_over_file_over_default(paths: DataPaths) -> None:
    write(paths, "[settings]\nport = 1\nredirport = 1\nmpsport = 1\n")
    environment = {"MESH__SETTINGS__REDIRPORT": "2", "mesh__settings__mpsport": "2", "MESH_DATA": "/x", "HOME": "/"}
    settings = load(paths, {"settings.mpsport": 3, "settings.port": None}, environment).settings
    assert (settings.port, settings.redirect_port, settings.mps_port, settings.bind) == (1, 2, 3, None)


def test_everything_can_be_said_in_the_environment(paths: DataPaths) -> None:
    environment = {
        "MESH__SETTINGS__FASTCERT": "true",
        "MESH__SETTINGS__REDIRPORT": "none",
        "MESH__PLUGINS__DISABLED": "mail, amt",
        "MESH__DOMAINS____TITLE": "Default",
        "MESH__RETENTION__EVENTS": "30",
    }
    configuration = load(paths, environment=environment)
    assert configuration.settings.fast_cert is True
    assert configuration.settings.redirect_port is None
    assert configuration.plugins.disabled == ("mail", "amt")
    assert configuration.domains[""].title == "Default"
    assert configuration.retention.events == 30


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[settings]\nport = 70000", "settings.port must be at most 65535 (it is 70000)"),
        ("[settings]\nport = -1", "settings.port must be at least 0"),
        ("[settings]\nport = true", "settings.port must be a whole number (it is True)"),
        ("[settings]\nport = 'https'", "settings.port must be a whole number (it is 'https')"),
        ("[settings]\nport = 4.5", "settings.port must be a whole number"),
        ("[settings]\naliasport = ''", "settings.aliasport must be a whole number"),
        ("[settings]\nredirport = true", "settings.redirport must be a whole number"),
        ("[settings]\ncert = 5", "settings.cert must be text"),
        ("[settings]\ncert = 'a b'", "settings.cert must be a host name"),
        ("[settings]\nportbind = 'eth0'", "settings.portbind must be an IP address"),
        ("[settings]\nmode = 'moon'", "settings.mode must be one of"),
        ("[settings]\nfastcert = 'perhaps'", "settings.fastcert must be true or false"),
        ("[settings]\nagentidletimeout = 5", "settings.agentidletimeout must be at least 30"),
        ("settings = 5", "settings must be a table"),
        ("[domains]\nx = 5", "domains.x must be a table"),
        ("[domains.'a b']", "domains contains the name 'a b'"),
        ("[domains.'../x']", "domains contains the name '../x'"),
        ("[domains.x]\ntitle = '" + "t" * 101 + "'", "domains.x.title must have at most 100 characters"),
        ("[plugins]\ndisabled = 3", "plugins.disabled must be a list"),
        ("[plugins]\ndisabled = ['No Name']", "plugins.disabled.0 must be a plugin name"),
        ("[retention]\nevents = 0", "retention.events must be at least 1"),
    ],
)
def test_bad_values_are_named_with_rule_and_place(paths: DataPaths, text: str, words: str) -> None:
    error = error_of(write(paths, text))
    assert words in str(error)
    assert str(paths.config_file) in str(error.hint)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a = " + "[" * 10_000, "nests tables or lists too deeply"),
        ("a = " + "{a=" * 10_000, "nests tables or lists too deeply"),
        ("[" + "a." * 50_000 + "a]\nx = 1", "nests tables or lists too deeply"),
        ("[settings]\nport = " + "9" * 10_000, "is not valid TOML"),
        ("\0" * 100, "is not valid TOML"),
    ],
)
def test_a_file_that_breaks_parsers(paths: DataPaths, text: str, words: str) -> None:
    assert words in str(error_of(write(paths, text)))


def test_a_byte_order_mark_is_passed_over(paths: DataPaths) -> None:
    assert load(write(paths, "\ufeff[settings]\nport = 7\n"), environment={}).settings.port == 7


def test_a_pipe_in_the_place_of_the_file_is_not_waited_for(paths: DataPaths) -> None:
    os.mkfifo(paths.config_file)
    assert "is a pipe" in str(error_of(paths))


def test_all_bad_values_are_told_at_once_with_their_origins(paths: DataPaths) -> None:
    write(paths, "[settings]\nport = 'x'\n")
    error = error_of(paths, {"settings.mpsport": -1}, MESH__SETTINGS__FASTCERT="perhaps")
    for path in ("settings.port", "settings.mpsport", "settings.fastcert"):
        assert path in str(error)
    assert error.hint is not None
    assert "the command line" in error.hint
    assert "the environment variable MESH__SETTINGS__FASTCERT" in error.hint


def test_long_values_are_shortened(paths: DataPaths) -> None:
    assert len(str(error_of(paths, {"settings.port": "x" * 10_000}))) < 200


def test_setting_something_below_a_value(paths: DataPaths) -> None:
    write(paths, "[settings]\nport = 1\n")
    assert "settings.port is a value" in str(error_of(paths, {"settings.port.inner": 1}))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[settings\n", "is not valid TOML"),
        (b"a = 1\na = 2\n", "is not valid TOML"),
        (b"# \xff\n", "is not UTF-8"),
        (b"#" * (1024 * 1024 + 1), "is longer than"),
    ],
)
def test_files_that_cannot_be_read(paths: DataPaths, content: bytes, words: str) -> None:
    paths.config_file.write_bytes(content)
    error = error_of(paths)
    assert words in str(error)
    assert str(paths.config_file) in str(error)


def test_a_folder_in_the_place_of_the_file(paths: DataPaths) -> None:
    paths.config_file.mkdir()
    assert "cannot be read" in str(error_of(paths))


def test_unknown_keys_are_kept_and_reported_with_the_nearest_name(paths: DataPaths) -> None:
    write(
        paths,
        """
        colour = "blue"
        [settings]
        redirect_port = 8080
        sessionkey = "x"
        [domains.x]
        titel = "X"
        """,
    )
    configuration = load(paths, environment={"MESH__SETINGS__PORT": "1"})
    assert set(configuration.warnings) == {
        "colour is not a known setting and has no effect",
        "setings is not a known setting and has no effect; did you mean settings?",
        "settings.redirect_port is not a known setting and has no effect; did you mean settings.redirport?",
        "settings.sessionkey is not a known setting and has no effect",
        "domains.x.titel is not a known setting and has no effect; did you mean domains.x.title?",
    }
    assert configuration.settings.model_extra == {"redirect_port": 8080, "sessionkey": "x"}
    assert configuration.settings.redirect_port == 80


_scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.binary(max_size=9)
_keys = st.sampled_from(["settings", "domains", "plugins", "retention", "cert", "port", "title", "disabled", "", "x\n"])
_values = st.recursive(_scalars, lambda inner: st.lists(inner) | st.dictionaries(_keys, inner), max_leaves=8)


@given(st.dictionaries(_keys, _values, max_size=4))
def test_nothing_but_a_configuration_error_comes_out(tables: dict[str, Any]) -> None:
    with contextlib.suppress(ConfigurationError):
        configuration = validated(tables, "the test")
        assert "" in configuration.domain_ids
        assert isinstance(configuration.warnings, tuple)
