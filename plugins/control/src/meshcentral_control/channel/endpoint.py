"""The socket handler: admit, greet, then run requests side by side within a bound."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from meshcentral.plugins.errors import ConfigurationError, SocketClosed
from meshcentral.plugins.web import Socket
from meshcentral_control.api import accounts
from meshcentral_control.channel.agent_messages import AgentMessages
from meshcentral_control.channel.authentication import Refused, authenticate
from meshcentral_control.channel.directory import Directory
from meshcentral_control.channel.dispatcher import Dispatcher
from meshcentral_control.channel.greeting import greeting
from meshcentral_control.channel.messages import BadMessage, decode, encode
from meshcentral_control.channel.registry import ActionRegistry
from meshcentral_control.channel.session import ControlSession

if TYPE_CHECKING:
    from meshcentral.plugins.server import Server

log = logging.getLogger("meshcentral.control")

MAX_UNTRUSTED = 16 * 1024
"""Bytes of a message of somebody whose login is still being checked."""
MAX_IN_FLIGHT = 32
"""Requests of one session that run at a time; while so many do, its socket is not read."""
USER_ACTIONS = "register_user_actions"
NO_STATUS = 1005
"""Close without a status code, which is how the peer ends a refused socket."""


class ControlEndpoint:
    """All control sockets of one server."""

    def __init__(self, server: Server, directory: Directory, agent_messages: AgentMessages) -> None:
        self._server = server
        self._directory = directory
        self._agent_messages = agent_messages
        self._dispatcher: Dispatcher | Refused = Refused("notready", "The server is still starting")

    def build_registry(self) -> ActionRegistry:
        """Collect and check the actions of all plugins; one that declares an unusable action is unloaded.

        The core and those that were registered first have the first claim to a name.
        """
        while True:
            registry = ActionRegistry()
            if self._fill(registry):
                self._dispatcher = Dispatcher(self._server, registry)
                return registry

    def _fill(self, registry: ActionRegistry) -> bool:
        """False when a plugin had to be unloaded, after which all are asked again: it may have taken others along."""
        hooks = self._server.hooks
        for declared in reversed(hooks.contributions(USER_ACTIONS, server=self._server)):
            try:
                registry.add(declared.value)
            except ConfigurationError as error:
                hooks.reject(declared.plugin, USER_ACTIONS, error)
                return False
        return True

    async def serve(self, socket: Socket) -> None:
        """Own one socket until it closes."""
        admission = await authenticate(socket.connection, accounts(self._server))
        dispatcher = self._dispatcher
        if isinstance(admission, Refused):
            _refuse(socket, admission)
        elif isinstance(dispatcher, Refused):
            _refuse(socket, dispatcher)
        else:
            await self._serve_session(ControlSession(self._server, socket, admission.user), socket, dispatcher)

    async def _serve_session(self, session: ControlSession, socket: Socket, dispatcher: Dispatcher) -> None:
        socket.trust()
        self._directory.add(session)
        session.open()
        try:
            for message in greeting(self._server, session):
                session.send(message)
            await self._read(session, socket, dispatcher)
        except SocketClosed:
            log.debug("control session ended", extra={"actor": session.actor})
        finally:
            session.close()
            self._directory.remove(session)
            self._agent_messages.session_left(session.id)

    async def _read(self, session: ControlSession, socket: Socket, dispatcher: Dispatcher) -> None:
        slots = asyncio.Semaphore(MAX_IN_FLIGHT)
        while True:
            if not socket.writable:  # who takes no answers gets to ask no more
                with contextlib.suppress(SocketClosed):  # an order given before leaving is still carried out
                    await socket.drain()
            try:
                message = decode(await socket.receive())
            except BadMessage:
                continue  # the peer is silent about these too
            match message.get("action"):
                case "ping":
                    socket.send('{"action":"pong"}')
                case "pong":
                    continue
                case "close":
                    return
                case action:
                    await slots.acquire()
                    request = _run(dispatcher, session, message, slots)
                    self._server.spawn(request, name=f"control {str(action)[:32]}", owner="channel")


async def _run(
    dispatcher: Dispatcher, session: ControlSession, message: Mapping[str, Any], slots: asyncio.Semaphore
) -> None:
    """A request goes on when its socket closes: what a client has ordered before it leaves is done."""
    try:
        await dispatcher.run(session, message)
    finally:
        slots.release()


def _refuse(socket: Socket, refused: Refused) -> None:
    socket.send_text(encode(refused.to_wire()))
    socket.close(NO_STATUS)
