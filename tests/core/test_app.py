"""Routes through the whole stack: adaptation, limits, error pages, headers, health."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meshcentral.core.app import create_application
from meshcentral.plugins.errors import Busy, Conflict, NotAuthorised, NotFound, UsageError
from meshcentral.plugins.services import Health
from meshcentral.plugins.web import Access, Request, Response, Route


async def describe(request: Request) -> Response:
    facts = request.connection
    return Response(
        json.dumps(
            {
                "method": facts.method,
                "path": facts.path,
                "query": dict(facts.query),
                "domain": facts.domain,
                "secure": facts.secure,
                "local": facts.local,
                "address": facts.remote_address,
                "shown": len(facts.shown_certificates),
                "body": request.body.decode(),
            }
        ),
        content_type="application/json",
        headers={"Cache-Control": "max-age=60"},
    )


ROUTES = [
    Route("/describe", describe, ("GET", "POST"), max_body=10_000),
    Route("/agents", describe, access=Access.AGENT),
    Route("/users", describe, access=Access.USER),
]


class Browser:
    """The standard library's HTTP client, in a thread."""

    def __init__(self, host) -> None:
        self._host = host

    def _ask(
        self, method: str, path: str, body: object, headers: dict[str, str]
    ) -> tuple[http.client.HTTPResponse, bytes]:
        client = http.client.HTTPSConnection(
            "127.0.0.1", self._host.port, context=self._host.client_context, timeout=10
        )
        try:
            client.request(method, path, body, headers)
            answer = client.getresponse()
            return answer, answer.read()
        finally:
            client.close()

    async def ask(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[http.client.HTTPResponse, bytes]:
        return await asyncio.to_thread(self._ask, method, path, body, headers)


async def test_a_request_is_adapted_with_its_facts(hosting) -> None:
    async with hosting(routes=ROUTES) as host:
        answer, body = await Browser(host).ask("POST", "/customer/describe?x=1%202&x=3", "größe".encode())
        assert answer.status == 200
        assert json.loads(body) == {
            "method": "POST",
            "path": "/describe",
            "query": {"x": "1 2"},
            "domain": "customer",
            "secure": True,
            "local": False,
            "address": "127.0.0.1",
            "shown": 1,
            "body": "größe",
        }


async def test_the_local_socket_is_known_as_local(hosting) -> None:
    def ask(path: Path) -> bytes:
        client = http.client.HTTPConnection("localhost", timeout=10)
        client.sock = socket.socket(socket.AF_UNIX)
        client.sock.connect(str(path))
        try:
            client.request("GET", "/describe")
            return client.getresponse().read()
        finally:
            client.close()

    async with hosting(routes=ROUTES) as host:
        facts = json.loads(await asyncio.to_thread(ask, host.local_path))
        assert facts["local"] is True
        assert facts["secure"] is False
        assert facts["shown"] == 0


async def test_every_answer_has_the_security_headers(hosting) -> None:
    async with hosting(routes=ROUTES) as host:
        for path in ("/describe", "/nowhere", "/health"):
            answer, _ = await Browser(host).ask("GET", path)
            assert "default-src 'none'" in (answer.getheader("Content-Security-Policy") or "")
            assert "frame-ancestors 'none'" in (answer.getheader("Content-Security-Policy") or "")
            assert answer.getheader("X-Content-Type-Options") == "nosniff"
            assert answer.getheader("Referrer-Policy") == "no-referrer"
            assert answer.getheader("Cross-Origin-Opener-Policy") == "same-origin"
            assert answer.getheader("Cross-Origin-Resource-Policy") == "same-origin"
            assert answer.getheader("Strict-Transport-Security") == "max-age=31536000"
            assert answer.getheader("Server") is None
            assert answer.getheader("Cache-Control") == ("max-age=60" if path == "/describe" else "no-store")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/describe/", 404, "not_found"),
        ("GET", "//describe", 404, "not_found"),
        ("GET", "/other/describe", 404, "not_found"),
        ("GET", "/../describe", 404, "not_found"),
        ("GET", "/%2e%2e/etc/passwd", 404, "not_found"),
        ("DELETE", "/describe", 405, "method_not_allowed"),
        ("OPTIONS", "/describe", 405, "method_not_allowed"),
    ],
)
async def test_error_pages(hosting, method: str, path: str, status: int, code: str) -> None:
    async with hosting(routes=ROUTES) as host:
        answer, body = await Browser(host).ask(method, path)
        assert answer.status == status
        assert json.loads(body)["error"]["code"] == code
        assert (answer.getheader("Allow") == "GET, HEAD, POST") is (status == 405)


async def test_a_body_over_the_limit_of_its_route(hosting) -> None:
    async with hosting(routes=ROUTES) as host:
        fits, _ = await Browser(host).ask("POST", "/describe", b"x" * 10_000)
        announced, _ = await Browser(host).ask("POST", "/describe", b"x" * 10_001)
        unannounced, _ = await Browser(host).ask("POST", "/describe", iter([b"x" * 6000, b"x" * 6000]))
        assert [fits.status, announced.status, unannounced.status] == [200, 413, 413]


@pytest.mark.parametrize(
    ("path", "origin", "status"),
    [
        ("/describe", "https://evil.test", 200),
        ("/agents", None, 200),
        ("/agents", "https://mesh.example:8443", 403),
        ("/users", None, 200),
        ("/users", "https://mesh.example:8443", 200),
        ("/users", "https://mesh.example", 403),
        ("/users", "null", 403),
    ],
)
async def test_the_origin_rule_of_routes(hosting, path: str, origin: str | None, status: int) -> None:
    async with hosting(routes=ROUTES) as host:
        answer, _ = await Browser(host).ask("GET", path, **({"Origin": origin} if origin else {}))
        assert answer.status == status


async def test_files_are_streamed_with_their_length(hosting, tmp_path: Path) -> None:
    content = bytes(range(256)) * 4000
    file = tmp_path / "agent.bin"
    file.write_bytes(content)

    async def download(request: Request) -> Response:
        return Response(file, content_type="application/octet-stream", headers={"Content-Disposition": "attachment"})

    async with hosting(routes=[Route("/download", download)]) as host:
        answer, body = await Browser(host).ask("GET", "/download")
        assert body == content
        assert answer.getheader("Content-Length") == str(len(content))
        assert answer.getheader("Content-Disposition") == "attachment"
        head, nothing = await Browser(host).ask("HEAD", "/download")
        assert head.getheader("Content-Length") == str(len(content))
        assert nothing == b""


async def test_a_stream_of_unknown_length(hosting) -> None:
    async def stream(request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            for number in range(3):
                yield b"%d," % number

        return Response(pieces())

    async with hosting(routes=[Route("/stream", stream)]) as host:
        answer, body = await Browser(host).ask("GET", "/stream")
        assert body == b"0,1,2,"
        assert answer.getheader("Content-Length") is None


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UsageError("no name", hint="Give one."), 400),
        (NotAuthorised("no right"), 403),
        (NotFound("no device"), 404),
        (Conflict("exists"), 409),
        (Busy("in use"), 503),
    ],
)
async def test_expected_errors_are_told(hosting, error: Exception, status: int) -> None:
    async def fail(request: Request) -> Response:
        raise error

    async with hosting(routes=[Route("/fail", fail)]) as host:
        answer, body = await Browser(host).ask("GET", "/fail")
        assert answer.status == status
        assert json.loads(body)["error"]["message"] == str(error)


async def test_a_defect_is_logged_once_and_not_told(hosting, caplog: pytest.LogCaptureFixture) -> None:
    async def fail(request: Request) -> Response:
        raise ValueError("password=hunter2")

    async with hosting(routes=[Route("/fail", fail)]) as host:
        answer, body = await Browser(host).ask("GET", "/fail")
        assert answer.status == 500
        assert b"hunter2" not in body
        assert b"Traceback" not in body
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1


async def test_a_header_cannot_be_split(hosting) -> None:
    async def split(request: Request) -> Response:
        return Response("x", headers={"X-Name": request.connection.query["name"]})

    async with hosting(routes=[Route("/split", split)]) as host:
        answer, _ = await Browser(host).ask("GET", "/split?name=a%0d%0aSet-Cookie:%20x=1")
        assert answer.status == 500
        assert answer.getheader("Set-Cookie") is None


@pytest.mark.parametrize(("ready", "status"), [(True, 200), (False, 503)])
async def test_health_and_ready(hosting, ready: bool, status: int) -> None:
    async def health() -> list[Health]:
        return [Health("store", True, "secret detail"), Health("bus", ready)]

    async with hosting(health=health) as host:
        answer, body = await Browser(host).ask("GET", "/ready")
        assert answer.status == status
        answer, body = await Browser(host).ask("GET", "/health")
        assert answer.status == 200
        assert json.loads(body) == {
            "status": "ok" if ready else "degraded",
            "checks": [{"name": "store", "ready": True}, {"name": "bus", "ready": ready}],
        }


@pytest.mark.parametrize(
    ("routes", "error"),
    [
        ([Route("/a", describe), Route("/a", describe, ("POST", "GET"))], Conflict),
        ([Route("/health", describe)], Conflict),
        ([Route("relative", describe)], UsageError),
        ([Route("/<name>", describe)], UsageError),
    ],
)
def test_routes_that_cannot_be(routes: list[Route], error: type[Exception]) -> None:
    async def health() -> list[Health]:
        return []

    async def run_blocking(function):
        return function()

    with pytest.raises(error):
        create_application(routes, [""], health=health, origins=frozenset, run_blocking=run_blocking)


def test_one_path_may_have_a_handler_for_each_method() -> None:
    async def health() -> list[Health]:
        return []

    async def run_blocking(function):
        return function()

    routes = [Route("/a", describe), Route("/a", describe, ("POST",))]
    create_application(routes, [""], health=health, origins=frozenset, run_blocking=run_blocking)
