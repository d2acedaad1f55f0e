"""A connected agent: core push, JSON phase, readiness. The server is real, the agents are simulated."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Iterable

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from meshcentral.core.server import Server
from meshcentral.plugins import AgentAction, AgentSession, CoreModule, DeviceGroup, Plugin, hookimpl
from meshcentral.plugins.testing.agents import FakeAgent
from meshcentral.plugins.testing.carriers import any_certificate
from meshcentral.plugins.testing.events import BusLog
from meshcentral.plugins.testing.server import MeshServers
from meshcentral_agents import api, channel, service
from meshcentral_agents.core_builder import build_core, own_modules
from meshcentral_agents.event_budget import EVENTS
from meshcentral_agents.plugin import AgentsPlugin
from meshcentral_protocol.agent_commands import NO_HASH, CoreHash
from meshcentral_protocol.identifiers import new_group_id
from meshcentral_protocol.keys import AgentKey

MakeAgent = Callable[..., FakeAgent]
Listen = Callable[[Server], BusLog]

LINUX_CORE = build_core(own_modules(), "linux")


def steps(log: BusLog) -> list[str]:
    return [event["step"] for event in log.events if event["action"] == "agentcore"]


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until something that nobody announces has happened."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def ready(log: BusLog) -> None:
    """Wait for the agent's core to be ready."""
    await eventually(lambda: "ready" in steps(log))


async def test_an_agent_without_core_gets_ours(
    server: Server, make_agent: MakeAgent, url: str, bus_log: Listen
) -> None:
    log = bus_log(server)
    async with make_agent().connected(url) as agent:
        await ready(log)
        assert agent.core == LINUX_CORE.data
        assert steps(log) == ["pushed", "confirmed", "ready"]
        device = server.store.devices.get(agent.node_id())
        assert device is not None
        assert device.agent is not None
        assert (device.agent.core, device.agent.capabilities) == ("simulated core", 0x18 + 6)
        assert device.operating_system == "Simulated GNU/Linux - x64"
        await agent.until(lambda agent: {"action": "serverInfo"} in agent.messages)
        changed = await log.wait_for("changenode")
        assert changed["node"]["_id"] == agent.node_id()
        assert (changed["node"]["conn"], changed["node"]["pwr"]) == (1, 1)
        assert "of group Lab" in changed["msg"]


async def test_an_agent_with_our_core_is_only_told_to_start_it(
    server: Server, make_agent: MakeAgent, url: str, bus_log: Listen
) -> None:
    log = bus_log(server)
    async with make_agent(core=LINUX_CORE.data).connected(url) as agent:
        await ready(log)
        assert steps(log) == ["confirmed", "ready"]
        assert agent.core_running


async def test_an_agent_with_another_core_gets_ours(
    server: Server, make_agent: MakeAgent, url: str, bus_log: Listen
) -> None:
    log = bus_log(server)
    async with make_agent(core=b"\0\0\0\0old").connected(url) as agent:
        await ready(log)
        assert agent.core == LINUX_CORE.data
        assert steps(log)[0] == "pushed"


async def test_an_agent_of_unknown_type_loses_its_core(
    server: Server, make_agent: MakeAgent, url: str, bus_log: Listen
) -> None:
    log = bus_log(server)
    async with make_agent(type_id=9999, core=b"\0\0\0\0old").connected(url) as agent:
        await agent.until(lambda agent: agent.core is None)
        assert steps(log) == ["cleared"]


async def test_a_program_with_a_core_of_its_own_is_not_asked(
    server: Server, make_agent: MakeAgent, url: str, bus_log: Listen
) -> None:
    log = bus_log(server)
    async with make_agent(type_id=34).connected(url) as agent:
        await agent.until(lambda agent: {"action": "serverInfo"} in agent.messages)
        await agent.send_json({"action": "coreinfo", "value": "assistant"})
        await ready(log)
        assert steps(log) == ["ready"]


class Stubborn(FakeAgent):
    """Reports a hash of its own, whatever it is given."""

    answer: bytes | None = b"\x09" * 48

    def _core_hash(self, request: int) -> CoreHash:
        return CoreHash(self.answer, request)


async def stubborn(server: Server, group: DeviceGroup, answer: bytes | None) -> FakeAgent:

    agent = Stubborn(
        AgentKey.generate(2048), server_id=server.certificates.agent_server_hash, group_id=group.id, core=b"\0\0\0\0x"
    )
    agent.answer = answer
    return agent


async def test_pushing_ends_when_it_does_not_help(
    server: Server, group: DeviceGroup, url: str, bus_log: Listen
) -> None:
    log = bus_log(server)
    agent = await stubborn(server, group, b"\x09" * 48)
    async with agent.connected(url):
        await eventually(lambda: "failed" in steps(log))
        assert steps(log) == ["pushed"] * 5 + ["failed"]


async def test_a_custom_core_is_left_alone(server: Server, group: DeviceGroup, url: str, bus_log: Listen) -> None:
    log = bus_log(server)
    agent = await stubborn(server, group, NO_HASH)
    async with agent.connected(url):
        await agent.send_json({"action": "coreinfo", "value": "custom"})
        await ready(log)
        assert steps(log) == ["custom", "ready"]


async def test_network_and_sessions_are_kept_and_announced(
    server: Server, make_agent: MakeAgent, url: str, bus_log: Listen
) -> None:
    log = bus_log(server)
    interfaces = {"eth0": [{"mac": "02:00", "address": "192.0.2.9", "family": "IPv4"}]}
    async with make_agent().connected(url) as agent:
        await ready(log)
        assert await api.network_of(server, agent.node_id()) is None
        await agent.send_json({"action": "netinfo", "netif2": interfaces})
        await log.wait_for("ifchange")
        stored = await api.network_of(server, agent.node_id())
        assert stored is not None
        assert (stored["netif2"], stored["type"]) == (interfaces, "ifinfo")
        await agent.send_json({"action": "netinfo", "netif2": interfaces})
        await agent.send_json({"action": "sessions", "type": "files", "value": {"user//ann": 2, "user//bob": 0}})
        event = await log.wait_for("devicesessions")
        assert event["sessions"] == {"files": {"user//ann": 2}}
        assert api.sessions_of(server, agent.node_id()) == {"files": {"user//ann": 2}}
        assert log.actions().count("ifchange") == 1
        await api.forget_device(server, agent.node_id())
        assert await api.network_of(server, agent.node_id()) is None
    await eventually(lambda: log.actions().count("devicesessions") == 2)
    assert "sessions" not in [event for event in log.events if event["action"] == "devicesessions"][-1]


async def test_log_lines_cannot_speak_for_strangers(
    server: Server, make_agent: MakeAgent, url: str, bus_log: Listen
) -> None:
    log = bus_log(server)
    async with make_agent().connected(url) as agent:
        await agent.send_json({"action": "log", "msg": "line\nbreak", "msgid": 43, "userid": "user//admin"})
        event = await log.wait_for("agentlog")
        assert (event["msg"], event["msgid"], event["nodeid"]) == ("line break", 43, agent.node_id())
        assert "userid" not in event


async def test_hostile_messages_do_not_end_the_connection(
    server: Server, make_agent: MakeAgent, url: str, bus_log: Listen, caplog: pytest.LogCaptureFixture
) -> None:
    log = bus_log(server)
    with caplog.at_level(logging.INFO, "meshcentral.agents"):
        async with make_agent().connected(url) as agent:
            await ready(log)
            for name in ("unheard", "unheard", "unheard"):
                await agent.send_json({"action": name})
            await agent.send_frame(b'{"action": "coreinfo", "caps": "\xff"}')
            await agent.send_json({"action": "coreinfo", "caps": -5})
            await agent.send_json({"action": ["x"]})
            await agent.send_frame(b"\x00")
            await agent.send_frame(b"\x00\x0b\x00\x00short")
            await agent.send_frame(b"\xff" * 100)
            await agent.send_json({"action": "ping"})
            await agent.until(lambda agent: {"action": "pong"} in agent.messages)
    assert [record.message for record in caplog.records].count("unknown agent action") == 1


async def test_an_agent_cannot_fill_the_log_with_its_own_words(
    server: Server, make_agent: MakeAgent, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    long = "x" * 100_000
    async with make_agent().connected(url) as agent:
        for _ in range(10):
            await agent.send_json({"action": long})
        await agent.send_json({"action": "netinfo", "netif2": {long: [{"mac": long}]}})
        await agent.send_json({"action": "ping"})
        await agent.until(lambda agent: {"action": "pong"} in agent.messages)
    assert [record.message for record in caplog.records].count("unknown agent action") <= 1
    assert any(record.message == "agent message refused" for record in caplog.records)
    assert all(len(str(vars(record))) < 2000 for record in caplog.records)


async def test_an_agent_cannot_fill_the_disk_with_events(
    server: Server, make_agent: MakeAgent, url: str, bus_log: Listen, caplog: pytest.LogCaptureFixture
) -> None:
    log = bus_log(server)
    async with make_agent().connected(url) as agent:
        for number in range(EVENTS + 20):
            await agent.send_json({"action": "log", "msg": f"line {number}"})
        await agent.send_json({"action": "ping"})
        await agent.until(lambda agent: {"action": "pong"} in agent.messages)
        await eventually(lambda: len([event for event in log.events if event["action"] == "agentlog"]) == EVENTS + 20)
    kept = [event for event in await server.store.events(None, limit=1000) if event["action"] == "agentlog"]
    assert len(kept) <= EVENTS
    assert sum("too many events" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "[" * 64 + "]" * 64, '{"a":' * 900 + "1" + "}" * 900])
def test_what_cannot_be_passed_on_is_no_message(number: str) -> None:
    assert channel.parse_object(f'{{"action":"msg","value":{number}}}') is None
    assert channel.parse_object('{"action":"msg","value":%s}' % ("[" * 63 + "]" * 63)) is not None


async def test_a_stranger_cannot_send_much(url: str) -> None:
    async with connect(url, ssl=any_certificate(), proxy=None) as stranger:
        with contextlib.suppress(ConnectionClosed):
            await stranger.send(bytes(channel.MAX_HANDSHAKE + 1))
        with pytest.raises(ConnectionClosed) as closed:
            await stranger.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


async def test_a_proved_agent_may_send_much(server: Server, make_agent: MakeAgent, url: str) -> None:
    async with make_agent().connected(url) as agent:
        await agent.send_json({"action": "ping", "padding": "x" * (4 * channel.MAX_HANDSHAKE)})
        await agent.until(lambda agent: {"action": "pong"} in agent.messages)


async def test_too_many_malformed_messages_end_it(server: Server, make_agent: MakeAgent, url: str) -> None:
    async with make_agent().connected(url) as agent:
        for _ in range(channel.MAX_BAD_MESSAGES + 1):
            await agent.send_frame(b"{not json")
        await eventually(lambda: server.agents.get(agent.node_id()) is None)


async def test_a_fast_talker_is_slowed_down_not_cut_off(
    server: Server, make_agent: MakeAgent, url: str, bus_log: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "RATE_WINDOW_SECONDS", 0.2)
    monkeypatch.setattr(channel, "RATE_MESSAGES", 10)
    log = bus_log(server)
    async with make_agent().connected(url) as agent:
        await ready(log)
        for _ in range(25):
            await agent.send_json({"action": "ping"})
        async with asyncio.timeout(10):
            await agent.until(lambda agent: agent.messages.count({"action": "pong"}) == 25)


async def test_a_newer_connection_wins_and_the_older_is_not_heard(
    server: Server, make_agent: MakeAgent, url: str, bus_log: Listen
) -> None:
    log = bus_log(server)
    async with make_agent().connected(url) as older:
        await ready(log)
        async with make_agent().connected(url) as newer:
            await newer.until(lambda agent: agent.core_running)
            await older.send_json({"action": "sessions", "type": "kvm", "value": {"user//x": 1}})
            await newer.send_json({"action": "ping"})
            await newer.until(lambda agent: {"action": "pong"} in agent.messages)
            assert api.sessions_of(server, newer.node_id()) == {}


class Silent(FakeAgent):
    """Takes the core and never says a word."""

    async def _start_core(self) -> None:
        self.core_running = True


async def test_a_core_that_keeps_silent_is_named(
    server: Server, group: DeviceGroup, url: str, bus_log: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:

    monkeypatch.setattr(service, "CORE_INFO_SECONDS", -1.0)
    log = bus_log(server)
    agent = Silent(AgentKey.generate(2048), server_id=server.certificates.agent_server_hash, group_id=group.id)
    async with agent.connected(url):
        await eventually(lambda: "confirmed" in steps(log))
        plugin = next(record.plugin for record in server.plugins if record.name == "agents")
        assert isinstance(plugin, AgentsPlugin)
        plugin._of(server)._check_all()
        plugin._of(server)._check_all()
        assert steps(log) == ["pushed", "confirmed", "silent"]


class Recorder(Plugin):
    """Adds a core module and an agent action, and sees what happens."""

    name = "recorder"
    after = ("agents",)

    def __init__(self) -> None:
        self.seen: list[int] = []

    @hookimpl
    def register_core_modules(self) -> Iterable[CoreModule]:
        yield CoreModule("recorder", "module.exports = {};")

    @hookimpl
    def register_agent_actions(self) -> Iterable[AgentAction]:
        async def handle(session: AgentSession, message: object) -> None:
            assert isinstance(message, dict)
            await asyncio.sleep(0)
            self.seen.append(message["number"])
            if message["number"] == 3:
                raise RuntimeError("a defect in a plugin")

        yield AgentAction("record", handle)


async def test_other_plugins_extend_the_core_and_get_messages_in_order(
    mesh_server: MeshServers, bus_log: Listen
) -> None:

    server = await mesh_server([AgentsPlugin, Recorder])
    log = bus_log(server)
    group = DeviceGroup(id=new_group_id(), name="g")
    server.store.note(group)
    agent = FakeAgent(AgentKey.generate(2048), server_id=server.certificates.agent_server_hash, group_id=group.id)
    recorder = next(record.plugin for record in server.plugins if record.name == "recorder")
    assert isinstance(recorder, Recorder)
    async with agent.connected(f"wss://localhost:{server.port}/agent.ashx"):
        await ready(log)
        assert agent.core is not None
        assert json.dumps("module.exports = {};").encode() in agent.core
        for number in range(20):
            await agent.send_json({"action": "record", "number": number})
        await agent.send_json({"action": "ping"})
        await agent.until(lambda agent: {"action": "pong"} in agent.messages)
        assert recorder.seen == list(range(20))


class Stuck(FakeAgent):
    """Never answers a push."""

    async def _install(self, core: bytes | None, request: int) -> None:
        self.core = core


async def test_an_unanswered_push_does_not_keep_others_waiting_for_ever(
    mesh_server: MeshServers, bus_log: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "PARALLEL_PUSHES", 1)
    monkeypatch.setattr(service, "PUSH_SECONDS", -1.0)
    server = await mesh_server([AgentsPlugin])
    server.store.note(group := DeviceGroup(id=new_group_id(), name="g"))
    server_id, url = server.certificates.agent_server_hash, f"wss://localhost:{server.port}/agent.ashx"
    log = bus_log(server)
    stuck = Stuck(AgentKey.generate(2048), server_id=server_id, group_id=group.id)
    waiting = FakeAgent(AgentKey.generate(2048), server_id=server_id, group_id=group.id)
    async with stuck.connected(url):
        await eventually(lambda: steps(log) == ["pushed"])
        async with waiting.connected(url):
            await eventually(lambda: len(server.agents) == 2)
            assert waiting.core is None
            plugin = next(record.plugin for record in server.plugins if record.name == "agents")
            assert isinstance(plugin, AgentsPlugin)
            plugin._of(server)._check_all()
            await ready(log)
            assert waiting.core == LINUX_CORE.data
