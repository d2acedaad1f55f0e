"""A served data folder that is driven only through the `mesh` command, and what was started for it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 30.0
"""Seconds to wait for something before the test fails; nothing is timed."""


def eventually(probe: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Wait until `probe()` is true, and return it."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if found := probe():
            return found
        time.sleep(0.1)
    pytest.fail(f"{what}: not within {patience:g} s")


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses now; a server is told to take them a moment later."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@dataclass
class Tail:
    """`mesh event tail --json`, collected."""

    process: subprocess.Popen[str]
    events: list[dict[str, Any]] = field(default_factory=list)

    def actions(self) -> list[str]:
        return [event["action"] for event in self.events]

    def seen(self, action: str, **members: Any) -> list[dict[str, Any]]:
        return [
            event
            for event in self.events
            if event["action"] == action and all(event.get(name) == value for name, value in members.items())
        ]

    def collect(self) -> None:
        """Read until the process ends."""
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.events.append(json.loads(line))


@dataclass
class Installation:
    """One data folder, its server process, and the agents started for it."""

    data: Path
    ports: list[int]
    processes: list[subprocess.Popen[Any]] = field(default_factory=list)
    server: subprocess.Popen[Any] | None = None
    readers: dict[int, threading.Thread] = field(default_factory=dict)

    def mesh(self, *arguments: str, text: str | None = None, exit_code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run the command to its end and check how it ended."""
        done = subprocess.run(
            [sys.executable, "-m", "meshcentral_cli", "--data", str(self.data), *arguments],
            input=text,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == exit_code, f"mesh {arguments} ended with {done.returncode}: {done.stderr}"
        return done

    def json(self, *arguments: str, text: str | None = None, exit_code: int = 0) -> Any:
        """Run `mesh NOUN VERB --json ...` and read what it prints."""
        noun, verb, *rest = arguments
        return json.loads(self.mesh(noun, verb, "--json", *rest, text=text, exit_code=exit_code).stdout)

    def start(self, *arguments: str, log: Path | None = None, **options: Any) -> subprocess.Popen[Any]:
        """Start a process that `stop` will end; `log` takes what it says on stderr (and stdout, if not taken)."""
        with open(log or os.devnull, "ab") as sink:
            process = subprocess.Popen(
                list(arguments), start_new_session=True, **{"stdout": sink, "stderr": sink, **options}
            )
        self.processes.append(process)
        return process

    def serve(self) -> None:
        port, redirect, mps = self.ports
        self.server = self.start(
            *(sys.executable, "-m", "meshcentral_cli", "--data", str(self.data)),
            *("serve", "--bind", "127.0.0.1", "--port", str(port)),
            *("--redirect-port", str(redirect), "--mps-port", str(mps), "--json"),
            log=self.data / "server.stderr",
            stdout=subprocess.PIPE,
        )
        assert self.server.stdout is not None
        line = self.server.stdout.readline()
        assert line, (self.data / "server.stderr").read_text()
        assert json.loads(line)["port"] == port

    def kill_server(self) -> None:
        """End the server without a word, as a power cut would."""
        assert self.server is not None
        assert self.server.stdout is not None
        self.server.stdout.close()
        self.server.kill()
        self.server.wait(10)

    def tail(self) -> Tail:
        tail = Tail(
            self.start(
                *(sys.executable, "-m", "meshcentral_cli", "--data", str(self.data), "event", "tail", "--json"),
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        reader = threading.Thread(target=tail.collect)
        reader.start()
        self.readers[tail.process.pid] = reader
        return tail

    def devices(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.json("device", "list")
        return rows

    def connected(self) -> list[dict[str, Any]]:
        return [device for device in self.devices() if device["connected"]]

    def stop(self) -> None:
        """Everything that was started is ended by its pid: politely, then not."""
        for process in reversed(self.processes):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(5)
            if process.stdout is not None and self.readers.get(process.pid) is None:
                process.stdout.close()
        for reader in self.readers.values():
            reader.join(10)
