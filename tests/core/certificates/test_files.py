"""Files: modes from creation on, whole or not at all."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

import pytest

from meshcentral.core.certificates.files import (
    KEY_MODE,
    PUBLIC_MODE,
    list_names,
    mark,
    read_file,
    repair_key_mode,
    replace_file,
    write_synced,
)
from meshcentral.plugins.errors import ConfigurationError

posix = pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@posix
def test_a_key_file_is_closed_from_its_creation_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    created: list[int] = []
    real_open = os.open

    def spy(path: Path, flags: int, open_mode: int = 0o777) -> int:
        descriptor = real_open(path, flags, open_mode)
        created.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return descriptor

    monkeypatch.setattr(os, "open", spy)
    before = os.umask(0)
    try:
        write_synced(tmp_path / "key", b"secret", KEY_MODE)
        write_synced(tmp_path / "certificate", b"public", PUBLIC_MODE)
    finally:
        os.umask(before)
    assert created == [0o600, 0o644]


@posix
def test_an_open_file_in_the_way_does_not_lend_its_mode(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"old")
    key.chmod(0o666)
    replace_file(key, b"new", KEY_MODE)
    assert (key.read_bytes(), mode(key)) == (b"new", 0o600)


@posix
def test_writing_does_not_follow_a_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"untouched")
    (tmp_path / "key.pending").symlink_to(victim)
    write_synced(tmp_path / "key.pending", b"secret", KEY_MODE)
    assert victim.read_bytes() == b"untouched"


def test_a_failed_replacement_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigurationError, match=r"file.*No space left") as raised:
        replace_file(file, b"new", KEY_MODE)
    assert "disk" in str(raised.value.hint)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"old"}


@posix
def test_loose_key_modes_are_repaired_and_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    key = tmp_path / "agentserver-cert-private.key"
    key.write_bytes(b"")
    for loose in (0o644, 0o640, 0o604, 0o777):
        key.chmod(loose)
        caplog.clear()
        repair_key_mode(key)
        assert mode(key) == 0o600
        assert [record.levelno for record in caplog.records] == [logging.WARNING]
        assert str(key) in caplog.text
        assert f"{loose:03o}" in caplog.text


@posix
def test_a_strict_key_mode_is_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"")
    key.chmod(0o400)
    repair_key_mode(key)
    assert (mode(key), caplog.text) == (0o400, "")


def test_reading_is_bounded_and_names_the_file(tmp_path: Path) -> None:
    huge = tmp_path / "huge.crt"
    huge.write_bytes(b"x" * (256 * 1024 + 1))
    with pytest.raises(ConfigurationError, match=r"huge\.crt.*256 KiB"):
        read_file(huge)
    with pytest.raises(ConfigurationError, match=r"absent\.crt: cannot be read"):
        read_file(tmp_path / "absent.crt")
    with pytest.raises(ConfigurationError, match="absent: cannot be listed"):
        list_names(tmp_path / "absent")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "file")
    with pytest.raises(ConfigurationError, match="it is a pipe"):
        read_file(tmp_path / "file")


def test_a_mark_tells_a_replaced_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    assert mark(file) is None
    replace_file(file, b"same", PUBLIC_MODE)
    first = mark(file)
    assert first == mark(file)
    replace_file(file, b"same", PUBLIC_MODE)
    assert mark(file) != first
