"""A client of the control channel for tests: logs in, asks, and sorts replies from events."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Self

from meshcentral.plugins.errors import NotAuthorised, SocketClosed
from meshcentral.plugins.testing.carriers import Carrier, SocketCarrier, WebSocketCarrier, any_certificate
from meshcentral.plugins.web import Socket

WAIT_SECONDS = 10.0

Message = dict[str, Any]


class LoginRefused(NotAuthorised):
    """The server closed the socket instead of greeting; `message` is its `close` message."""

    def __init__(self, message: Mapping[str, Any]) -> None:
        super().__init__(str(message.get("msg")))
        self.message = dict(message)


class FakeUser:
    """One control session. Make it with `connect` (TLS, a header login) or `over` (an open socket)."""

    def __init__(self, carrier: Carrier, server_information: Message, account: Message) -> None:
        self.server_information = server_information
        self.account = account
        self.unread: deque[Message] = deque()
        """Messages that came while something else was waited for, in order."""
        self._carrier = carrier
        self._numbers = itertools.count(1)

    @classmethod
    async def connect(
        cls,
        url: str,
        name: str,
        password: str,
        *,
        headers: Mapping[str, str] | None = None,
        context: ssl.SSLContext | None = None,
    ) -> Self:
        """Open `wss://.../control.ashx` with an `x-meshauth` header. Raises LoginRefused."""
        from websockets.asyncio.client import connect

        connection = await connect(
            url,
            ssl=context or any_certificate(),
            additional_headers={"x-meshauth": login_header(name, password), **(headers or {})},
            compression=None,
            max_size=None,
            proxy=None,
        )
        return await cls._greeted(WebSocketCarrier(connection))

    @classmethod
    async def over(cls, socket: Socket) -> Self:
        """The session at the other end of a socket, such as `await server.open_local("/control.ashx")`."""
        return await cls._greeted(SocketCarrier(socket))

    @classmethod
    async def _greeted(cls, carrier: Carrier) -> Self:
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                first = json.loads(await carrier.receive())
                if first.get("action") != "serverinfo":
                    raise LoginRefused(first)
                second = json.loads(await carrier.receive())
        except BaseException:
            await carrier.close()
            raise
        return cls(carrier, first["serverinfo"], second["userinfo"])

    async def request(self, action: str, /, **members: Any) -> Message:
        """Ask, and wait for the reply with our `responseid`; whatever else comes is kept in `unread`."""
        response_id = f"test-{next(self._numbers)}"
        await self.send({**members, "action": action, "responseid": response_id})
        return await self.wait_for(lambda message: message.get("responseid") == response_id)

    async def event(self, action: str) -> Message:
        """The next event with this action, as its wire object."""
        message = await self.wait_for(
            lambda message: message.get("action") == "event" and message["event"].get("action") == action
        )
        event: Message = message["event"]
        return event

    async def wait_for(self, condition: Callable[[Message], bool]) -> Message:
        """The first message, kept or to come, for which the condition holds. Raises SocketClosed, TimeoutError."""
        for kept in self.unread:
            if condition(kept):
                self.unread.remove(kept)
                return kept
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                message: Message = json.loads(await self._carrier.receive())
                if condition(message):
                    return message
                self.unread.append(message)

    async def settle(self) -> list[Message]:
        """Everything that the server has sent so far and that was not read yet: a `ping` comes back after it."""
        await self.send({"action": "ping"})
        await self.wait_for(lambda message: message.get("action") == "pong")
        unread, self.unread = list(self.unread), deque()
        return unread

    async def send(self, message: Any) -> None:
        """Send anything as JSON; text as it is."""
        await self._carrier.send(message if isinstance(message, str | bytes) else json.dumps(message))

    async def until_closed(self) -> list[Message]:
        """Read until the server closes; returns what it still said."""
        try:
            await self.wait_for(lambda message: False)
        except SocketClosed:
            pass
        unread, self.unread = list(self.unread), deque()
        return unread

    async def close(self) -> None:
        """Close the socket."""
        await self._carrier.close()


def login_header(name: str, password: str, *more: str) -> str:
    """The value of `x-meshauth`."""
    return ",".join(base64.b64encode(part.encode()).decode("ascii") for part in (name, password, *more))
