"""`mesh init` on a real folder."""

from __future__ import annotations

import io
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from meshcentral_cli.commands.init import init
from meshcentral_cli.invocation import Invocation
from meshcentral_cli.output import Output
from meshcentral_cli.terminal import Terminal

FIELDS = {"data", "name", "port", "redirect_port", "mps_port", "mode", "created_now", "certificates"}


def test_a_folder_is_made_once(run: Any, tmp_path: Path) -> None:
    data = tmp_path / "data"
    made = run("--data", data, "init", "--cert-name", "mesh.example.org", "--port", 8443, "--fast-cert", "--json")
    answer = json.loads(made.stdout)
    assert made.code == 0
    assert answer.keys() == FIELDS
    assert (answer["data"], answer["name"], answer["port"]) == (str(data), "mesh.example.org", 8443)
    assert answer["created_now"] is True
    assert {"root", "web", "mps", "agentserver"} <= {row["purpose"] for row in answer["certificates"]}

    file = data / "config.toml"
    before = file.read_bytes()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = run("--data", data, "init", "--cert-name", "other.example.org", "--json")
    assert again.code == 1
    assert json.loads(again.stderr)["error"]["code"] == "conflict"
    kept = run("--data", data, "init", "--cert-name", "other.example.org", "--if-missing", "--json")
    assert kept.code == 0
    assert json.loads(kept.stdout).keys() == FIELDS
    assert json.loads(kept.stdout)["name"] == "mesh.example.org"
    assert json.loads(kept.stdout)["created_now"] is False
    assert file.read_bytes() == before


def test_no_name_and_nobody_to_ask(run: Any, tmp_path: Path) -> None:
    result = run("--data", tmp_path / "data", "init", "--json")
    assert result.code == 2
    assert "--cert-name" in json.loads(result.stderr)["error"]["message"]
    assert not (tmp_path / "data").exists()


def test_a_bad_name_leaves_nothing_behind(run: Any, tmp_path: Path) -> None:
    result = run("--data", tmp_path / "data", "init", "--cert-name", "no such name!", "--json")
    assert result.code == 78
    assert "settings.cert" in json.loads(result.stderr)["error"]["message"]
    assert not (tmp_path / "data").exists()


def test_a_person_is_asked_for_what_is_not_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("host.example.org\n\n8081\n\nwan\n"))
    mesh = Invocation(tmp_path / "data", Output(as_json=True), Terminal(interactive=True))
    init(mesh, fast_cert=True)
    captured = capsys.readouterr()
    answer = json.loads(captured.out)
    assert "Host name" in captured.err
    assert [answer[name] for name in ("name", "port", "redirect_port", "mps_port", "mode")] == [
        "host.example.org",
        443,
        8081,
        4433,
        "wan",
    ]
