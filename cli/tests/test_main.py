"""The frame: help, versions, errors and exit codes."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from meshcentral.plugins import errors
from meshcentral_cli import main as program
from meshcentral_cli.main import NOUNS, main, reference

FORBIDDEN_IMPORTS = {
    "quart",
    "hypercorn",
    "sqlmodel",
    "sqlalchemy",
    "alembic",
    "cryptography",
    "rich",
    "pydantic",
    "asyncio",
    "websockets",
}


def mesh(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "meshcentral_cli", *arguments], capture_output=True, text=True, check=False, **options
    )


def test_every_noun_has_its_module_and_its_help() -> None:
    pages = dict(reference())
    for noun, summary in NOUNS.items():
        assert importlib.import_module(f"meshcentral_cli.commands.{noun}").app.info.help == summary
        assert f"mesh {noun}" in pages
        assert summary in pages["mesh"]


def test_every_command_takes_json_and_declares_it() -> None:
    pages = dict(reference())
    verbs = [name for name, text in pages.items() if "VERB" not in text.splitlines()[0]]
    assert len(verbs) > 20
    assert [name for name in verbs if "--json" not in pages[name]] == []


def test_the_reference_does_not_depend_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    before = list(reference())
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("MESH_DATA", "/elsewhere")
    assert list(reference()) == before


def test_help_imports_nothing_heavy() -> None:
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "meshcentral_cli", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in result.stderr.splitlines()}
    assert "typer" in imported
    assert imported & FORBIDDEN_IMPORTS == set()
    assert "Nouns:" in result.stdout


def test_help_of_a_noun_imports_no_other_noun_and_no_server() -> None:
    code = (
        "import sys; from meshcentral_cli.main import main; main(['device', '--help']);"
        "print([m for m in sys.modules if m.startswith('meshcentral_cli.commands.')],"
        f" sorted({FORBIDDEN_IMPORTS - {'asyncio', 'pydantic'}!r} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "['meshcentral_cli.commands.device'] []"


def test_version(run: Any) -> None:
    assert run("--version").stdout.startswith("mesh ")
    assert json.loads(run("--json", "--version").stdout).keys() == {"version"}


def test_no_noun_prints_the_help(run: Any) -> None:
    result = run()
    assert result.code == 0
    assert "Nouns:" in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["bogus"],
        ["--bogus"],
        ["user"],
        ["user", "bogus"],
        ["user", "add"],
        ["user", "add", "a", "--bogus"],
        ["device", "run"],
        ["device", "run", "x"],
        ["device", "run", "x", "--shell", "a", "--", "b"],
        ["device", "run", "x", "--timeout", "soon", "--", "b"],
        ["serve", "--port", "70000"],
        ["event", "tail", "--filter", "action"],
        ["agents", "import"],
    ],
)
def test_wrong_usage_is_one_message_and_exit_code_2(run: Any, tmp_path: Path, arguments: list[str]) -> None:
    people = run("--data", tmp_path, *arguments)
    assert people.code == 2
    assert people.stdout == ""
    assert people.stderr.startswith("mesh: ")
    program_ = run("--json", "--data", tmp_path, *arguments)
    assert program_.code == 2
    assert json.loads(program_.stderr)["error"].keys() == {"code", "message", "hint"}
    assert json.loads(program_.stderr)["error"]["code"] == "usage"


def test_json_is_taken_before_the_noun_and_after_the_verb_but_not_after_the_dashes(run: Any, tmp_path: Path) -> None:
    assert json.loads(run("--data", tmp_path, "--json", "user", "list").stderr)
    assert json.loads(run("--data", tmp_path, "user", "list", "--json").stderr)
    assert run("--data", tmp_path, "device", "run", "x", "--", "ls", "--json").stderr.startswith("mesh: ")


def test_a_folder_without_configuration_is_left_alone(run: Any, tmp_path: Path) -> None:
    for arguments in (["user", "list"], ["serve"], ["db", "check"]):
        result = run("--data", tmp_path / "absent", *arguments, "--json")
        assert result.code == 78
        assert json.loads(result.stderr)["error"]["code"] == "configuration"
        assert "init" in json.loads(result.stderr)["error"]["hint"]
    assert not (tmp_path / "absent").exists()


def test_the_data_folder_comes_from_the_environment_too(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESH_DATA", str(tmp_path / "named"))
    assert str(tmp_path / "named") in run("user", "list").stderr


def test_commands_that_need_a_running_server_say_so(run: Any, tmp_path: Path) -> None:
    for arguments in (["status"], ["event", "tail"]):
        result = run("--data", tmp_path, *arguments, "--json")
        assert result.code == 3
        assert json.loads(result.stderr)["error"]["code"] == "server_unreachable"


def test_exit_codes_are_those_of_the_errors(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {
        errors.MeshError: 1,
        errors.UsageError: 2,
        errors.ServerUnreachable: 3,
        errors.NotAuthorised: 4,
        errors.NotFound: 5,
        errors.Conflict: 1,
        errors.ConfigurationError: 78,
        KeyboardInterrupt: 130,
    }
    for kind, code in expected.items():
        _fail_with(monkeypatch, kind("reason"))
        result = run("status")
        assert result.code == code
        assert "Traceback" not in result.stderr


def test_what_nobody_expected_is_one_line_without_a_traceback(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _fail_with(monkeypatch, ValueError("surprise"))
    result = run("status")
    assert result.code == 1
    assert result.stderr.splitlines()[0] == "mesh: unexpected ValueError: surprise"
    assert "Traceback" not in result.stderr
    monkeypatch.setenv("MESH_DEBUG", "1")
    with pytest.raises(ValueError, match="surprise"):
        main(["status"])


def _fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make the program meet this error on its way to a command."""

    def fail(self: Any, ctx: Any, name: str) -> None:
        raise error

    monkeypatch.setattr(program.LazyNouns, "get_command", fail)


def test_a_reader_that_leaves_is_no_failure() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        result = subprocess.run(
            [sys.executable, "-m", "meshcentral_cli", "--help"], stdout=writing, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(writing)
    assert result.stderr == b""
    assert result.returncode == 0


@pytest.mark.parametrize("descriptor", [0, 1, 2])
def test_a_closed_stream_is_like_the_null_device(tmp_path: Path, descriptor: int) -> None:
    result = mesh("--data", str(tmp_path), "user", "list", "--json", preexec_fn=lambda: os.close(descriptor))
    assert result.returncode == 78
    assert result.stdout == ""
    assert result.stderr == "" if descriptor == 2 else json.loads(result.stderr)["error"]["code"] == "configuration"


def test_what_is_opened_later_does_not_become_stderr() -> None:
    code = (
        "import os, sys; from meshcentral_cli import streams; streams.prepare();"
        "sys.exit(os.open(os.devnull, os.O_RDONLY))"
    )
    for closed in ([0], [1], [2], [0, 1], [1, 2], [0, 1, 2]):
        result = subprocess.run(
            [sys.executable, "-c", code],
            check=False,
            preexec_fn=lambda numbers=closed: [os.close(number) for number in numbers],  # type: ignore[misc]
        )
        assert result.returncode == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_an_answer_that_cannot_be_written_is_a_failure_and_an_error_that_cannot_keeps_its_code(tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "meshcentral_cli", "--json", "--data", str(tmp_path)]
    with open("/dev/full", "wb") as full:
        for command in (["--help"], ["--version"]):
            answer = subprocess.run([*arguments, *command], stdout=full, stderr=subprocess.PIPE, check=False)
            assert answer.returncode == 1
            assert "No space left on device" in json.loads(answer.stderr)["error"]["message"]
        error = subprocess.run([*arguments, "user", "list"], stdout=subprocess.PIPE, stderr=full, check=False)
    assert error.returncode == 78
    assert error.stdout == b""


def test_the_module_is_the_same_program() -> None:
    assert mesh("--version").stdout.startswith("mesh ")
