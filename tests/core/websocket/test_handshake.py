from __future__ import annotations

import pytest

from meshcentral.core.websocket.handshake import accept_token, check_upgrade, switching_protocols, wants_upgrade

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
GOOD = {"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-version": "13", "sec-websocket-key": KEY}


def test_accept_token_of_the_standard() -> None:
    assert accept_token(KEY) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_the_response_negotiates_nothing() -> None:
    response = switching_protocols({**GOOD, "sec-websocket-extensions": "permessage-deflate"}).decode()

    assert response.startswith("HTTP/1.1 101 ")
    assert "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in response
    assert "xtensions" not in response
    assert response.endswith("\r\n\r\n")


def test_a_key_with_left_over_bits_is_accepted_and_used_as_it_is() -> None:
    key = "dGhlIHNhbXBsZSBub25jZR=="

    assert check_upgrade("GET", {**GOOD, "sec-websocket-key": key}) is None
    assert accept_token(key) != accept_token(KEY)


@pytest.mark.parametrize("key", ["", "short==", "dGhlIHNhbXBsZSBub25jZQ", KEY + ", " + KEY, "dGhlIHNhbXBsZSBub25jZ!=="])
def test_a_malformed_key_is_refused(key: str) -> None:
    refusal = check_upgrade("GET", {**GOOD, "sec-websocket-key": key})

    assert refusal is not None
    assert refusal.status == 400


@pytest.mark.parametrize("version", ["", "8", "13, 8"])
def test_another_version_is_told_ours(version: str) -> None:
    refusal = check_upgrade("GET", {**GOOD, "sec-websocket-version": version})

    assert refusal is not None
    assert refusal.status == 426
    assert ("Sec-WebSocket-Version", "13") in refusal.headers


def test_only_get_upgrades() -> None:
    refusal = check_upgrade("POST", GOOD)

    assert refusal is not None
    assert refusal.status == 405


@pytest.mark.parametrize("framing", [{"content-length": "5"}, {"transfer-encoding": "chunked"}])
def test_a_request_with_a_body_is_refused(framing: dict[str, str]) -> None:
    refusal = check_upgrade("GET", {**GOOD, **framing})

    assert refusal is not None
    assert refusal.status == 400
    assert check_upgrade("GET", {**GOOD, "content-length": "0"}) is None


@pytest.mark.parametrize(
    ("upgrade", "connection", "wanted"),
    [
        ("websocket", "Upgrade", True),
        ("WebSocket", "keep-alive, upgrade", True),
        ("h2c, websocket", "Upgrade, HTTP2-Settings", True),
        ("websocket", "keep-alive", False),
        ("h2c", "Upgrade", False),
        ("websockets", "upgrade", False),
    ],
)
def test_what_counts_as_an_upgrade(upgrade: str, connection: str, wanted: bool) -> None:
    assert wants_upgrade({"upgrade": upgrade, "connection": connection}) is wanted


def test_a_request_without_the_headers_is_no_upgrade() -> None:
    assert not wants_upgrade({})
