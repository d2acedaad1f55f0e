"""Parsing of an HTTP/1 request head (RFC 9112), strict enough that no second parser can read it differently.

The front uses it to find WebSocket upgrades; requests that go on to the HTTP server are parsed there again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote_to_bytes

MAX_HEAD = 64 * 1024
MAX_HEADERS = 100
MAX_QUERY_FIELDS = 64

_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}) ([!-~]+) HTTP/1\.([01])")
_HEADER = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*((?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?)[ \t]*"
)


class BadRequest(Exception):
    """The head is not a request; the message says why and holds nothing of it."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


@dataclass(frozen=True, slots=True)
class RequestHead:
    """Method, target and headers as sent; header names in lower case, values as Latin-1 text."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]

    def joined(self) -> dict[str, str]:
        """Headers by name; repeated ones joined with a comma and a space."""
        joined: dict[str, str] = {}
        for name, value in self.headers:
            joined[name] = f"{joined[name]}, {value}" if name in joined else value
        return joined

    def all(self, name: str) -> list[str]:
        """Every value of one header (lower-case name), in order."""
        return [value for key, value in self.headers if key == name]


@dataclass(frozen=True, slots=True)
class Location:
    """Where a target points: the domain by path prefix, the decoded path inside it, and the query."""

    domain: str
    path: str
    query: Mapping[str, str]


def parse_head(data: bytes) -> RequestHead:
    """Parse everything up to the empty line (which is not in `data`). Raises BadRequest."""
    first, *lines = data.split(b"\r\n")
    request_line = _REQUEST_LINE.fullmatch(first)
    if request_line is None:
        raise BadRequest("malformed request line")
    if len(lines) > MAX_HEADERS:
        raise BadRequest(f"more than {MAX_HEADERS} headers", 431)
    headers = []
    for line in lines:
        match = _HEADER.fullmatch(line)
        if match is None:
            raise BadRequest("malformed header line")
        headers.append((match[1].decode("ascii").lower(), match[2].decode("latin-1")))
    hosts = sum(name == "host" for name, _ in headers)
    if hosts > 1 or (hosts == 0 and request_line[3] == b"1"):
        raise BadRequest("exactly one Host header is needed")
    names = {name for name, _ in headers}
    if {"content-length", "transfer-encoding"} <= names:
        raise BadRequest("Content-Length and Transfer-Encoding exclude each other")
    return RequestHead(request_line[1].decode("ascii"), request_line[2].decode("ascii"), tuple(headers))


def locate(target: str, domains: Sequence[str]) -> Location:
    """Decode a target. Raises BadRequest unless it is an absolute path of UTF-8 without control characters."""
    raw_path, _, raw_query = target.partition("?")
    try:
        path = unquote_to_bytes(raw_path).decode()
        fields = parse_qsl(
            raw_query, keep_blank_values=True, errors="replace", max_num_fields=MAX_QUERY_FIELDS, separator="&"
        )
    except ValueError:
        raise BadRequest("the target is not valid UTF-8 or has too many fields") from None
    if not path.startswith("/") or not path.isprintable():
        raise BadRequest("the target is not a plain absolute path")
    query: dict[str, str] = {}
    for name, value in fields:
        query.setdefault(name, value)
    domain, path = split_domain(path, domains)
    return Location(domain, path, query)


def split_domain(path: str, domains: Sequence[str]) -> tuple[str, str]:
    """`/<domain>/rest` of a configured domain becomes `(domain, /rest)`; anything else belongs to the default one."""
    first, slash, rest = path[1:].partition("/")
    if slash and first and first in domains:
        return first, f"/{rest}"
    return "", path
