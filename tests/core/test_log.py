"""Log lines: one object per line, private, and never faked by what devices send."""

from __future__ import annotations

import io
import json
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshcentral.core import log as log_module
from meshcentral.core.log import configure, shutdown
from meshcentral.core.paths import DataPaths

log = logging.getLogger("meshcentral.test")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    shutdown()


@pytest.fixture
def stream() -> io.StringIO:
    stream = io.StringIO()
    configure(None, stream=stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_an_object_with_time_level_logger_message_and_fields(stream: io.StringIO) -> None:
    log.info("agent %s connected", "node//x", extra={"count": 3, "path": Path("/x")})
    [line] = lines(stream)
    assert line["time"].endswith("Z")
    assert len(line["time"]) == len("2030-01-01T00:00:00.000Z")
    assert line | {"time": ""} == {
        "time": "",
        "level": "info",
        "logger": "meshcentral.test",
        "message": "agent node//x connected",
        "count": 3,
        "path": "/x",
    }


def test_an_exception_is_one_string(stream: io.StringIO) -> None:
    try:
        raise ValueError("bad\nnews")
    except ValueError:
        log.exception("it failed")
    [line] = lines(stream)
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("ValueError: bad\nnews")


HOSTILE = 'x\n{"level":"error","message":"fake"}\r\x1b[2J\x7f\u2028\u202e\x85\x00'


def test_device_text_cannot_make_a_line_of_json(stream: io.StringIO) -> None:
    log.info("name %s", HOSTILE, extra={"agent": HOSTILE})
    written = stream.getvalue()
    assert written.count("\n") == 1
    assert written.isascii()
    assert all(character.isprintable() or character == "\n" for character in written)
    assert lines(stream)[0]["agent"] == HOSTILE


def test_device_text_cannot_make_a_line_or_move_the_cursor_on_a_terminal() -> None:
    terminal = Terminal()
    configure(None, stream=terminal)
    try:
        raise ValueError(f"\n12:00:00 ERROR fake: {HOSTILE}")
    except ValueError:
        log.exception("name %s", HOSTILE, extra={"agent": HOSTILE})
    first, *trace = terminal.getvalue().splitlines()
    assert "ERROR   test: name x\\n{" in first
    assert trace
    assert all(line.startswith("  | ") for line in trace)
    assert all(character.isprintable() or character == "\n" for character in terminal.getvalue())


def test_long_texts_are_cut(stream: io.StringIO) -> None:
    log.info("%s", "x" * 1_000_000)
    assert len(stream.getvalue()) < 10_000
    assert "(1000000 characters)" in lines(stream)[0]["message"]


def test_extra_fields_cannot_replace_ours(stream: io.StringIO) -> None:
    log.info("real", extra={"level": "fake", "time": "fake", "logger": "fake"})
    [line] = lines(stream)
    assert (line["level"], line["logger"]) == ("info", "meshcentral.test")


def test_levels_are_for_our_own_loggers(stream: io.StringIO) -> None:
    logging.getLogger("somelibrary").info("chatter")
    logging.getLogger("somelibrary").warning("news")
    log.debug("detail")
    assert [line["message"] for line in lines(stream)] == ["news"]
    configure(None, "DEBUG", stream)
    log.debug("detail")
    assert [line["message"] for line in lines(stream)] == ["news", "detail"]


@pytest.fixture
def paths(tmp_path: Path) -> DataPaths:
    paths = DataPaths.at(tmp_path / "mesh")
    paths.create()
    return paths


def test_the_file_is_private_under_any_umask_and_written_once_however_often_configured(paths: DataPaths) -> None:
    before = os.umask(0)
    try:
        for _ in range(3):
            configure(paths, stream=io.StringIO())
        log.info("once")
    finally:
        os.umask(before)
    file = paths.logs / "mesh.log"
    assert [json.loads(line)["message"] for line in file.read_text().splitlines()] == ["once"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_files_rotate_and_stay_private(paths: DataPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "MAX_FILE", 1000)
    configure(paths, stream=io.StringIO())
    for number in range(100):
        log.info("message number %d", number)
    files = sorted(paths.logs.iterdir())
    assert [file.name for file in files] == ["mesh.log", *(f"mesh.log.{index}" for index in range(1, 6))]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    one_line = 200
    assert all(file.stat().st_size < 1000 + one_line for file in files)


def test_after_shutdown_nothing_of_ours_is_left(paths: DataPaths) -> None:
    handlers = list(logging.getLogger().handlers)
    configure(paths, stream=io.StringIO())
    shutdown()
    shutdown()
    assert logging.getLogger().handlers == handlers


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_said_once_on_the_console(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = DataPaths.at(tmp_path)
    paths.create()
    stream = io.StringIO()
    (paths.logs / "mesh.log").symlink_to("/dev/full")
    configure(paths, stream=stream)
    for number in range(3):
        log.error("line %d", number)
    shutdown()
    messages = [line["message"] for line in lines(stream)]
    assert [message for message in messages if message.startswith("line")] == ["line 0", "line 1", "line 2"]
    assert [message for message in messages if "cannot be written" in message] == [
        f"{paths.logs / 'mesh.log'} cannot be written and loses lines: No space left on device"
    ]
    assert capsys.readouterr().err == ""
