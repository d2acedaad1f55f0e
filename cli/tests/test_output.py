"""What reaches stdout and stderr, in both forms."""

from __future__ import annotations

import json

import pytest

from meshcentral.plugins.errors import NotFound
from meshcentral_cli.output import Output, cell, many_lines, one_line

HOSTILE = "pc\x1b[31m\x9b2J\r\x07\u202egnp.exe\ud800[bold]x[/bold]"


def test_control_characters_never_reach_a_terminal() -> None:
    assert one_line(HOSTILE) == "pc[31m2Jgnp.exe[bold]x[/bold]"
    assert one_line("a\nb\tc") == "a b c"
    assert many_lines("a\nb\tc\x1b") == "a\nb\tc"
    assert one_line("Zürich 👩\u200d💻") == "Zürich 👩\u200d💻"


def test_a_table_shows_hostile_names_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    Output().rows([{"id": "node//a", "name": HOSTILE}, {"id": "node//b", "name": None}], {"id": "ID", "name": "NAME"})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [
        ["ID", "NAME"],
        ["node//a", "pc[31m2Jgnp.exe[bold]x[/bold]"],
        ["node//b", "-"],
    ]


def test_a_piped_table_is_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    Output().rows([{"id": "x" * 500, "name": "y" * 500}], {"id": "ID", "name": "NAME"})
    assert f"{'x' * 500}  {'y' * 500}" in capsys.readouterr().out


def test_json_lists_stay_lists_with_sorted_keys(capsys: pytest.CaptureFixture[str]) -> None:
    for rows in ([], [{"b": 1, "a": HOSTILE}]):
        Output(as_json=True).rows(rows, {"a": "A"})
        text = capsys.readouterr().out
        assert json.loads(text) == rows
        assert text.isascii()
    assert text.index('"a"') < text.index('"b"')


def test_an_empty_table_is_a_remark(capsys: pytest.CaptureFixture[str]) -> None:
    Output().rows([], {"id": "ID"})
    Output(quiet=True).rows([], {"id": "ID"})
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "nothing to list\n"


def test_stream_items_are_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=True).line({"msg": "a\nb"}, "unused")
    Output().line({}, "a\nb\x1b")
    assert capsys.readouterr().out == '{"msg": "a\\nb"}\na b\n'


def test_fields_of_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    Output().fields({"id": "x", "connected": True, "tags": [], "agent": {"version": 1}})
    assert capsys.readouterr().out == "id:        x\nconnected: yes\ntags:      -\nagent:     version=1\n"


def test_cells() -> None:
    values: list[object] = [None, True, False, [1, None], (), {}, 1.5, "a\nb"]
    assert [cell(value) for value in values] == [
        "-",
        "yes",
        "no",
        "1, -",
        "-",
        "-",
        "1.5",
        "a b",
    ]


def test_errors_for_people_and_programs(capsys: pytest.CaptureFixture[str]) -> None:
    error = NotFound("no \x1bsuch device", hint="look again")
    assert Output().failed(error) == 5
    assert capsys.readouterr().err == "mesh: no such device\n  look again\n"
    assert Output(as_json=True, quiet=True).failed(error) == 5
    assert json.loads(capsys.readouterr().err) == {
        "error": {"code": "not_found", "message": "no \x1bsuch device", "hint": "look again"}
    }


def test_progress_for_programs_is_json_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with Output(as_json=True).progress("importing") as progress:
        progress.update(1, 2, "meshagent_x86-64")
        progress.update(2, 2, "meshagent_x86")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [json.loads(line) for line in captured.err.splitlines()] == [
        {"progress": {"done": 1, "total": 2, "label": "meshagent_x86-64"}},
        {"progress": {"done": 2, "total": 2, "label": "meshagent_x86"}},
    ]


@pytest.mark.parametrize("output", [Output(), Output(quiet=True), Output(as_json=True, quiet=True)])
def test_no_progress_without_terminal_or_when_quiet(output: Output, capsys: pytest.CaptureFixture[str]) -> None:
    with output.progress("importing") as progress:
        progress.update(1, 2, "x")
    assert capsys.readouterr().err == ""


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with Output().progress("importing") as progress:
        progress.update(1, 2, "name\x07")
    assert capsys.readouterr().out == ""


def test_remarks_are_not_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=True).note("hello")
    Output(quiet=True).note("hello")
    Output().note("hello")
    assert capsys.readouterr().err == "hello\n"
