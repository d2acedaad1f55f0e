"""Refusals become the error of their kind."""

from __future__ import annotations

import pytest

from meshcentral.plugins import errors
from meshcentral_cli.failures import failure_of


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Access denied", errors.NotAuthorised),
        ("Access Denied", errors.NotAuthorised),
        ("Permission denied", errors.NotAuthorised),
        ("User already exists", errors.Conflict),
        ("User does not exists", errors.NotFound),
        ("Unknown device group", errors.NotFound),
        ("Device not found", errors.NotFound),
        ("Invalid username", errors.UsageError),
        ("Agent not connected", errors.MeshError),
        ("", errors.MeshError),
    ],
)
def test_texts_of_the_peer(text: str, kind: type[errors.MeshError]) -> None:
    failure = failure_of({"action": "adduser", "result": text})
    assert type(failure) is kind
    assert str(failure)


def test_our_code_and_hint_win_over_the_text() -> None:
    failure = failure_of({"action": "x", "result": "Invalid nodeid", "code": "not_found", "hint": "look again"})
    assert isinstance(failure, errors.NotFound)
    assert failure.hint == "look again"
    newer = failure_of({"result": "Access denied", "code": "newer_kind"})
    assert type(newer) is errors.MeshError
    assert newer.code == "newer_kind"


@pytest.mark.parametrize(
    "reply",
    [
        {"action": "users", "users": []},
        {"action": "adduser", "result": "ok"},
        {"action": "runcommands", "result": "OK"},
        {"action": "msg", "type": "runcommands", "result": "Access denied"},
    ],
)
def test_success_is_no_failure(reply: dict[str, object]) -> None:
    assert failure_of(reply) is None
