"""`mesh event tail`: filters and lines; the stream itself is tested end to end."""

from __future__ import annotations

import pytest

from meshcentral.plugins.errors import UsageError
from meshcentral_cli.commands.event import describe, matches, parse_filters


def test_filters_must_all_match() -> None:
    wanted = parse_filters(["action=nodeconnect", "conn=1"])
    assert matches({"action": "nodeconnect", "conn": 1, "x": 2}, wanted)
    assert not matches({"action": "nodeconnect"}, wanted)
    assert not matches({"action": "addnode", "conn": 1}, wanted)
    assert matches({}, parse_filters([]))
    assert parse_filters(["msg=a=b"]) == {"msg": "a=b"}


@pytest.mark.parametrize("text", ["action", "=x", ""])
def test_a_filter_has_two_sides(text: str) -> None:
    with pytest.raises(UsageError):
        parse_filters([text])


def test_the_line_for_people() -> None:
    event = {"action": "addnode", "nodeid": "node//a", "msg": "Added pc", "time": "2026-01-01T00:00:00.000Z"}
    assert describe(event) == "2026-01-01T00:00:00.000Z  addnode  node//a  Added pc"
    assert describe({}) == ""
