"""Quoting is tested against what reads it: a real sh, and a model of cmd.exe and of the C run-time."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshcentral.plugins.errors import UsageError
from meshcentral_cli.quoting import WINDOWS_AGENTS, is_windows, quote
from meshcentral_protocol.agent_types import AGENT_TYPES, Platform

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
TRICKY = ["", " ", "a b", "it's", '"', "\\", 'a\\"b', "\\\\", "$HOME", "`id`", "*", "%PATH%", "a&b|c<d>e^f!g(h)", "ü"]


@given(st.lists(TEXT, min_size=1, max_size=4))
@settings(max_examples=25, deadline=None)
def test_sh_gives_the_program_exactly_the_arguments(arguments: list[str]) -> None:
    assert _seen_by_sh(arguments) == arguments


def test_sh_and_the_usual_traps() -> None:
    assert _seen_by_sh(TRICKY) == TRICKY


@given(st.lists(st.text(st.sampled_from(' \t"\\^%&|<>()!aü'), max_size=12), min_size=1, max_size=4))
def test_cmd_gives_the_program_exactly_the_arguments(arguments: list[str]) -> None:
    assert _split_like_the_c_runtime(_read_like_cmd(quote(["prog", *arguments], windows=True)))[1:] == arguments


def test_cmd_and_the_usual_traps() -> None:
    assert _split_like_the_c_runtime(_read_like_cmd(quote(["prog", *TRICKY], windows=True)))[1:] == TRICKY


@pytest.mark.parametrize(("arguments", "windows"), [([], False), (["a\0b"], False), (["a\nb"], True), (["a\rb"], True)])
def test_what_cannot_be_quoted_is_refused(arguments: list[str], windows: bool) -> None:
    with pytest.raises(UsageError):
        quote(arguments, windows=windows)


def test_the_windows_agents_are_those_of_the_protocol() -> None:
    windows = {number for number, row in AGENT_TYPES.items() if row.platform is Platform.WINDOWS}
    assert windows == WINDOWS_AGENTS & AGENT_TYPES.keys()


def test_the_shell_follows_the_agent_type_then_the_operating_system() -> None:
    assert is_windows({"agent": {"type_id": 4}, "os": "Ubuntu"})
    assert not is_windows({"agent": {"type_id": 6}, "os": "Windows"})
    assert is_windows({"agent": None, "os": "Microsoft Windows 11 Pro"})
    assert not is_windows({"agent": {"type_id": None}, "os": None})


def _seen_by_sh(arguments: list[str]) -> list[str]:
    show = "import json, sys; print(json.dumps(sys.argv[1:]))"
    line = quote([sys.executable, "-X", "utf8", "-c", show, *arguments], windows=False)
    result = subprocess.run(["/bin/sh", "-c", line], capture_output=True, check=True)
    seen: list[str] = json.loads(result.stdout)
    return seen


def _read_like_cmd(line: str) -> str:
    """What cmd.exe passes on from a line of a batch file. Fails when a special character would have acted."""
    assert "%" not in line.replace("%%", ""), f"a variable in {line!r}"
    plain, escaped = "", False
    for character in line.replace("%%", "%"):
        if escaped:
            plain, escaped = plain + character, False
        elif character == "^":
            escaped = True
        else:
            assert character not in '&|<>()"!', f"{character} is live in {line!r}"
            plain += character
    assert not escaped
    return plain


def _split_like_the_c_runtime(line: str) -> list[str]:
    """Backslashes count only before a quote; quotes group; blanks and tabs separate."""
    arguments: list[str] = []
    current, inside, started, position = "", False, False, 0
    while position < len(line):
        backslashes = 0
        while position < len(line) and line[position] == "\\":
            backslashes, position = backslashes + 1, position + 1
        if position < len(line) and line[position] == '"':
            current += "\\" * (backslashes // 2)
            started = True
            if backslashes % 2:
                current += '"'
            else:
                inside = not inside
            position += 1
            continue
        current += "\\" * backslashes
        started |= backslashes > 0
        if position == len(line):
            break
        if line[position] in " \t" and not inside:
            if started:
                arguments.append(current)
            current, started = "", False
        else:
            current, started = current + line[position], True
        position += 1
    return [*arguments, current] if started else arguments
