"""Where a command gets a new password from. Never from the command line: other users can read that."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from meshcentral.plugins.errors import NotFound, UsageError
from meshcentral_cli.terminal import Terminal

MAX_LENGTH = 256
"""Characters of a password (control-protocol reference, section 7)."""


@dataclass(frozen=True, slots=True)
class NewPassword:
    """A password, and whether we made it up (then it must be shown once)."""

    text: str
    generated: bool = False


def read_password(terminal: Terminal, *, from_stdin: bool, file: Path | None, random: bool) -> NewPassword:
    """Take the password from the one source that was named, or ask. UsageError when there is none or too many."""
    if (from_stdin, file is not None, random).count(True) > 1:
        raise UsageError("--password-stdin, --password-file and --random-password exclude each other")
    if random:
        import secrets

        return NewPassword(secrets.token_urlsafe(15), generated=True)
    if from_stdin:
        return NewPassword(_checked(sys.stdin.buffer.read(4096), "--password-stdin"))
    if file is not None:
        return NewPassword(_checked(_file_start(file), "--password-file"))
    if not terminal.interactive:
        raise UsageError(
            "no password given and no terminal to ask at",
            hint="use --password-stdin, --password-file FILE or --random-password",
        )
    return NewPassword(_checked(terminal.new_password().encode("utf-8", "surrogateescape"), "the password"))


def _file_start(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(4096)
    except FileNotFoundError as error:
        raise NotFound(f"--password-file: {file} does not exist") from error
    except OSError as error:
        raise UsageError(f"--password-file: cannot read {file}: {error.strerror}") from error


def _checked(data: bytes, source: str) -> str:
    """Decode, without the line end that `echo` and editors add."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{source}: the password is not UTF-8 text") from error
    text = text.removesuffix("\n").removesuffix("\r")
    if not 1 <= len(text) <= MAX_LENGTH or "\n" in text or "\0" in text:
        raise UsageError(f"{source}: a password is one line of 1 to {MAX_LENGTH} characters")
    return text
