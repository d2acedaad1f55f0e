"""`mesh agents import`: fetching with npm. The import itself is the server's and tested there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from meshcentral.plugins.errors import MeshError, UsageError
from meshcentral_cli.commands.agents import describe, npm_pack


def test_the_outcome_for_people() -> None:
    report = {"version": "1.2.3", "imported": ["a", "b"], "unchanged": [], "refused": {"c": "its hash is wrong"}}
    assert describe(report) == (
        "agents of version 1.2.3: 2 imported, 0 unchanged, 1 refused\nrefused c: its hash is wrong"
    )


def install_npm(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program named npm in front of the real one."""
    program = folder / "npm"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def test_the_tarball_that_npm_made(tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_npm(tmp_path, 'printf "%s|" "$@" > called; : > meshcentral-1.2.3.tgz', monkeypatch)
    assert npm_pack("1.2.3", target) == target / "meshcentral-1.2.3.tgz"
    assert (target / "called").read_text() == "pack|meshcentral@1.2.3|--ignore-scripts|--loglevel=error|"


def test_without_npm_the_way_out_is_named(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(target))
    with pytest.raises(MeshError, match="npm is not installed") as caught:
        npm_pack("latest", target)
    assert "FOLDER" in str(caught.value.hint)


def test_what_npm_complains_of(tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_npm(tmp_path, "echo 'npm ERR! 404' >&2; exit 1", monkeypatch)
    with pytest.raises(MeshError, match="npm ERR! 404"):
        npm_pack("9.9.9", target)


def test_npm_that_makes_nothing(tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_npm(tmp_path, "exit 0", monkeypatch)
    with pytest.raises(MeshError, match="0 files"):
        npm_pack("1.2.3", target)


@pytest.mark.parametrize("version", ["", "-g", "../x", "file:/etc", "a b", "1@2"])
def test_a_version_is_never_an_option_or_an_address(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    install_npm(tmp_path, ": > called", monkeypatch)
    with pytest.raises(UsageError):
        npm_pack(version, target)
    assert not (target / "called").exists()
