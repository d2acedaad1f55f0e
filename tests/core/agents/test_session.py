from __future__ import annotations

import asyncio

import pytest

from meshcentral.plugins.errors import SocketClosed
from meshcentral_protocol.agent_commands import CoreModule

CLEAR_CORE = CoreModule().encode()


async def test_everything_to_an_agent_is_a_binary_frame(house):
    house.group()
    client, served = house.sockets()
    async with asyncio.TaskGroup() as tasks:
        accepted = tasks.create_task(house.agents.accept(served))
        await house.agent().attach(client, house.web_hash)
    session = accepted.result()
    session.send_json({"action": "ping", "text": "ä"})
    session.send_command(CLEAR_CORE)
    assert await client.receive() == b'{"action":"ping","text":"\\u00e4"}'
    assert await client.receive() == CLEAR_CORE
    session.disconnect("x" * 500)
    assert client.closed
    session.send_json({})


async def test_a_superseded_session_sends_nothing(house):
    house.group()
    client, served = house.sockets()
    async with asyncio.TaskGroup() as tasks:
        accepted = tasks.create_task(house.agents.accept(served))
        await house.agent().attach(client, house.web_hash)
    await house.let_in(house.agent())
    accepted.result().send_json({"action": "ping"})
    client.close()
    with pytest.raises(SocketClosed):
        await client.receive()
