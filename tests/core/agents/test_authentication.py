from __future__ import annotations

import asyncio

from meshcentral.core.agents import authentication
from meshcentral_protocol.handshake import AUTH_CONFIRM
from meshcentral_protocol.handshake_messages import AgentName, AuthInfo, AuthRequest, AuthVerify


class Forger:
    """Has the certificate, but signs something else."""

    def __init__(self, identity):
        self.certificate_der = identity.certificate_der
        self._identity = identity

    def sign(self, data):
        return self._identity.sign(data[::-1])


async def test_an_unknown_outer_certificate_gets_no_reply(house):
    house.group()
    agent = house.agent()
    async with house.held(agent, web_hash=bytes(48)) as held:
        assert (held.reason, held.node_id) == ("unknown-web-certificate", None)
        assert agent.frames == []


async def test_a_bad_agent_signature_is_held_after_1_and_2(house):
    house.group()
    agent = house.agent()
    agent.identity = Forger(agent.identity)
    async with house.held(agent) as held:
        assert (held.reason, held.node_id) == ("bad-signature", None)
    assert [frame[:2] for frame in agent.frames] == [b"\0\1", b"\0\2"]
    assert len(house.host.store.devices) == 0


async def test_an_agent_that_leaves_half_way(house):
    client, served = house.sockets()
    client.send(AuthRequest(house.web_hash, bytes(48)).encode())
    client.close()
    assert await house.agents.accept(served) is None
    assert house.agents.held == ()


async def test_a_silent_socket_is_dropped_and_not_reported(house, monkeypatch):
    monkeypatch.setattr(authentication, "HANDSHAKE_SECONDS", 0.0)
    client, served = house.sockets()
    assert await house.agents.accept(served) is None
    assert client.closed
    assert house.agents.held == ()
    assert house.seen.events == []


async def test_silent_sockets_do_not_keep_agents_outside(house, monkeypatch):
    monkeypatch.setattr(authentication, "MAX_UNFINISHED", 2)
    house.group()
    silent = [house.sockets() for _ in range(2)]
    async with asyncio.TaskGroup() as tasks:
        for _, served in silent:
            tasks.create_task(house.agents.accept(served))
        await asyncio.sleep(0)
        await house.let_in(house.agent())
        assert [client.closed for client, _ in silent] == [True, False]
        silent[1][0].close()


async def test_a_cancelled_accept_leaves_no_session(house, until):
    house.group()
    await house.let_in(house.agent())
    # The only wait after registering: telling plugins that the older connection was superseded.
    house.host.hooks.block = "on_agent_disconnected"
    client, served = house.sockets()
    async with asyncio.TaskGroup() as tasks:
        accepted = tasks.create_task(house.agents.accept(served))
        await house.agent().attach(client, house.web_hash)
        await until(lambda: house.host.hooks.calls)
        accepted.cancel()
    assert accepted.cancelled()
    assert len(house.agents) == 0
    assert house.seen.events[-1]["conn"] == 0


async def test_the_name_may_come_as_text_and_the_rest_in_either_order(house):
    """By hand, message 3 before 2, as the real agent does it on the fast path."""
    house.group()
    key = house.agent_keys[1]
    client, served = house.sockets()
    info = AuthInfo(6, bytes(range(48)), 0x118, "host")
    async with asyncio.TaskGroup() as tasks:
        accepted = tasks.create_task(house.agents.accept(served))
        client.send(b"\0\4")
        client.send(AuthRequest(house.web_hash, bytes(48)).encode())
        client.send(AgentName("Front desk").encode().decode())
        client.send(info.encode())
        request = AuthRequest.decode(await client.receive())
        signature = key.sign(house.web_hash + request.nonce + bytes(48))
        client.send(AuthVerify(key.certificate_der, signature).encode())
        assert await client.receive() == AUTH_CONFIRM
    assert accepted.result().device.name == "Front desk"
