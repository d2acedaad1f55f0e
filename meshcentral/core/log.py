"""Logging: one JSON object per line, in a rotating file and on stderr; readable text when stderr is a terminal.

Everywhere else `logging.getLogger("meshcentral.<area>")` is used as it is. Text from devices and the network gets
into messages, so control characters never reach a log line unescaped (security, P5).
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import sys
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

from meshcentral.core.paths import DataPaths

MAX_FILE = 10 * 1024 * 1024
KEPT_FILES = 5
MAX_MESSAGE = 8 * 1024
MAX_EXCEPTION = 32 * 1024

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_UNSAFE = {
    code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    for code in (
        *range(0x20),
        *range(0x7F, 0xA0),
        0x61C,
        0x200E,
        0x200F,
        *range(0x2028, 0x202F),
        *range(0x2066, 0x206A),
    )
} | {0x09: "\\t", 0x0A: "\\n", 0x0D: "\\r"}
"""Control characters, line separators, and what reverses the direction of text."""

_installed: list[logging.Handler] = []


def configure(paths: DataPaths | None, level: int | str = logging.INFO, stream: TextIO | None = None) -> None:
    """Send logs to `stream` (stderr) and, with `paths`, to `logs/mesh.log`. Replaces what an earlier call set up.

    `level` is for our own loggers; libraries log from WARNING on.
    """
    shutdown()
    stream = stream or sys.stderr
    json_lines = JsonFormatter()
    console = logging.StreamHandler(stream)
    console.setFormatter(TextFormatter() if stream.isatty() else json_lines)
    _install(console)
    if paths is not None:
        file = _PrivateRotatingFile(paths.logs / "mesh.log", console)
        file.setFormatter(json_lines)
        _install(file)
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger("meshcentral").setLevel(level)


def shutdown() -> None:
    """Flush and remove our handlers; logging is as it was before `configure`."""
    root = logging.getLogger()
    while _installed:
        handler = _installed.pop()
        root.removeHandler(handler)
        handler.close()
    root.setLevel(logging.WARNING)
    logging.getLogger("meshcentral").setLevel(logging.NOTSET)


def _install(handler: logging.Handler) -> None:
    _installed.append(handler)
    logging.getLogger().addHandler(handler)


class JsonFormatter(logging.Formatter):
    """`{"time", "level", "logger", "message", ...extra fields, "exception"}`; time is UTC with milliseconds.

    The console and the file share one formatter, which makes each line once.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last: tuple[logging.LogRecord | None, str] = (None, "")

    def format(self, record: logging.LogRecord) -> str:
        last, line = self._last
        if last is not record:
            line = self._line(record)
            self._last = (record, line)
        return line

    @staticmethod
    def _line(record: logging.LogRecord) -> str:
        body = {
            **_fields(record),
            "time": _time(record).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        if exception := _exception(record):
            body["exception"] = exception
        # json escapes everything outside ASCII and below the blank; only DEL is left.
        return json.dumps(body, default=_text, separators=(",", ":")).replace("\x7f", "\\u007f")


class TextFormatter(logging.Formatter):
    """`12:34:56 WARNING front: message (agent=...)`, for people at a terminal; local time."""

    def format(self, record: logging.LogRecord) -> str:
        clock = _time(record).astimezone().strftime("%H:%M:%S")
        area = record.name.removeprefix("meshcentral.")
        fields = " ".join(f"{name}={_text(value)}" for name, value in _fields(record).items())
        line = f"{clock} {record.levelname:<7} {area}: {_message(record)}" + (f" ({fields})" if fields else "")
        lines = [line.translate(_UNSAFE)]
        # Every line of a traceback is marked, so that a message inside it cannot pose as a log line.
        lines += [f"  | {part.translate(_UNSAFE)}" for part in _exception(record).split("\n") if part]
        return "\n".join(lines)


class _PrivateRotatingFile(logging.handlers.RotatingFileHandler):
    """A rotating file that only its owner can read, from its first byte.

    When it cannot be written (a full disk), the console is told once, and again after it could be written meanwhile.
    """

    def __init__(self, file: Path, console: logging.Handler) -> None:
        super().__init__(file, maxBytes=MAX_FILE, backupCount=KEPT_FILES, encoding="utf-8", delay=True)
        self._console = console
        self._failing = False

    def flush(self) -> None:
        """After each line: reaching the end means that it was written."""
        super().flush()
        self._failing = False

    def handleError(self, record: logging.LogRecord) -> None:
        """Called where an exception is handled; the base class prints a traceback for every line."""
        error = sys.exception()
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._failing:
            self._failing = True
            reason = f"{self.baseFilename} cannot be written and loses lines: {error.strerror}"
            self._console.handle(logging.LogRecord("meshcentral.log", logging.ERROR, "", 0, reason, None, None))

    def close(self) -> None:
        """What a full disk left in the buffer is lost; that was said."""
        with suppress(OSError):
            super().close()

    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, "a", encoding="utf-8", opener=_private_opener)

    def shouldRollover(self, record: logging.LogRecord) -> bool:
        """By the size alone: the base class formats every record a second time to know, and asks the file system."""
        return self.stream is not None and self.stream.tell() >= self.maxBytes


def _private_opener(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_CLOEXEC, 0o600)


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _message(record: logging.LogRecord) -> str:
    return _bounded(record.getMessage(), MAX_MESSAGE)


def _exception(record: logging.LogRecord) -> str:
    if not record.exc_info or record.exc_info[1] is None:
        return ""
    return _bounded("".join(traceback.format_exception(*record.exc_info)).rstrip(), MAX_EXCEPTION)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _text(value: object) -> str:
    return _bounded(str(value), MAX_MESSAGE)


def _bounded(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"
