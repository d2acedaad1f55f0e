"""Where passwords come from."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from meshcentral.plugins.errors import MeshError, NotFound, UsageError
from meshcentral_cli.passwords import read_password
from meshcentral_cli.terminal import Terminal

SCRIPT = Terminal(interactive=False)


def read(**sources: Any) -> str | None:
    return read_password(SCRIPT, **{"from_stdin": False, "file": None, "random": False, **sources})


def test_from_stdin_without_the_line_end(monkeypatch: pytest.MonkeyPatch) -> None:
    for data in (b"s3cret w\xc3\xb6rd", b"s3cret w\xc3\xb6rd\n", b"s3cret w\xc3\xb6rd\r\n"):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert read(from_stdin=True) == "s3cret wörd"


def test_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(" with blanks \n")
    assert read(file=file) == " with blanks "
    file.write_bytes(b"\xef\xbb\xbfnoted\r\n")
    assert read(file=file) == "noted"
    with pytest.raises(NotFound):
        read(file=tmp_path / "absent")
    with pytest.raises(UsageError):
        read(file=tmp_path)


@pytest.mark.parametrize("data", [b"", b"\n", b"a\nb", b"\xff", b"x" * 5000, b"a\0b", b"\xef\xbb\xbf"])
def test_what_is_no_password_is_refused(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "password"
    file.write_bytes(data)
    with pytest.raises(UsageError, match="password"):
        read(file=file)


def test_a_random_one_is_the_servers_business() -> None:
    assert read(random=True) is None


def test_one_source_only_and_no_question_without_a_terminal(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exclude"):
        read(random=True, from_stdin=True)
    with pytest.raises(UsageError) as caught:
        read()
    assert "--password-stdin" in str(caught.value.hint)


def test_asked_twice_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    person = Terminal(interactive=True)
    answers = iter(["one", "one", "one", "two"])
    monkeypatch.setattr("getpass.getpass", lambda prompt, stream: next(answers))
    assert read_password(person, from_stdin=False, file=None, random=False) == "one"
    with pytest.raises(MeshError, match="differ"):
        read_password(person, from_stdin=False, file=None, random=False)
