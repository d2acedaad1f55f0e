"""A server process for the memory test: `idle_server.py CHAIN KEY` prints its port and echoes on `/echo.ashx`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from meshcentral.core import eventloop
from meshcentral.core.listeners import Listeners
from meshcentral.core.tls import make_context
from meshcentral.plugins.web import Access, Socket, SocketRoute


async def echo(socket: Socket) -> None:
    while True:
        socket.send(await socket.receive())


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    """No pages are served here."""


def spawn(coro: Coroutine[Any, Any, None], *, name: str, owner: str) -> asyncio.Task[None]:
    return asyncio.get_running_loop().create_task(coro, name=name)


async def main() -> None:
    listeners = Listeners(
        app=nothing,
        sockets=[SocketRoute("/echo.ashx", echo, Access.AGENT)],
        domains=[""],
        origins=frozenset,
        shown_certificates=tuple,
        spawn=spawn,
    )
    context = make_context("intermediate", [(Path(sys.argv[1]), Path(sys.argv[2]))])
    print(await listeners.open_tls(["127.0.0.1"], 0, context), flush=True)
    await asyncio.Event().wait()


if sys.argv[3:] == ["asyncio"]:
    eventloop.loop_factory = lambda: None
eventloop.run(main())
