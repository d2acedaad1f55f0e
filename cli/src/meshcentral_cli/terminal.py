"""Questions to the person at the terminal. Nothing is asked when there is none."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from meshcentral.plugins.errors import UsageError


@dataclass(frozen=True, slots=True)
class Terminal:
    """Who may be asked. `interactive` is false in scripts."""

    interactive: bool

    @classmethod
    def current(cls) -> Terminal:
        """A person is there when both stdin and stderr are a terminal and MESH_NO_INPUT is not set."""
        return cls(sys.stdin.isatty() and sys.stderr.isatty() and not os.environ.get("MESH_NO_INPUT"))

    def ask(self, question: str, default: str = "") -> str:
        """One line; an empty answer is the default."""
        suffix = f" [{default}]" if default else ""
        print(f"{question}{suffix}: ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            raise UsageError("the input ended before the question was answered")
        return line.strip() or default

    def confirm(self, question: str) -> bool:
        return self.ask(f"{question} (y/n)", "n").lower() in {"y", "yes"}

    def new_password(self) -> str:
        """Ask twice, without echo."""
        import getpass

        first = getpass.getpass("Password: ", stream=sys.stderr)
        if first != getpass.getpass("Again: ", stream=sys.stderr):
            raise UsageError("the two passwords differ", hint="run the command again")
        return first
