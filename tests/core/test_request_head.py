from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcentral.core.request_head import BadRequest, Location, locate, parse_head, split_domain

DOMAINS = ("", "customer", "a b")


def test_a_head_is_taken_apart() -> None:
    head = parse_head(b"GET /a?b HTTP/1.1\r\nHost: x\r\nX-One:1 \t\r\nx-one:  2\r\nEmpty:\r\nName: gr\xfc n")

    assert (head.method, head.target) == ("GET", "/a?b")
    assert head.joined() == {"host": "x", "x-one": "1, 2", "empty": "", "name": "grü n"}
    assert head.all("x-one") == ["1", "2"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GET",
        b"GET /",
        b"GET  / HTTP/1.1\r\nHost: x",
        b"GET / HTTP/1.1 \r\nHost: x",
        b"GET / HTTP/3.0\r\nHost: x",
        b"G(T / HTTP/1.1\r\nHost: x",
        b"GET /\xff HTTP/1.1\r\nHost: x",
        b"GET / HTTP/1.1",
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: x",
        b"GET / HTTP/1.1\r\nHost: x\r\n continued",
        b"GET / HTTP/1.1\r\nHost: x\r\nname : x",
        b"GET / HTTP/1.1\r\nHost: x\r\n: x",
        b"GET / HTTP/1.1\r\nHost: x\r\nname",
        b"GET / HTTP/1.1\r\nHost: x\r\nname: a\rb",
        b"GET / HTTP/1.1\r\nHost: x\r\nname: a\nb: c",
        b"GET / HTTP/1.1\nHost: x",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked",
    ],
)
def test_what_two_parsers_could_read_differently_is_refused(data: bytes) -> None:
    with pytest.raises(BadRequest) as refused:
        parse_head(data)
    assert refused.value.status == 400


def test_http_1_0_needs_no_host() -> None:
    assert parse_head(b"GET / HTTP/1.0").headers == ()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_head_or_a_bad_request(data: bytes) -> None:
    try:
        head = parse_head(data)
        locate(head.target, DOMAINS)
    except BadRequest:
        pass


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/", Location("", "/", {})),
        ("/control.ashx", Location("", "/control.ashx", {})),
        ("/customer/control.ashx?a=b&a=c&d", Location("customer", "/control.ashx", {"a": "b", "d": ""})),
        ("/customer/", Location("customer", "/", {})),
        ("/customer", Location("", "/customer", {})),
        ("/a%20b/x", Location("a b", "/x", {})),
        ("/other/control.ashx", Location("", "/other/control.ashx", {})),
        ("/gr%C3%BCn?key=%C3%BC+1", Location("", "/grün", {"key": "ü 1"})),
        ("/x?y=%ff", Location("", "/x", {"y": "\N{REPLACEMENT CHARACTER}"})),
    ],
)
def test_targets(target: str, location: Location) -> None:
    assert locate(target, DOMAINS) == location


@pytest.mark.parametrize(
    "target", ["*", "x", "http://h/x", "/%ff", "/%00", "/a%0ab", "/%1b[0m", "/x?" + "&".join("abc" * 40)]
)
def test_targets_that_are_refused(target: str) -> None:
    with pytest.raises(BadRequest):
        locate(target, DOMAINS)


def test_the_default_domain_has_no_prefix() -> None:
    assert split_domain("//x", DOMAINS) == ("", "//x")
