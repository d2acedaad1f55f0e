"""The unmodified agent against a served folder, driven as an administrator would: through `mesh` alone."""

from __future__ import annotations

import subprocess
from base64 import b64decode
from pathlib import Path

import pytest
from support.installation import Installation, eventually

pytestmark = [pytest.mark.peer, pytest.mark.slow, pytest.mark.timeout(240)]


def start_agent(installation: Installation, program: Path, group: str) -> subprocess.Popen[bytes]:
    """Write the group's settings beside the program and run it in the foreground."""
    program.with_name("meshagent.msh").write_text(installation.mesh("group", "msh", group).stdout)
    return installation.start(str(program), "run", log=program.with_name("agent.log"), cwd=program.parent)


def node_id(program: Path) -> str:
    """What the agent says of itself: 96 hex digits."""
    done = subprocess.run([str(program), "-nodeid"], cwd=program.parent, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def as_hex(device_id: str) -> str:
    """The key hash inside a device id, as the agent prints it."""
    return b64decode(device_id.rsplit("/", 1)[-1].replace("@", "+").replace("$", "/")).hex().upper()


def test_a_real_agent_is_a_device_and_runs_commands(installation: Installation, agent_program: Path) -> None:
    installation.json("user", "add", "admin", "--site-admin", "--password-stdin", text="correct horse battery 9\n")
    installation.serve()
    group = installation.json("group", "add", "office")
    tail = installation.tail()
    agent = start_agent(installation, agent_program, "office")

    device = eventually(installation.connected, "the agent is listed")[0]
    assert device["group"] == "office"
    assert group["id"].startswith("mesh//")
    assert as_hex(device["id"]) == node_id(agent_program)

    eventually(lambda: tail.seen("agentcore", step="ready"), "the core is confirmed")
    assert "Debian" in installation.connected()[0]["os"] or "Linux" in installation.connected()[0]["os"]

    ran = installation.json("device", "run", device["id"], "--", "echo", "it's", "a $HOME", "ä漢")
    assert ran == [{"id": device["id"], "output": "it's a $HOME ä漢\n", "exit_code": 0, "error": None}]
    ran = installation.json("device", "run", device["id"], "--shell", "echo out; echo err >&2; exit 7")
    assert ran[0]["exit_code"] == 7
    assert sorted(ran[0]["output"].split()) == ["err", "out"]
    ran = installation.json("device", "run", device["id"], "--shell", "seq 1 20000")
    assert ran[0]["output"].split() == [str(number) for number in range(1, 20001)]

    eventually(lambda: tail.seen("addnode"), "the device's arrival is told")
    eventually(lambda: tail.seen("nodeconnect", conn=1), "the connection is told")
    eventually(lambda: tail.seen("runcommands"), "the command is told")

    agent.terminate()
    eventually(lambda: not installation.connected(), "the agent's end is seen")
    eventually(lambda: tail.seen("nodeconnect", conn=0), "the disconnection is told")


def test_the_agent_comes_back_by_itself(installation: Installation, agent_program: Path) -> None:
    installation.serve()
    installation.json("group", "add", "office")
    tail = installation.tail()
    start_agent(installation, agent_program, "office")
    device = eventually(installation.connected, "the agent is listed")[0]
    eventually(lambda: tail.seen("agentcore", step="ready"), "the core is confirmed")

    # A server that dies without a word: the agent knows its certificate and takes the fast path.
    installation.kill_server()
    installation.serve()
    again = eventually(installation.connected, "the agent is back after kill -9")[0]
    assert again["id"] == device["id"]
    eventually(lambda: tail.seen("nodeconnect", conn=1, fastpath=True), "the fast path is used")

    # A new web certificate: connected agents stay, and the next connect proves the server anew.
    installation.json("cert", "rotate", "web")
    eventually(lambda: tail.seen("certificatechange", purpose="web"), "the rotation is told")
    assert installation.connected()[0]["id"] == device["id"]
    installation.kill_server()
    installation.serve()
    eventually(installation.connected, "the agent is back after the rotation")
    eventually(lambda: len(tail.seen("nodeconnect", conn=1, fastpath=False)) == 2, "the slow path is used")
    ran = installation.json("device", "run", device["id"], "--", "true")
    assert ran[0]["exit_code"] == 0
    assert len(installation.devices()) == 1
