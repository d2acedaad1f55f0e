"""The HTTP side: a Quart application made from the plugins' routes.

Handlers never see Quart: they get a `Request` and return a `Response` of the plugin API. Everything that every answer
needs (security headers, error pages, limits, the Origin rule) is added here, once.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol, TypeVar

import quart
from quart.wrappers.response import ResponseBody
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from meshcentral.core.front import Carrier
from meshcentral.core.hypercorn_handover import CARRIER, PEER, AsgiApplication
from meshcentral.core.origin import route_origin_allowed
from meshcentral.core.request_head import BadRequest, locate
from meshcentral.plugins.errors import Busy, Conflict, MeshError, NotAuthorised, NotFound, NotReady, UsageError
from meshcentral.plugins.services import Health
from meshcentral.plugins.web import CertificateHashes, Connection, Request, Response, Route

BODY_TIMEOUT = 60.0
"""Seconds for a request body to arrive."""
STREAM_TIMEOUT = 3600.0
"""Seconds for a streamed answer to be taken."""
_CHUNK = 256 * 1024

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""On every answer, unless the handler's own headers say otherwise."""

_STRICT_TRANSPORT = "max-age=31536000"

_STATUS_OF: tuple[tuple[type[MeshError], int], ...] = (
    (UsageError, 400),
    (NotAuthorised, 403),
    (NotFound, 404),
    (Conflict, 409),
    (Busy, 503),
    (NotReady, 503),
)

T = TypeVar("T")

log = logging.getLogger("meshcentral.http")


class RunBlocking(Protocol):
    """`Server.run_blocking`."""

    def __call__(self, function: Callable[[], T]) -> Awaitable[T]: ...


def create_application(
    routes: Sequence[Route],
    domains: Sequence[str],
    *,
    health: Callable[[], Awaitable[Sequence[Health]]],
    origins: Callable[[], frozenset[str]],
    run_blocking: RunBlocking,
    shown_certificates: Callable[[], tuple[CertificateHashes, ...]] = tuple,
) -> AsgiApplication:
    """The ASGI application of one server. Raises Conflict when two routes claim the same path and method."""
    app = quart.Quart("meshcentral", static_folder=None)
    app.url_map.merge_slashes = False
    app.config.update(
        MAX_CONTENT_LENGTH=max((route.max_body for route in routes), default=0), PROVIDE_AUTOMATIC_OPTIONS=False
    )
    adapter = _Adapter(domains, origins, shown_certificates, run_blocking)
    for path, methods in _by_path([*routes, *_health_routes(health)]).items():
        for domain in domains:
            rule = f"/{domain}{path}" if domain else path
            app.add_url_rule(rule, rule, adapter.view(methods), methods=sorted(methods))
    app.register_error_handler(HTTPException, _error_page)
    app.after_request(_add_security_headers)
    return _without_sockets(app)


def _by_path(routes: Sequence[Route]) -> dict[str, dict[str, Route]]:
    """The routes by path, then by method; HEAD follows GET."""
    paths: dict[str, dict[str, Route]] = {}
    for route in routes:
        if not route.path.startswith("/") or set(route.path) & set("<>?#"):
            raise UsageError(
                f"{route.path!r} is not the path of a route", hint="A path is literal and begins with `/`."
            )
        methods = paths.setdefault(route.path, {})
        for method in route.methods:
            if method in methods:
                raise Conflict(f"two plugins claim {method} {route.path}")
            methods[method] = route
        if "GET" in methods:
            methods.setdefault("HEAD", methods["GET"])
    return paths


class _Adapter:
    """Between Quart's requests and ours."""

    def __init__(
        self,
        domains: Sequence[str],
        origins: Callable[[], frozenset[str]],
        shown_certificates: Callable[[], tuple[CertificateHashes, ...]],
        run_blocking: RunBlocking,
    ) -> None:
        self._domains = domains
        self._origins = origins
        self._shown_certificates = shown_certificates
        self._run_blocking = run_blocking

    def view(self, methods: dict[str, Route]) -> Callable[[], Awaitable[quart.Response]]:
        """Quart's view function for one path."""

        async def view() -> quart.Response:
            return await self._answer(methods[quart.request.method])

        return view

    async def _answer(self, route: Route) -> quart.Response:
        if not route_origin_allowed(route.access, quart.request.headers.getlist("Origin"), self._origins()):
            return _failure(403, "forbidden_origin", "this origin may not use the page")
        try:
            connection = self._connection()
            if connection.path != route.path:  # the router takes `//path` for `/path`
                return _failure(404, "not_found", "Not Found")
            body = await _read_body(route.max_body)
            response = await route.handler(Request(connection, body))
            return await self._convert(response)
        except BadRequest as error:
            return _failure(error.status, "usage", error.reason)
        except MeshError as error:
            return _mesh_failure(error)
        except HTTPException:
            raise
        except Exception:
            log.exception("the handler of %s %s failed", quart.request.method, route.path)
            return _failure(500, "internal", "the server made an error; its log says more")

    def _connection(self) -> Connection:
        scope: Any = quart.request.scope
        carrier: Carrier = scope["state"][CARRIER]
        address, port = scope["state"][PEER]
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        location = locate(target.decode("ascii"), self._domains)
        headers: dict[str, str] = {}
        for raw_name, raw_value in scope["headers"]:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return Connection(
            method=scope["method"],
            path=location.path,
            query=location.query,
            headers=headers,
            remote_address=address,
            remote_port=port,
            secure=carrier.secure,
            local=carrier.local,
            domain=location.domain,
            shown_certificates=self._shown_certificates() if carrier.secure else (),
        )

    async def _convert(self, response: Response) -> quart.Response:
        body = response.body
        converted: quart.Response
        if isinstance(body, (bytes, str)):
            converted = quart.Response(body)
        elif isinstance(body, Path):
            converted = await self._file(body)
        else:
            converted = quart.Response(body)
            converted.timeout = STREAM_TIMEOUT
        converted.status_code = response.status
        converted.headers["Content-Type"] = response.content_type
        for name, value in response.headers.items():
            converted.headers[name] = value
        return converted

    async def _file(self, path: Path) -> quart.Response:
        body = await self._run_blocking(lambda: _FileBody(path, self._run_blocking))
        if quart.request.method == "HEAD":
            body.file.close()
            response = quart.Response(b"")
        else:
            response = quart.Response(body)
            response.timeout = STREAM_TIMEOUT
        response.headers["Content-Length"] = str(body.size)
        return response


class _FileBody(ResponseBody):
    """A file as the body of an answer, read in a thread. Opening blocks, so make it in one."""

    def __init__(self, path: Path, run_blocking: RunBlocking) -> None:
        self.file = path.open("rb", buffering=0)
        self.size = self.file.seek(0, 2)
        self.file.seek(0)
        self._run_blocking = run_blocking

    async def __aenter__(self) -> AsyncIterator[bytes]:
        return self._chunks()

    async def __aexit__(self, *_error: object) -> None:
        self.file.close()

    async def _chunks(self) -> AsyncIterator[bytes]:
        remaining = self.size
        while remaining:
            wanted = min(_CHUNK, remaining)
            chunk = await self._run_blocking(lambda size=wanted: self.file.read(size))  # type: ignore[misc]
            if not chunk:
                raise OSError("the file became shorter while it was sent")
            remaining -= len(chunk)
            yield chunk


async def _read_body(limit: int) -> bytes:
    length = quart.request.content_length
    if length is not None and length > limit:
        raise BadRequest(f"the body is over {limit} bytes", 413)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            async for chunk in quart.request.body:
                body += chunk
                if len(body) > limit:
                    raise BadRequest(f"the body is over {limit} bytes", 413)
    except TimeoutError:
        raise BadRequest("the body did not arrive in time", 408) from None
    return bytes(body)


def _health_routes(health: Callable[[], Awaitable[Sequence[Health]]]) -> tuple[Route, Route]:
    """`/health` says what is going on and is 200 as long as anybody answers; `/ready` is 503 until all is well.

    Details are for the local administrator: strangers see names and states only.
    """

    async def report(request: Request) -> tuple[bool, Response]:
        checks = await health()
        ready = all(check.ready for check in checks)
        rows = [
            {"name": check.name, "ready": check.ready, **({"detail": check.detail} if request.connection.local else {})}
            for check in checks
        ]
        return ready, _json({"status": "ok" if ready else "degraded", "checks": rows})

    async def show_health(request: Request) -> Response:
        return (await report(request))[1]

    async def show_ready(request: Request) -> Response:
        ready, response = await report(request)
        return response if ready else Response(response.body, 503, response.content_type)

    return (
        Route("/health", show_health, summary="State of the parts of the server."),
        Route("/ready", show_ready, summary="503 until every part of the server is ready."),
    )


def _json(value: object, status: int = 200) -> Response:
    return Response(json.dumps(value), status, "application/json")


def _failure(status: int, code: str, message: str, hint: str | None = None) -> quart.Response:
    error = {"code": code, "message": message, **({"hint": hint} if hint else {})}
    return quart.Response(json.dumps({"error": error}), status=status, content_type="application/json")


def _mesh_failure(error: MeshError) -> quart.Response:
    status = next((status for kind, status in _STATUS_OF if isinstance(error, kind)), 400)
    return _failure(status, error.code, str(error), error.hint)


async def _error_page(error: HTTPException) -> quart.Response:
    status = error.code or 500
    phrase = HTTPStatus(status).phrase
    response = _failure(status, phrase.lower().replace(" ", "_"), phrase)
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
    return response


async def _add_security_headers(response: quart.Response) -> quart.Response:
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    if quart.request.scheme == "https":
        response.headers.setdefault("Strict-Transport-Security", _STRICT_TRANSPORT)
    return response


def _without_sockets(app: quart.Quart) -> AsgiApplication:
    """Quart for HTTP only: it has no WebSockets, and start-up and shutdown belong to the server."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await app(scope, receive, send)

    return application
