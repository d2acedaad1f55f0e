"""Where a command's answer goes: one JSON document or a table on stdout, everything else on stderr.

Field names are an API: they are snapshot-tested and only added to. A list is a list even with one item. Text that
came from devices is hostile: control characters never reach the terminal.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from meshcentral.plugins.errors import MeshError
from meshcentral_cli.streams import abandon

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

_BIDIRECTIONAL = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C}
_DROPPED = dict.fromkeys({*range(0x20), *range(0x7F, 0xA0), *range(0xD800, 0xE000), *_BIDIRECTIONAL}, "")
_ONE_LINE = {**_DROPPED, ord("\t"): " ", ord("\n"): " "}
_MANY_LINES = {**_DROPPED, ord("\t"): "\t", ord("\n"): "\n"}


def one_line(text: str) -> str:
    """The text without what a terminal would obey or hide: controls, lone surrogates, direction overrides."""
    return text.translate(_ONE_LINE)


def many_lines(text: str) -> str:
    """Like `one_line`, but line ends and tabs stay."""
    return text.translate(_MANY_LINES)


_PROGRESS_SECONDS = 0.25


class Progress(Protocol):
    """Takes the steps of a long job."""

    def update(self, done: int, total: int, label: str = "") -> None:
        """`total` 0 means that it is not known."""
        ...


class _NoProgress:
    def update(self, done: int, total: int, label: str = "") -> None:
        pass


@dataclass(slots=True)
class _JsonProgress:
    """A line for the first step, for the last one, and for some in between."""

    _next: float = 0.0

    def update(self, done: int, total: int, label: str = "") -> None:
        now = time.monotonic()
        if now < self._next and done != total:
            return
        self._next = now + _PROGRESS_SECONDS
        step = {"progress": {"done": done, "total": total, "label": label}}
        print(json.dumps(step), file=sys.stderr, flush=True)


@dataclass(slots=True)
class _BarProgress:
    bar: RichProgress
    task: TaskID

    def update(self, done: int, total: int, label: str = "") -> None:
        self.bar.update(self.task, completed=done, total=total or None, description=one_line(label))


@dataclass(slots=True)
class Output:
    """Where a command's answer goes."""

    as_json: bool = False
    quiet: bool = False

    def document(self, value: Mapping[str, Any] | Sequence[Any], text: str = "") -> None:
        """The answer: `value` as JSON, `text` (may be empty) for people."""
        if self.as_json:
            json.dump(value, sys.stdout, indent=2, sort_keys=True)
            sys.stdout.write("\n")
        elif text:
            print(many_lines(text))

    def line(self, value: Mapping[str, Any], text: str) -> None:
        """One item of a stream: a JSON object on one line, or a line of text. Flushed, so that pipes see it now."""
        print(json.dumps(value) if self.as_json else one_line(text), flush=True)

    def rows(self, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
        """A list of objects: all fields as JSON, the named columns (field -> heading) as a table."""
        if self.as_json:
            self.document(rows)
            return
        if not rows:
            self.note("nothing to list")
            return
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, header_style="bold", pad_edge=False)
        for heading in columns.values():
            table.add_column(heading, overflow="fold")
        for row in rows:
            table.add_row(*(Text(cell(row.get(field))) for field in columns))
        console = _console(sys.stdout.isatty())
        with console.capture() as captured:
            console.print(table)
        # Rich fills every line up to the width of the table.
        sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))

    def fields(self, value: Mapping[str, Any]) -> None:
        """One object: JSON, or a `name: value` line for each member."""
        width = max((len(name) for name in value), default=0) + 2
        self.document(value, "\n".join(f"{name + ':':{width}}{cell(member)}" for name, member in value.items()))

    def raw(self, data: bytes) -> None:
        """Bytes for a file or another program, exactly as they are."""
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def note(self, text: str) -> None:
        """A remark for people. Programs that asked for JSON do not get it."""
        if not (self.quiet or self.as_json):
            print(one_line(text), file=sys.stderr, flush=True)

    def complain(self, text: str) -> None:
        """One of several things went wrong; said to people even with --quiet."""
        print(f"mesh: {one_line(text)}", file=sys.stderr)

    def failed(self, error: MeshError) -> int:
        """Report an error; returns the exit code of its kind."""
        if self.as_json:
            detail = {"code": error.code, "message": str(error), "hint": error.hint}
            text = json.dumps({"error": detail})
        else:
            text = f"mesh: {one_line(str(error))}" + (f"\n  {one_line(error.hint)}" if error.hint else "")
        try:
            print(text, file=sys.stderr, flush=True)
        except OSError:
            abandon(sys.stderr)  # the exit code still tells
        return error.exit_code

    @contextlib.contextmanager
    def progress(self, label: str) -> Iterator[Progress]:
        """A bar on a terminal, JSON lines for programs, nothing otherwise; always on stderr."""
        if self.quiet or not (self.as_json or sys.stderr.isatty()):
            yield _NoProgress()
        elif self.as_json:
            yield _JsonProgress()
        else:
            from rich.console import Console
            from rich.progress import Progress as RichProgress

            with RichProgress(console=Console(stderr=True, markup=False, highlight=False), transient=True) as bar:
                yield _BarProgress(bar, bar.add_task(label, total=None))


def cell(value: Any) -> str:
    """A JSON value as people read it."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(cell(item) for item in value) or "-"
        case dict():
            return ", ".join(f"{one_line(str(name))}={cell(member)}" for name, member in value.items()) or "-"
        case _:
            return one_line(str(value))


def _console(terminal: bool) -> Console:
    """A console on stdout. Piped tables are never cut or folded; rich itself honours NO_COLOR."""
    from rich.console import Console

    width = None if terminal else 100_000
    return Console(markup=False, highlight=False, emoji=False, width=width, no_color="NO_COLOR" in os.environ or None)
