"""Arguments quoted for the shell of a device, so that its program sees exactly what was typed here."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from typing import Any

from meshcentral.plugins.errors import UsageError

WINDOWS_AGENTS = frozenset({1, 2, 3, 4, 21, 22, 34, 42, 43, 10003, 10004, 10006, 11000, 11001, 11002})
"""Agent types that run on Windows (agent-protocol reference, 8.1)."""

_CMD_META = str.maketrans({**{character: f"^{character}" for character in '()!^"<>&|'}, "%": "%%"})


def is_windows(device: dict[str, Any]) -> bool:
    """Whether a device as `mesh device list` shows it has cmd.exe for its shell."""
    agent = device.get("agent") or {}
    if agent.get("type_id"):
        return agent["type_id"] in WINDOWS_AGENTS
    return "windows" in (device.get("os") or "").lower()


def quote(arguments: Sequence[str], *, windows: bool) -> str:
    """One command line for sh or cmd.exe. UsageError for what no quoting can carry."""
    if not arguments:
        raise UsageError("no command was given", hint="write it after --, or use --shell TEXT")
    for argument in arguments:
        if "\0" in argument or (windows and ("\n" in argument or "\r" in argument)):
            raise UsageError(f"the argument {argument!r} cannot be passed to the device's shell")
    return _cmd_line(arguments) if windows else shlex.join(arguments)


def _cmd_line(arguments: Sequence[str]) -> str:
    """Two layers: the C run-time's rules for the program, then a caret before all that cmd.exe would read.

    The quotes get a caret too: cmd.exe then never believes to be inside quotes, where carets would stay. A percent
    sign is doubled, because the agent core runs commands as a batch file.
    """
    return subprocess.list2cmdline(arguments).translate(_CMD_META)
