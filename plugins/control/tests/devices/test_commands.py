"""Commands on devices, with simulated agents on the other side."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from meshcentral.plugins import rights
from meshcentral.plugins.documents import Link
from meshcentral.plugins.events import SessionControl
from meshcentral.plugins.store import AuditEntry
from meshcentral.plugins.testing.agents import FakeAgent
from meshcentral_control.channel import agent_messages
from meshcentral_protocol.keys import AgentKey

WINDOWS_SERVICE = 4


@functools.cache
def agent_key() -> AgentKey:
    return AgentKey.generate(2048)


@asynccontextmanager
async def agent_in(control: Any, group_id: str, **options: Any) -> AsyncIterator[FakeAgent]:
    """A connected agent whose device is stored."""
    agent = FakeAgent(
        agent_key(), server_id=control.server.certificates.agent_server_hash, group_id=group_id, **options
    )
    async with agent.connected(f"wss://127.0.0.1:{control.server.port}/agent.ashx"):
        await control.local.event("nodeconnect")
        yield agent


def answering(text: str) -> Callable[..., dict[str, Any]]:
    return lambda message: {"result": f"{text}: {message['cmds']}", "exitcode": 0}


async def test_the_command_line_is_seen_only_by_who_may_run_commands(control):
    """It may hold a password; that a command was run is everybody's who sees the device."""
    alice, bob = await control.user("alice"), await control.user("bob")
    group_id = await control.group(alice)
    async with control.server.store.change(AuditEntry("server", "test")) as change:
        store = control.server.store
        change.update(store.users.get("user//bob"), links={group_id: Link(rights=rights.NOTES)})
        group = store.groups.get(group_id)
        change.update(group, links={**group.links, "user//bob": Link(rights=rights.NOTES)})
    control.server.bus.signal(SessionControl.RESUBSCRIBE, ["user//bob"])
    async with agent_in(control, group_id, run_command=answering("ran")) as agent:
        await alice.request("runcommands", nodeids=[agent.node_id()], type=3, cmds="login --pass hidden", reply=True)
        assert (await alice.event("runcommands"))["cmds"] == "login --pass hidden"
        seen = await bob.event("runcommands")
        assert (seen["nodeid"], "cmds" in seen) == (agent.node_id(), False)
        for user, sees in ((alice, True), (bob, False)):
            [stored] = (await user.request("events", filter="runcommands"))["events"]
            assert ("cmds" in stored) is sees


async def test_the_answer_comes_to_who_asked_and_to_nobody_else(control):
    alice, bob = await control.user("alice"), await control.user("bob")
    group_id = await control.group(alice)
    async with agent_in(control, group_id, run_command=answering("ran")) as agent:
        reply = await alice.request(
            "runcommands", nodeids=[agent.node_id()], type=3, cmds="echo hi", runAsUser=0, reply=True
        )
        assert reply == {
            "action": "msg",
            "type": "runcommands",
            "responseid": reply["responseid"],
            "result": "ran: echo hi",
            "exitcode": 0,
            "nodeid": agent.node_id(),
        }
        sent = next(message for message in agent.messages if message["action"] == "runcommands")
        assert sent["sessionid"].startswith("user//alice/")
        assert (sent["userid"], sent["username"], sent["rights"]) == ("user//alice", "alice", rights.ALL)
        assert sent["remoteaddr"] == "127.0.0.1"
        assert sent["consent"] == 0
        event = await alice.event("runcommands")
        assert (event["msgid"], event["cmds"], event["cmdType"]) == (24, "echo hi", 3)
        for other in (bob, control.local):
            assert [message for message in await other.settle() if message["action"] == "msg"] == []


async def test_the_local_administrator_runs_commands(control):
    group_id = await control.group()
    async with agent_in(control, group_id, run_command=answering("ran")) as agent:
        reply = await control.local.request("runcommands", nodeids=[agent.node_id()], type=0, cmds="id", reply=True)
        assert reply["result"] == "ran: id"
        without = await control.local.request("runcommands", nodeids=[agent.node_id()], type=0, cmds="id")
        assert (without["action"], without["result"]) == ("runcommands", "OK")
        node = (await control.local.request("nodes"))["nodes"][group_id][0]
        assert (node["conn"], node["pwr"]) == (1, 1)
        assert isinstance(node["agct"], int)
        rows = [row async for row in control.server.store.audit_rows()]
        assert [row["action"] for row in rows].count("runcommands") == 2


async def test_refusals(control):
    alice = await control.user("alice")
    group_id = await control.group(alice)
    away = await control.device(group_id)
    async with agent_in(control, group_id) as agent:
        run = functools.partial(alice.request, "runcommands", cmds="true", reply=True)
        assert (await run(nodeids=[away.id], type=0))["result"] == "Agent not connected"
        assert (await run(nodeids=[agent.node_id()], type=2))["result"] == "Invalid command type"
        assert (await run(nodeids=[agent.node_id()], type=7))["result"] == "Invalid command type"
        assert (await run(nodeids=[], type=0))["result"] == "Invalid nodeid"
        assert (await run(nodeids="x", type=0))["result"] == "Invalid nodeid"
        assert (await run(nodeids=["node//" + "Q" * 64], type=0))["result"] == "Invalid nodeid"
        long = await alice.request("runcommands", nodeids=[agent.node_id()], type=0, cmds="x" * 65_536)
        assert long["result"] == "Invalid commands"
        assert not any(message["action"] == "runcommands" for message in agent.messages)


async def test_windows_shells_are_for_windows(control):
    group_id = await control.group()
    async with agent_in(control, group_id, type_id=WINDOWS_SERVICE, run_command=answering("ran")) as agent:
        run = functools.partial(control.local.request, "runcommands", nodeids=[agent.node_id()], cmds="x", reply=True)
        assert (await run(type=2))["result"] == "ran: x"
        assert (await run(type=3))["result"] == "Invalid command type"


async def test_console_commands_need_two_rights_more(control):
    alice, bob = await control.user("alice"), await control.user("bob")
    group_id = await control.group(alice)
    async with agent_in(control, group_id) as agent:
        async with control.server.store.change(AuditEntry("server", "test")) as change:
            user = control.server.store.users.get("user//bob")
            change.update(user, links={group_id: Link(rights=rights.RUN_COMMANDS | rights.REMOTE_CONTROL)})
        run = {"nodeids": [agent.node_id()], "type": 4, "cmds": "help"}
        assert (await bob.request("runcommands", **run))["result"] == "Access denied"
        assert (await alice.request("runcommands", **run))["result"] == "OK"
        await agent.until(lambda agent: any(message.get("type") == "console" for message in agent.messages))
        console = next(message for message in agent.messages if message.get("type") == "console")
        assert (console["value"], console["userid"]) == ("help", "user//alice")


async def test_who_waits_is_told_when_the_agent_leaves(control):
    alice = await control.user("alice")
    group_id = await control.group(alice)
    async with agent_in(control, group_id) as agent:
        await alice.send(
            {"action": "runcommands", "nodeids": [agent.node_id()], "type": 0, "cmds": "sleep", "reply": True}
            | {"responseid": "late", "tag": 1}
        )
        await alice.event("runcommands")
    reply = await alice.wait_for(lambda message: message.get("responseid") == "late")
    assert (reply["action"], reply["result"], reply["tag"]) == ("runcommands", "Agent not connected", 1)


async def test_who_waits_is_told_when_the_time_is_up(control, monkeypatch):
    monkeypatch.setattr("meshcentral_control.devices.commands.GRACE_SECONDS", -0.99)
    group_id = await control.group()
    async with agent_in(control, group_id) as agent:
        reply = await control.local.request(
            "runcommands", nodeids=[agent.node_id()], type=0, cmds="sleep", reply=True, timeout=1
        )
        assert reply["result"] == "Timeout"


async def test_waiting_is_limited_in_number(control, monkeypatch):
    monkeypatch.setattr(agent_messages, "MAX_WAITING", 2)
    group_id = await control.group()
    async with agent_in(control, group_id) as agent:
        for number in (1, 2):
            await control.local.send(
                {"action": "runcommands", "nodeids": [agent.node_id()], "type": 0, "cmds": "x", "reply": True}
                | {"responseid": number}
            )
            await control.local.event("runcommands")
        reply = await control.local.request("runcommands", nodeids=[agent.node_id()], type=0, cmds="x", reply=True)
        assert reply["result"].startswith("Too many answers")


async def test_messages_of_agents_reach_only_who_may_see_the_device(control):
    alice, bob = await control.user("alice"), await control.user("bob")
    group_id = await control.group(alice)
    async with agent_in(control, group_id) as agent:
        target = {"action": "msg", "type": "console", "value": "to all", "nodeid": "node//forged"}
        await agent.send_json(target)
        message = await alice.wait_for(lambda message: message["action"] == "msg")
        assert message == {"action": "msg", "type": "console", "value": "to all", "nodeid": agent.node_id()}
        await agent.send_json({"action": "msg", "type": "ps", "value": "{}", "userid": "user//bob"})
        await agent.send_json({"action": "msg", "type": "ps", "value": "{}", "sessionid": "user//bob/0"})
        await agent.send_json({"action": "msg", "type": "ps", "value": "{}", "userid": "user//alice"})
        own = await alice.wait_for(lambda message: message.get("type") == "ps")
        assert own["userid"] == "user//alice"
        assert [message for message in await bob.settle() if message["action"] == "msg"] == []


async def test_only_the_device_that_was_asked_can_answer_and_once(control):
    """Even another device of the same group that knows the session and the number of the request."""
    alice = await control.user("alice")
    group_id = await control.group(alice)
    other = FakeAgent(
        AgentKey.generate(2048), server_id=control.server.certificates.agent_server_hash, group_id=group_id
    )
    async with (
        agent_in(control, group_id) as asked,
        other.connected(f"wss://127.0.0.1:{control.server.port}/agent.ashx"),
    ):
        run = {"action": "runcommands", "nodeids": [asked.node_id()], "type": 0, "cmds": "id", "reply": True}
        await alice.send({**run, "responseid": "mine"})
        await asked.until(lambda agent: any(message["action"] == "runcommands" for message in agent.messages))
        order = next(message for message in asked.messages if message["action"] == "runcommands")
        answer = {"action": "msg", "type": "runcommands", "sessionid": order["sessionid"], "responseid": "mine"}
        for forged in (answer, {**answer, "sessionid": None}, {**answer, "sessionid": None, "userid": "user//alice"}):
            await other.send_json({**forged, "result": "forged"})
        await other.send_json({"action": "ping"})
        await other.until(lambda agent: {"action": "pong"} in agent.messages)
        await asked.send_json({**answer, "responseid": "another", "result": "forged"})
        await asked.send_json({**answer, "result": "true"})
        await asked.send_json({**answer, "result": "again"})
        await asked.send_json({"action": "ping"})
        await asked.until(lambda agent: {"action": "pong"} in agent.messages)
        answers = [message for message in await alice.settle() if message["action"] == "msg"]
        assert [(message["result"], message["nodeid"]) for message in answers] == [("true", asked.node_id())]


async def test_a_right_taken_away_stops_answers(control):
    alice = await control.user("alice")
    group_id = await control.group(alice)
    async with agent_in(control, group_id) as agent:
        await alice.request("runcommands", nodeids=[agent.node_id()], type=0, cmds="x")
        await agent.until(lambda agent: any(message["action"] == "runcommands" for message in agent.messages))
        session_id = next(m for m in agent.messages if m["action"] == "runcommands")["sessionid"]
        async with control.server.store.change(AuditEntry("server", "test")) as change:
            change.update(control.server.store.users.get("user//alice"), links={})
        control.server.bus.signal(SessionControl.RESUBSCRIBE, ["user//alice"])
        await agent.send_json({"action": "msg", "type": "runcommands", "result": "out", "sessionid": session_id})
        await agent.send_json({"action": "msg", "type": "marker"})
        await control.local.wait_for(lambda message: message.get("type") == "marker")
        assert [message for message in await alice.settle() if message["action"] == "msg"] == []


async def test_an_agent_that_repeats_itself_is_disconnected(control):
    group_id = await control.group()
    async with agent_in(control, group_id) as agent:
        for _ in range(agent_messages.MAX_REPEATS):
            await agent.send_json({"action": "msg", "type": "console", "value": "again"})
        gone = await control.local.wait_for(
            lambda message: message["action"] == "event" and message["event"].get("conn") == 0
        )
        assert gone["event"]["nodeid"] == agent.node_id()


async def test_removed_devices_do_not_come_back_by_their_own_farewell(control):
    group_id = await control.group()
    async with agent_in(control, group_id) as agent:
        node_id = agent.node_id()
        assert (await control.local.request("removedevices", nodeids=[node_id]))["result"] == "ok"
        with pytest.raises(Exception, match=r"closed|not connected"):
            async with asyncio.timeout(10):
                await agent.until(lambda agent: False)
        assert control.server.agents.get(node_id) is None
        assert control.server.store.devices.get(node_id) is None
