"""Our core in the real agent's engine. Needs the peer's package: `make peer`."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from meshcentral.core.server import Server
from meshcentral.plugins import AgentAction, AgentSession, CoreModule, DeviceGroup, Plugin, hookimpl
from meshcentral.plugins.testing.events import BusLog
from meshcentral.plugins.testing.server import MeshServers
from meshcentral_agents import api
from meshcentral_agents.plugin import AgentsPlugin
from meshcentral_agents.settings import compose_settings
from meshcentral_protocol.identifiers import new_group_id

pytestmark = [pytest.mark.peer, pytest.mark.slow]

Listen = Callable[[Server], BusLog]
CALLER = api.Caller("user//ann/1", "user//ann", "ann", 0xFFFFFFFF, "192.0.2.1")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A copy of the real agent in a folder of its own, where it keeps its database."""
    package = Path(os.environ.get("MESH_PEER_DIR", ""))
    source = package / "agents" / "meshagent_x86-64"
    if not os.environ.get("MESH_PEER_DIR") or not source.is_file():
        pytest.skip("the peer's package is not there: run `make peer` and set MESH_PEER_DIR")
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        pytest.skip("the real agent is run on Linux x86-64 only")
    folder = tmp_path / "agent"
    folder.mkdir()
    copy = folder / "meshagent"
    shutil.copy(source, copy)
    copy.chmod(0o700)
    return copy


class Answers(Plugin):
    """Collects what agents answer, and adds a module to their core."""

    name = "answers"
    source = "module.exports = { attach: function (dispatch) { dispatch.on('which', function (message) { "
    source += "dispatch.send({ action: 'msg', responseid: message.responseid, result: 'one' }); }); } };"

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Future[Mapping[str, Any]]] = {}

    @hookimpl
    def register_core_modules(self) -> Iterable[CoreModule]:
        yield CoreModule("test-which", self.source)

    @hookimpl
    def register_agent_actions(self) -> Iterable[AgentAction]:
        yield AgentAction("msg", self._answered)

    async def _answered(self, session: AgentSession, message: Mapping[str, Any]) -> None:
        self._waiting.pop(message["responseid"]).set_result(message)

    async def ask(self, session: AgentSession, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """Send a message and return the answer to it."""
        answer: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[message["responseid"]] = answer
        session.send_json(message)
        async with asyncio.timeout(30):
            return await answer


class OtherAnswers(Answers):
    """The same with another version of the module."""

    source = Answers.source.replace("'one'", "'two'")


def answers_of(server: Server) -> Answers:
    plugin = next(record.plugin for record in server.plugins if record.name == "answers")
    assert isinstance(plugin, Answers)
    return plugin


@contextmanager
def running(program: Path, settings: str) -> Iterator[None]:
    """The agent in the foreground, in a process group of its own."""
    program.with_suffix(".msh").write_text(settings, newline="")
    with program.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(
            [str(program), "run"], cwd=program.parent, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


async def connected(server: Server, log: BusLog) -> AgentSession:
    """The session of the agent once its core is ready."""
    async with asyncio.timeout(30):
        while not any(event.get("step") == "ready" for event in log.events):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    (session,) = server.agents
    return session


@pytest.fixture
async def server(mesh_server: MeshServers) -> Server:
    """A server with a group named office."""
    server = await mesh_server([AgentsPlugin, Answers])
    server.store.note(DeviceGroup(id=new_group_id(), name="office"))
    return server


async def test_commands_run_in_the_real_engine(server: Server, program: Path, bus_log: Listen) -> None:
    log = bus_log(server)
    (group,) = server.store.groups
    with running(program, compose_settings(server, group)):
        session = await connected(server, log)
        device = session.device
        assert device.agent is not None
        assert (device.agent.core, device.agent.root) == ("mesh core 0.1.0", os.getuid() == 0)
        assert device.operating_system
        network = await api.network_of(server, device.id)
        assert network is None or "lo" in network["netif2"]
        answers = answers_of(server)

        async def run(identifier: str, commands: str, **options: Any) -> tuple[str, int | None]:
            message = api.run_commands_message(CALLER, commands, response_id=identifier, **options)
            answer = await answers.ask(session, message)
            assert answer["sessionid"] == CALLER.session_id
            return answer["result"], answer[api.EXIT_CODE]

        assert await run("1", "echo out; echo err >&2; echo out again; exit 7") == ("out\nerr\nout again\n", 7)
        assert await run("2", "true") == ("", 0)
        assert await run("3", "printf 'h\\303\\251 \\377 \\360\\237\\230\\200'; cat; echo é😀漢") == (
            "hé � 😀é😀漢\n",
            0,
        )
        assert (await run("4", "kill -9 $$"))[1] == 137
        assert await run("5", "head -c 3000000 /dev/zero | tr '\\0' x | wc -c") == ("3000000\n", 0)
        output, code = await run("6", "head -c 2000000 /dev/urandom")
        assert code == 0
        assert output.endswith("[output truncated: 951424 more bytes]\n")
        slow, fast = await asyncio.gather(run("7", "sleep 1; echo slow"), run("8", "echo fast"))
        assert (slow, fast) == (("slow\n", 0), ("fast\n", 0))
        assert await run("9", "echo a; sleep 20; echo b", timeout=1) == (
            "a\n\n[stopped: still running after 1 s]\n",
            None,
        )
        assert "unterminated" in (await run("10", 'echo "open'))[0].lower()
        session.send_json({"action": "ping"})
        refused = await answers.ask(
            session,
            api.run_commands_message(
                api.Caller("s", "user//b", "b", 8, ""), "touch /never", response_id="11", shell=api.Shell.SH
            ),
        )
        assert refused["error"] == "Access denied"
        (await log.wait_for("ifchange"))


async def test_a_changed_core_replaces_the_old_one(
    mesh_server: MeshServers, server: Server, program: Path, bus_log: Listen
) -> None:
    log = bus_log(server)
    (group,) = server.store.groups
    with running(program, compose_settings(server, group)):
        session = await connected(server, log)
        assert (await answers_of(server).ask(session, {"action": "which", "responseid": "a"}))["result"] == "one"
        port, data, node_id = server.port, server.paths.data, session.node_id
        await mesh_server.stop(server)
        server = await mesh_server([AgentsPlugin, OtherAnswers], settings={"port": port}, data=data)
        log = bus_log(server)
        session = await connected(server, log)
        assert session.node_id == node_id
        assert [event["step"] for event in log.events if event["action"] == "agentcore"][-3:] == [
            "pushed",
            "confirmed",
            "ready",
        ]
        assert (await answers_of(server).ask(session, {"action": "which", "responseid": "b"}))["result"] == "two"
