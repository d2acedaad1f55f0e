"""The command against a real server, stopped and running, each command line a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from meshcentral.plugins.testing.agents import FakeAgent

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PASSWORD = "correct horse battery staple"


class Mesh:
    """Command lines on one data folder."""

    def __init__(self, data: Path) -> None:
        self.data = data

    async def start(self, *arguments: str, **options: Any) -> asyncio.subprocess.Process:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MESH_")}
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "meshcentral_cli",
            "--data",
            str(self.data),
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            **options,
        )

    async def run(self, *arguments: str, stdin: str = "", code: int = 0) -> tuple[bytes, str]:
        """Stdout as bytes and stderr as text of a command that must end with `code`."""
        process = await self.start(*arguments)
        stdout, stderr = await process.communicate(stdin.encode())
        assert process.returncode == code, stderr.decode()
        return stdout, stderr.decode()

    async def json(self, *arguments: str, stdin: str = "", code: int = 0) -> Any:
        stdout, _ = await self.run("--json", *arguments, stdin=stdin, code=code)
        return json.loads(stdout)

    async def error(self, *arguments: str, stdin: str = "", code: int) -> dict[str, Any]:
        stdout, stderr = await self.run("--json", *arguments, stdin=stdin, code=code)
        assert stdout == b""
        error: dict[str, Any] = json.loads(stderr)["error"]
        return error

    @contextlib.asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator[dict[str, Any]]:
        """A running server; gives what it said when it listened. It must end in good order."""
        server = await self.start(
            "serve", "--bind", "127.0.0.1", "--port", str(port), "--redirect-port", "0", "--mps-port", "0", "--json"
        )
        assert server.stdout is not None
        line = await server.stdout.readline()
        try:
            yield json.loads(line)
        finally:
            server.terminate()
            _, stderr = await server.communicate()
        assert server.returncode == 0, stderr.decode()


@pytest.fixture
async def mesh(tmp_path: Path) -> Mesh:
    mesh = Mesh(tmp_path / "data")
    await mesh.json("init", "--cert-name", "localhost", "--fast-cert")
    return mesh


async def test_accounts_and_groups_with_the_server_stopped_and_running(mesh: Mesh) -> None:
    first = await mesh.json("user", "add", "ann", "--site-admin", "--password-stdin", stdin=f"{PASSWORD}\n")
    assert (first["id"], first["site_admin"], first["created_now"]) == ("user//ann", True, True)
    group = await mesh.json("group", "add", "office", "--owner", "ann")
    offline = await mesh.run("group", "msh", "office")

    async with mesh.serving() as listening:
        assert listening.keys() == {"event", "url", "port", "redirect_port", "mps_port", "data"}
        second = await mesh.json("user", "add", "bob", "--random-password")
        assert second["password"]
        assert (await mesh.json("user", "add", "bob", "--random-password", "--if-missing"))["created_now"] is False
        assert (await mesh.error("user", "add", "bob", "--random-password", code=1))["code"] == "conflict"
        assert [row["name"] for row in await mesh.json("user", "list")] == ["ann", "bob"]
        assert await mesh.json("user", "passwd", "bob", "--password-stdin", stdin=PASSWORD) == {"id": "user//bob"}
        assert [row["id"] for row in await mesh.json("group", "list")] == [group["id"]]
        online, _ = await mesh.run("group", "msh", group["id"])
        assert f"MeshServer=wss://localhost:{listening['port']}/agent.ashx".encode() in online
        status = await mesh.json("status")
        assert (status["serving"], status["users"], status["groups"]) == (True, 2, 1)
        assert (await mesh.error("serve", code=1))["code"] == "busy"

    assert _settings(offline[0])["ServerID"] == _settings(online)["ServerID"]
    assert (await mesh.json("user", "passwd", "bob", "--random-password"))["password"]
    assert await mesh.json("user", "remove", "bob") == {"id": "user//bob", "removed": True}
    assert (await mesh.error("user", "remove", "bob", code=5))["code"] == "not_found"
    assert await mesh.json("group", "remove", "office") == {"id": group["id"], "removed": True}
    assert await mesh.json("group", "list") == []
    report = await mesh.json("db", "check")
    assert report["ok"] is True
    assert report["audit"]["broken_at"] is None
    assert report["audit"]["rows"] >= 7
    assert await mesh.error("status", code=3)


async def test_agent_settings_are_written_whole_and_private(mesh: Mesh, tmp_path: Path) -> None:
    await mesh.run("group", "add", "office")
    stdout, _ = await mesh.run("group", "msh", "office")
    assert stdout.count(b"\r\n") == stdout.count(b"\n") > 3
    file = tmp_path / "meshagent.msh"
    await mesh.run("group", "msh", "office", "--output", str(file))
    assert file.read_bytes() == stdout
    assert file.stat().st_mode & 0o777 == 0o600
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".meshagent")]
    assert await mesh.error("group", "msh", "office", "--output", str(tmp_path / "absent" / "file"), code=1)


async def test_certificates_and_plugins(mesh: Mesh) -> None:
    before = {row["purpose"]: row["sha384"] for row in await mesh.json("cert", "list")}
    async with mesh.serving():
        rotated = {row["purpose"]: row["sha384"] for row in await mesh.json("cert", "rotate", "web")}
        after = {row["purpose"]: row["sha384"] for row in await mesh.json("cert", "list")}
        assert rotated["web"] == after["web"] != before["web"]
        assert after["root"] == before["root"]
        plugins = await mesh.json("plugins", "list")
        assert {"agents", "channel", "accounts", "devices"} <= {row["name"] for row in plugins}
        assert {row["state"] for row in plugins} == {"loaded"}
        assert (await mesh.json("plugins", "show", "channel"))["name"] == "channel"
        assert (await mesh.error("plugins", "show", "nothing", code=5))["code"] == "not_found"
    assert (await mesh.error("cert", "rotate", "root", code=2))["code"] == "usage"


async def test_commands_at_once_take_turns_on_a_stopped_server(mesh: Mesh) -> None:
    groups = await asyncio.gather(*(mesh.json("group", "add", f"group-{number}") for number in range(3)))
    assert [row["id"] for row in await mesh.json("group", "list")] == [group["id"] for group in groups]


async def test_the_tail_goes_on_after_a_restart_and_ends_when_interrupted(mesh: Mesh) -> None:
    async with mesh.serving() as listening:
        tail = await mesh.start("event", "tail", "--json", "--filter", "action=createmesh")
        assert tail.stdout is not None
        first = await _first_event(mesh, tail.stdout)
        assert first["mesh"]["name"].startswith("probe")
    async with mesh.serving(listening["port"]):
        second = await _first_event(mesh, tail.stdout)
        assert second["meshid"] != first["meshid"]
        tail.send_signal(signal.SIGINT)
        _, stderr = await tail.communicate()
    assert tail.returncode == 130
    assert b"Traceback" not in stderr


async def test_a_tail_without_reader_ends_quietly(mesh: Mesh) -> None:
    async with mesh.serving():
        reading, writing = os.pipe()
        tail = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "meshcentral_cli", "--data", str(mesh.data), "event", "tail", "--json"),
            stdout=writing,
            stderr=asyncio.subprocess.PIPE,
        )
        os.close(writing)
        os.close(reading)
        while tail.returncode is None:
            await mesh.run("group", "add", "probe")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(tail.wait(), 0.3)
        assert tail.returncode == 0
        assert tail.stderr is not None
        assert await tail.stderr.read() == b""


async def test_a_server_that_is_interrupted_while_starting_leaves_no_lock(mesh: Mesh) -> None:
    server = await mesh.start("serve", "--bind", "127.0.0.1", "--port", "0", "--redirect-port", "0", "--mps-port", "0")
    await asyncio.sleep(0.5)
    server.send_signal(signal.SIGINT)
    _, stderr = await server.communicate()
    assert b"Traceback" not in stderr
    assert await mesh.json("user", "list") == []


async def test_commands_run_on_devices(mesh: Mesh) -> None:
    group = await mesh.json("group", "add", "office")
    async with mesh.serving() as listening:
        settings = _settings((await mesh.run("group", "msh", "office"))[0])
        url = f"wss://127.0.0.1:{listening['port']}/agent.ashx"
        good, broken = (_agent(name, group["id"], settings["ServerID"], answer) for name, answer in ANSWERS.items())
        async with good.connected(url), broken.connected(url):
            await asyncio.gather(*(agent.until(lambda one: one.core_running) for agent in (good, broken)))
            rows = await mesh.json("device", "list")
            assert [(row["name"], row["group"], row["connected"]) for row in rows] == [
                ("broken", "office", True),
                ("good", "office", True),
            ]
            assert rows[1]["id"] == good.node_id()
            assert rows[1]["agent"]["type_id"] == 6

            assert await mesh.json("device", "run", good.node_id(), "--", "echo", "it's", "--json") == [
                {"id": good.node_id(), "output": "echo 'it'\"'\"'s' --json", "exit_code": 3, "error": None}
            ]
            stdout, _ = await mesh.run("device", "run", "good", "--shell", "a | b")
            assert stdout == b"a | b\n"
            both = await mesh.json("device", "run", "good", "broken", "--shell", "x", code=1)
            assert [(row["output"], row["exit_code"], row["error"]) for row in both] == [
                ("x", 3, None),
                ("", None, "no shell here"),
            ]
        away = await mesh.json("device", "run", good.node_id().rpartition("/")[2], "--shell", "x", code=1)
        assert away == [{"id": good.node_id(), "output": "", "exit_code": None, "error": "Agent not connected"}]
        assert (await mesh.json("device", "show", "good"))["connected"] is False
        assert (await mesh.error("device", "run", "nobody", "--shell", "x", code=5))["code"] == "not_found"


ANSWERS: dict[str, Any] = {
    "good": lambda message: {"result": message["cmds"], "exitcode": 3},
    "broken": lambda message: {"result": "no shell here", "exitcode": None, "error": "no shell here"},
}


class _Identity:
    """A key with a certificate of its own, as every agent has."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(65537, 2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "simulated")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .sign(self._key, hashes.SHA384())
        )
        self.certificate_der = certificate.public_bytes(Encoding.DER)

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data, padding.PKCS1v15(), hashes.SHA384())


def _agent(name: str, group_id: str, server_id: str, answer: Any) -> FakeAgent:
    return FakeAgent(
        _Identity(), server_id=bytes.fromhex(server_id), group_id=group_id, host_name=name, run_command=answer
    )


def _settings(msh: bytes) -> dict[str, str]:
    return dict(line.split("=", 1) for line in msh.decode().split("\r\n") if "=" in line)


async def _first_event(mesh: Mesh, stream: asyncio.StreamReader) -> dict[str, Any]:
    """Make groups until the tail, which may still be connecting, shows one."""
    async with asyncio.TaskGroup() as tasks:
        line = tasks.create_task(stream.readline())
        while not line.done():
            await mesh.run("group", "add", "probe")
            await asyncio.wait([line], timeout=0.3)
    event: dict[str, Any] = json.loads(line.result())
    return event


async def test_an_agent_that_may_not_go_on_is_listed_with_the_reason(mesh: Mesh) -> None:
    group = await mesh.json("group", "add", "office")
    settings = _settings((await mesh.run("group", "msh", "office"))[0])
    async with mesh.serving() as server:
        unknown = group["id"][:-8] + "AAAAAAAA"
        stranger = _agent("stranger", unknown, settings["ServerID"], lambda message: None)
        waiting = asyncio.get_running_loop().create_task(
            stranger.connect(f"wss://127.0.0.1:{server['port']}/agent.ashx")
        )
        try:
            held: list[dict[str, Any]] = []
            while not held:
                held = await mesh.json("agents", "held")
            assert held[0].keys() == {"id", "name", "address", "reason", "detail", "since"}
            assert (held[0]["id"], held[0]["name"], held[0]["reason"]) == (
                stranger.node_id(),
                "stranger",
                "unknown-group",
            )
            assert await mesh.json("device", "list") == []
        finally:
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await waiting
            await stranger.close()
    assert await mesh.json("agents", "list") == []


async def test_a_damaged_database_is_reported_and_not_served(mesh: Mesh) -> None:
    await mesh.json("group", "add", "office")
    database = mesh.data / "mesh.sqlite3"
    content = bytearray(database.read_bytes())
    for offset in range(4096, len(content), 512):
        content[offset] ^= 0xFF
    database.write_bytes(content)
    report = await mesh.json("db", "check", code=1)
    assert report["ok"] is False
    assert report["findings"]
    assert (await mesh.error("group", "list", code=1))["code"] == "database"
