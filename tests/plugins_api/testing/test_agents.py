from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from meshcentral.core.websocket.memory import MemorySocket, memory_pair
from meshcentral.plugins.errors import SocketClosed
from meshcentral.plugins.testing.agents import FakeAgent, HandshakeRefused
from meshcentral.plugins.web import Connection
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
    make_core,
)
from meshcentral_protocol.handshake import AUTH_CONFIRM, AuthenticatedAgent, Ready, Send, ServerHandshake, Sign
from meshcentral_protocol.identifiers import new_group_id, raw_group_id
from meshcentral_protocol.keys import AgentKey

WEB = bytes([7]) * 48
GROUP = new_group_id()
CORE = make_core("var x = 1;")


@pytest.fixture(scope="module")
def keys() -> tuple[AgentKey, AgentKey]:
    return AgentKey.generate(2048), AgentKey.generate(2048)


async def serve(identity: AgentKey, socket: MemorySocket) -> AuthenticatedAgent:
    """The server's side of one authentication."""
    handshake = ServerHandshake(lambda web: web, lambda server_id: identity)
    while True:
        message = await socket.receive()
        for effect in handshake.feed(message if isinstance(message, bytes) else message.encode()):
            match effect:
                case Send(frame):
                    socket.send(frame)
                case Sign(identity=signer, data=data):
                    (answer,) = handshake.signed(signer.sign(data))
                    socket.send(answer.frame)
                case Ready(agent):
                    socket.send(AUTH_CONFIRM)
                    return agent


def pair() -> tuple[MemorySocket, MemorySocket]:
    return memory_pair(Connection("GET", "/agent.ashx", {}, {}, "192.0.2.1", 1, True))


class Talk:
    """An authenticated simulated agent and the server's end of its socket."""

    def __init__(self, agent: FakeAgent, socket: MemorySocket, proved: AuthenticatedAgent) -> None:
        self.agent, self.socket, self.proved = agent, socket, proved

    async def hear(self) -> Any:
        """The agent's next message: JSON as the text it is, commands decoded."""
        message = await self.socket.receive()
        return message if isinstance(message, str) else decode(message)


Connect = Callable[..., AbstractAsyncContextManager[Talk]]


@pytest.fixture
def talk(keys) -> Connect:
    identity, server = keys

    @asynccontextmanager
    async def start(**options: Any) -> AsyncIterator[Talk]:
        agent = FakeAgent(identity, server_id=server.key_hash, group_id=GROUP, **options)
        client, served = pair()
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            proving = tasks.create_task(serve(server, served))
            async with agent.connected(client, web_hash=WEB):
                talk = Talk(agent, served, await proving)
                assert await talk.hear() == AgentTag(options.get("tag", ""))
                yield talk

    return start


async def test_it_introduces_itself(talk, keys):
    async with talk(host_name="lab", agent_name="Front desk", tag="desk") as connected:
        proved = connected.proved
        assert (proved.key_hash, proved.info.host_name) == (keys[0].key_hash, "lab")
        assert (proved.agent_name, proved.info.group) == ("Front desk", raw_group_id(GROUP))
        assert connected.agent.node_id().startswith("node//")
        assert connected.agent.verified


async def test_it_takes_the_fast_path_when_it_knows_the_certificate(keys):
    identity, server = keys
    agent = FakeAgent(identity, server_id=server.key_hash, group_id=GROUP)
    taken = []
    for web_hash in (WEB, WEB, bytes(48)):
        client, served = pair()
        async with asyncio.TaskGroup() as tasks:
            proving = tasks.create_task(serve(server, served))
            await agent.attach(client, web_hash)
        taken.append(proving.result().fast_path)
        await agent.close()
    assert taken == [False, True, False]


async def test_it_takes_a_core_like_the_real_agent(talk):
    async with talk() as connected:
        connected.socket.send(CoreHash().encode())
        assert await connected.hear() == CoreHash()
        connected.socket.send(CoreModule(CORE, request_id=5).encode())
        assert '"action": "coreinfo"' in await connected.hear()
        assert await connected.hear() == CoreHash(core_hash(CORE), 5)
        connected.socket.send(CoreOk().encode())
        connected.socket.send(CoreModule().encode())
        assert await connected.hear() == CoreHash()
        assert connected.agent.core is None


async def test_a_core_that_does_not_fit_its_hash_is_dropped(talk):
    async with talk(core=CORE) as connected:
        connected.socket.send(CoreModule(CORE, NO_HASH).encode())
        assert await connected.hear() == CoreHash()


async def test_a_stored_core_starts_when_it_is_confirmed(talk):
    async with talk(core=CORE) as connected:
        connected.socket.send(CoreHash().encode())
        assert await connected.hear() == CoreHash(core_hash(CORE))
        assert not connected.agent.core_running
        connected.socket.send(CoreOk().encode())
        assert '"coreinfo"' in await connected.hear()
        connected.socket.send(CompressedCore.of(CORE).encode())
        assert '"coreinfo"' in await connected.hear()
        assert await connected.hear() == CoreHash(core_hash(CORE))


async def test_an_update_is_taken_block_by_block(talk):
    async with talk() as connected:
        connected.socket.send(AgentHash().encode())
        assert await connected.hear() == AgentHash(NO_HASH)
        connected.socket.send(AgentUpdate().encode())
        for block in (b"first ", b"second"):
            connected.socket.send(UpdateBlock(block).encode())
            assert await connected.hear() == UpdateBlock()
        assert bytes(connected.agent.executable) == b"first second"


async def test_it_runs_commands_by_a_function(talk):
    async with talk(run_command=lambda message: {"result": message["cmds"].upper()}) as connected:
        connected.socket.send(b'{"action":"ping"}')
        assert await connected.hear() == '{"action": "pong"}'
        connected.socket.send(b'{"action":"runcommands","cmds":"id","sessionid":"s","responseid":7}')
        assert await connected.hear() == (
            '{"action": "msg", "type": "runcommands", "sessionid": "s", "responseid": 7, "result": "ID"}'
        )
        connected.socket.send(b'{"action":"unknown"}')
        await connected.agent.until(lambda agent: len(agent.messages) == 3)
        connected.socket.close()
        with pytest.raises(SocketClosed):
            await connected.agent.until(lambda agent: False)
        with pytest.raises(SocketClosed):
            await connected.agent.send_json({})


async def test_it_refuses_a_server_with_another_key(keys):
    identity, server = keys
    agent = FakeAgent(identity, server_id=identity.key_hash, group_id=GROUP)
    client, served = pair()
    async with asyncio.TaskGroup() as tasks:
        proving = tasks.create_task(serve(server, served))
        with pytest.raises(HandshakeRefused, match="wrong-server") as refused:
            await agent.attach(client, WEB)
        proving.cancel()
    assert refused.value.code == "handshake_refused"
    assert not agent.verified
