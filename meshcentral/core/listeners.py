"""The listening sockets of a server, and their graceful end."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from meshcentral.core.front import AGENT_IDLE, HEAD_TIMEOUT, Carrier, Front, Reception
from meshcentral.core.hypercorn_handover import AsgiApplication, HypercornHost
from meshcentral.core.redirect import Redirect, Target
from meshcentral.core.websocket.codec import GOING_AWAY
from meshcentral.core.websocket.protocol import Timing
from meshcentral.core.websocket.queued import Spawn
from meshcentral.core.websocket.sweep import Sweep
from meshcentral.plugins.errors import ConfigurationError, Conflict
from meshcentral.plugins.web import CertificateHashes, SocketRoute

BACKLOG = 1024
TLS_SHUTDOWN_TIMEOUT = 5.0

log = logging.getLogger("meshcentral.listeners")


class Listeners:
    """Opens ports, owns what is accepted on them, and ends it all.

    `app` is the ASGI application, `sockets` the WebSocket routes, `domains` the configured domains (with `""`),
    `origins` gives our own origins (`https://name[:port]`), `shown_certificates` what clients of the TLS ports are
    shown at the moment, `spawn` starts the handlers' tasks, and `agent_idle` seconds of silence end an agent's socket.
    """

    def __init__(
        self,
        *,
        app: AsgiApplication,
        sockets: Sequence[SocketRoute],
        domains: Sequence[str],
        origins: Callable[[], frozenset[str]],
        shown_certificates: Callable[[], tuple[CertificateHashes, ...]],
        spawn: Spawn,
        agent_idle: float = AGENT_IDLE,
    ) -> None:
        self._http = HypercornHost(app, spawn)
        self._http.give_back = self._take_back
        self._reception = Reception(
            routes=_by_path(sockets),
            domains=tuple(domains),
            origins=origins,
            shown_certificates=shown_certificates,
            http=self._http,
            spawn=spawn,
            agent_timing=Timing(idle=agent_idle),
        )
        self._redirects: Sweep[Redirect] = Sweep()
        self._servers: list[asyncio.Server] = []
        self._local_path: Path | None = None

    @property
    def live_sockets(self) -> int:
        """Open WebSockets."""
        return len(self._reception.sockets)

    async def open_tls(
        self, bind: Sequence[str], port: int, context: ssl.SSLContext, *, setting: str = "settings.port"
    ) -> int:
        """Listen for HTTPS and WebSockets on some addresses (none: all of them). Port 0 takes a free one; the real
        port is returned. Raises ConfigurationError that names `setting`."""
        listening = _bind_all(bind, port, setting)
        for listener in listening:
            server = await asyncio.get_running_loop().create_server(
                partial(Front, self._reception, Carrier(secure=True)),
                sock=listener,
                ssl=context,
                backlog=BACKLOG,
                ssl_handshake_timeout=HEAD_TIMEOUT,
                ssl_shutdown_timeout=TLS_SHUTDOWN_TIMEOUT,
            )
            self._servers.append(server)
        return _port_of(listening)

    async def open_redirect(
        self, bind: Sequence[str], port: int, target: Target, *, setting: str = "settings.redirport"
    ) -> int:
        """Listen for plain HTTP and redirect all of it to `target(path)`."""
        listening = _bind_all(bind, port, setting)
        for listener in listening:
            server = await asyncio.get_running_loop().create_server(
                partial(Redirect, self._redirects, target), sock=listener, backlog=BACKLOG
            )
            self._servers.append(server)
        return _port_of(listening)

    async def open_local(self, path: Path) -> None:
        """Listen on the owner-only Unix socket: mode 0600 from the first moment, and the peer must be root or us.

        The caller holds the data folder's lock, so a socket file that is already there is a left-over.
        """
        listener = _bound_local(path)
        server = await asyncio.get_running_loop().create_unix_server(
            partial(Front, self._reception, Carrier(secure=False, local=True)), sock=listener, backlog=BACKLOG
        )
        self._servers.append(server)
        self._local_path = path

    async def drain(self, grace: float) -> None:
        """Stop accepting, let running requests end, close WebSockets with 1001; drop what is left after `grace`
        seconds. Returns when nothing is left."""
        reception = self._reception
        reception.draining = True
        self._stop_listening()
        for front in reception.waiting:
            front.drop()
        for redirect in self._redirects:
            redirect.abort()
        sockets = list(reception.sockets)
        handlers = [websocket.handler for websocket in sockets if websocket.handler is not None]
        for websocket in sockets:
            websocket.close(GOING_AWAY, "the server is stopping")
        try:
            async with asyncio.timeout(grace):
                await asyncio.gather(self._http.drain(), reception.sockets.wait_empty(), _ended(handlers))
        except TimeoutError:
            log.warning(
                "dropped what did not close in %g s: %d WebSockets, %d HTTP connections",
                grace,
                len(reception.sockets),
                len(self._http),
            )
            for websocket in reception.sockets:
                websocket.abort()
            for handler in handlers:
                handler.cancel()
            await asyncio.gather(self._http.abort(), _ended(handlers))

    def _stop_listening(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()
        if self._local_path is not None:
            self._local_path.unlink(missing_ok=True)
            self._local_path = None

    def _take_back(self, transport: asyncio.Transport, received: bytes, carrier: Carrier) -> None:
        """A kept-alive connection asks for a WebSocket: treat it like a new one."""
        front = Front(self._reception, carrier)
        transport.set_protocol(front)
        front.connection_made(transport)
        front.data_received(received)


def _by_path(sockets: Sequence[SocketRoute]) -> dict[str, SocketRoute]:
    routes: dict[str, SocketRoute] = {}
    for route in sockets:
        if routes.setdefault(route.path, route) is not route:
            raise Conflict(f"two plugins claim the socket {route.path}")
    return routes


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Wait for the end of tasks; their outcome is no concern of ours."""
    if tasks:
        await asyncio.wait(tasks)


def _bind_all(bind: Sequence[str], port: int, setting: str) -> list[socket.socket]:
    """Bound sockets on all addresses, with one port. All or none."""
    listening: list[socket.socket] = []
    try:
        for address in bind or ("",):
            listening.append(_bind_one(address, port, setting))
            port = _port_of(listening)
    except ConfigurationError:
        for listener in listening:
            listener.close()
        raise
    return listening


def _bind_one(address: str, port: int, setting: str) -> socket.socket:
    try:
        if not address and socket.has_dualstack_ipv6():
            return _bound(socket.AF_INET6, "::", port, dual=True)
        family, *_, resolved = socket.getaddrinfo(
            address or "0.0.0.0",
            port,
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE | socket.AI_NUMERICHOST,
        )[0]
        return _bound(family, str(resolved[0]), port, dual=False)
    except OSError as error:
        raise _listen_error(error, address, port, setting) from error


def _bound(family: int, address: str, port: int, *, dual: bool) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual)
        listener.bind((address, port))
        # A second server could bind the same port until one of the two listens: learn of it here.
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _bound_local(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        mask = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(mask)
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"the local socket {path} cannot be made: {error.strerror or error}",
            hint="The folder must exist, belong to the user of the server, and have a path under 100 bytes.",
        ) from error
    return listener


def _port_of(listening: Sequence[socket.socket]) -> int:
    port: int = listening[0].getsockname()[1]
    return port


def _listen_error(error: OSError, address: str, port: int, setting: str) -> ConfigurationError:
    where = f"port {port} of {address or 'all addresses'}"
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return ConfigurationError(
            f"settings.portbind: {address!r} is not an address of this machine",
            hint="Use a numeric address that `ip address` lists, or leave it empty for all.",
        )
    if error.errno == errno.EADDRINUSE:
        return ConfigurationError(
            f"{setting}: {where} is already in use",
            hint=f"Stop the program that listens there (`ss -ltnp sport = :{port}`) or set {setting} to another port.",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return ConfigurationError(
            f"{setting}: the system does not let this user listen on {where}",
            hint=f"Ports below 1024 need the capability CAP_NET_BIND_SERVICE or root; or set {setting} above 1023.",
        )
    return ConfigurationError(f"{setting}: cannot listen on {where}: {error.strerror or error}")
