"""A simulated agent: it proves itself, takes a core and answers like the real one, without running anything.

Hundreds of them fit into one process, for tests and for load. It verifies the server as strictly as the real agent.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from meshcentral.plugins.errors import MeshError, SocketClosed
from meshcentral.plugins.testing.carriers import Carrier, SocketCarrier, WebSocketCarrier, any_certificate
from meshcentral.plugins.web import Socket
from meshcentral_protocol.agent_commands import (
    NO_HASH,
    AgentHash,
    AgentTag,
    AgentUpdate,
    CompressedCore,
    CoreHash,
    CoreModule,
    CoreOk,
    UpdateBlock,
    core_hash,
    decode,
)
from meshcentral_protocol.handshake import AgentEffect, AgentHandshake, Confirmed, Hold, HoldReason, Send, Sign
from meshcentral_protocol.handshake_messages import AuthInfo
from meshcentral_protocol.identifiers import node_id, raw_group_id, rsa_key_hash
from meshcentral_protocol.keys import SigningIdentity, certificate_key

COMMIT_DATE = "2022-Nov-2 23:01:45-0700"
HOST_INFO = "Simulated GNU/Linux - x64"
LINUX_X86_64 = 6
CAPABILITIES = 0x118

RunCommand = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Gets a `runcommands` message, returns members of the answer, such as `{"result": "output"}`."""


class HandshakeRefused(MeshError):
    """The simulated agent did not accept the server, as a real one would not."""

    code = "handshake_refused"

    def __init__(self, reason: HoldReason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason


class FakeAgent:
    """One simulated agent. Connect it once with `connect` and then `serve`, or with `connected` for both.

    What arrives is kept in `frames` (raw, handshake included) and `messages` (decoded JSON), in order.
    """

    def __init__(
        self,
        identity: SigningIdentity,
        *,
        server_id: bytes,
        group_id: str,
        host_name: str = "simulated",
        agent_name: str | None = None,
        type_id: int = LINUX_X86_64,
        capabilities: int = CAPABILITIES,
        tag: str = "",
        core: bytes | None = None,
        run_command: RunCommand | None = None,
        nonce: bytes | None = None,
        record: bool = True,
    ) -> None:
        """`record` False keeps nothing of what arrives: a pushed core is large, and load tests have many agents."""
        self.identity = identity
        self.server_id = server_id
        self.info = AuthInfo(
            type_id=type_id, group=raw_group_id(group_id), capabilities=capabilities, host_name=host_name
        )
        self.agent_name = agent_name
        self.tag = tag
        self.core = core
        self.core_running = False
        self.executable = bytearray()
        """What an update has transferred so far."""
        self.frames: list[bytes] = []
        self.messages: list[dict[str, Any]] = []
        self.web_hash: bytes | None = None
        """Of the outer certificate of the last verified connection: gives the next one the fast path."""
        self.verified = False
        """The server has proved its key, in this connection or an earlier one."""
        self._run_command = run_command
        self._nonce = nonce
        self._record = record
        self._carrier: Carrier | None = None
        self._news = asyncio.Event()

    @property
    def key_hash(self) -> bytes:
        """Of our own public key."""
        return rsa_key_hash(certificate_key(self.identity.certificate_der))

    def node_id(self, domain: str = "") -> str:
        """The device id that a server must derive for us."""
        return node_id(self.key_hash, domain)

    # -- connecting -------------------------------------------------------------------------------------------------

    async def connect(self, url: str, *, fast: bool | None = None, context: ssl.SSLContext | None = None) -> None:
        """Open `wss://.../agent.ashx` and authenticate. Returns after the server's message 4.

        `fast` None takes the fast path exactly when the certificate is the remembered one. Raises HandshakeRefused
        when the server does not prove itself, SocketClosed when it hangs up. A server that holds us never answers:
        use `asyncio.timeout`.
        """
        from websockets.asyncio.client import connect

        connection = await connect(
            url,
            ssl=context or any_certificate(),
            compression=None,
            user_agent_header=None,
            ping_interval=None,
            max_size=None,
            proxy=None,
        )
        carrier = WebSocketCarrier(connection)
        try:
            await self._authenticate(carrier, carrier.certificate_hash(), fast)
        except BaseException:
            await carrier.close()
            raise

    async def attach(self, socket: Socket, web_hash: bytes, *, fast: bool | None = None) -> None:
        """As `connect`, over our end of an open socket; `web_hash` is the outer certificate we claim to have seen."""
        await self._authenticate(SocketCarrier(socket), web_hash, fast)

    @contextlib.asynccontextmanager
    async def connected(
        self, target: str | Socket, *, web_hash: bytes = b"", fast: bool | None = None
    ) -> AsyncIterator[FakeAgent]:
        """Connect to a URL (or over a socket), serve in the background, and close at the end."""
        if isinstance(target, str):
            await self.connect(target, fast=fast)
        else:
            await self.attach(target, web_hash, fast=fast)
        # Not a task group: a failed assertion in the block must arrive as itself.
        serving = asyncio.get_running_loop().create_task(self.serve(), name="simulated agent")
        try:
            yield self
        finally:
            await self.close()
            await serving

    async def _authenticate(self, carrier: Carrier, web_hash: bytes, fast: bool | None) -> None:
        handshake = AgentHandshake(
            self.identity,
            self.info,
            server_id=self.server_id,
            web_hash=web_hash,
            fast=web_hash == self.web_hash if fast is None else fast,
            agent_name=self.agent_name,
            commit_date=COMMIT_DATE,
            host_info=HOST_INFO,
            nonce=self._nonce,
        )
        self._carrier = carrier
        effects = handshake.start()
        while not await self._perform(handshake, effects, carrier):
            effects = handshake.feed(await self._receive(carrier))
        self.verified = handshake.verified
        self.web_hash = web_hash
        await carrier.send(AgentTag(self.tag).encode())

    async def _perform(self, handshake: AgentHandshake, effects: list[AgentEffect], carrier: Carrier) -> bool:
        for effect in effects:
            match effect:
                case Send(frame):
                    # As the real agent: binary commands as binary frames, JSON as text.
                    await carrier.send(frame.decode() if frame[:1] == b"{" else frame)
                case Sign(identity, data):
                    await self._perform(handshake, handshake.signed(identity.sign(data)), carrier)
                case Hold(reason, detail):
                    raise HandshakeRefused(reason, detail)
                case Confirmed():
                    return True
        return False

    # -- being connected --------------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Answer what the server sends until the socket is closed."""
        with contextlib.suppress(SocketClosed):
            carrier = self._open()
            while True:
                frame = await self._receive(carrier)
                if frame[:1] == b"{":
                    message = json.loads(frame)
                    if self._record:
                        self.messages.append(message)
                    await self._answer_message(message)
                else:
                    await self._answer_command(frame)
                self._announce()
        self._carrier = None
        self._announce()

    async def send_json(self, message: Mapping[str, Any]) -> None:
        """Send a message of the core, as a text frame."""
        await self._open().send(json.dumps(message))

    async def send_frame(self, frame: bytes) -> None:
        """Send raw bytes as a binary frame."""
        await self._open().send(frame)

    async def until(self, condition: Callable[[FakeAgent], bool]) -> None:
        """Wait, while `serve` runs, until the condition holds. Raises SocketClosed when it never will."""
        while not condition(self):
            self._open()
            self._news.clear()
            await self._news.wait()

    async def close(self) -> None:
        """Close the socket."""
        carrier, self._carrier = self._carrier, None
        if carrier is not None:
            await carrier.close()

    def _open(self) -> Carrier:
        if self._carrier is None:
            raise SocketClosed("the simulated agent is not connected")
        return self._carrier

    def _announce(self) -> None:
        self._news.set()

    async def _receive(self, carrier: Carrier) -> bytes:
        message = await carrier.receive()
        frame = message.encode() if isinstance(message, str) else message
        if self._record:
            self.frames.append(frame)
        return frame

    async def _answer_command(self, frame: bytes) -> None:
        match decode(frame):
            case CoreHash(request_id=request):
                await self.send_frame(self._core_hash(request).encode())
            case CoreModule(core=None, request_id=request):
                self.core, self.core_running = None, False
                await self.send_frame(CoreHash(request_id=request).encode())
            case CoreModule(request_id=request) as push:
                await self._install(push.core if push.intact else None, request)
            case CompressedCore(request_id=request) as push:
                await self._install(push.core(), request)
            case CoreOk():
                await self._start_core()
            case AgentHash(request_id=request):
                await self.send_frame(AgentHash(NO_HASH, request).encode())
            case AgentUpdate(hash=None):
                self.executable.clear()
            case UpdateBlock(data=data, request_id=request):
                self.executable += data
                await self.send_frame(UpdateBlock(request_id=request).encode())

    async def _install(self, core: bytes | None, request: int) -> None:
        """A core starts before its installation is confirmed; one that does not fit its hash is dropped."""
        self.core, self.core_running = core, False
        if core is not None:
            await self._start_core()
        await self.send_frame(self._core_hash(request).encode())

    async def _start_core(self) -> None:
        if self.core is None or self.core_running:
            return
        self.core_running = True
        await self.send_json(
            {"action": "coreinfo", "value": "simulated core", "caps": 14, "osdesc": HOST_INFO, "root": False}
        )

    def _core_hash(self, request: int) -> CoreHash:
        return CoreHash(None if self.core is None else core_hash(self.core), request)

    async def _answer_message(self, message: Mapping[str, Any]) -> None:
        match message.get("action"):
            case "ping":
                await self.send_json({"action": "pong"})
            case "runcommands" if self._run_command is not None:
                echoed = {name: message[name] for name in ("sessionid", "responseid") if name in message}
                answer = {"action": "msg", "type": "runcommands", **echoed, **self._run_command(message)}
                await self.send_json(answer)
