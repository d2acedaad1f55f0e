"""Processes under measurement: what their whole tree uses, and how they are ended."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

from bench.errors import BenchError

OPEN_FILES = 16_384
STOP_SECONDS = 15.0


def last_words(log: Path, size: int = 800) -> str:
    """The end of a log; empty when there is none."""
    return log.read_text(errors="replace")[-size:].strip() if log.exists() else ""


def allow_many_sockets() -> None:
    """Raise the limit of open files for this process and those it starts, as far as the system lets us."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def keep_byte_code(folder: Path) -> None:
    """Let the Python processes that we start keep their byte code, as installed programs do: start-up takes three
    times as long without it. It goes to a folder of its own, since the environment may forbid it beside the sources."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(folder)


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody uses now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Tree:
    """A started process with all its descendants. It leads a process group of its own, by which it is ended."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
        pipes: bool = False,
    ) -> None:
        """`log` takes stderr, and stdout as well unless `pipes` asks for stdin and stdout."""
        self._log = log
        with log.open("ab") as sink:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipes else sink,
                stderr=sink,
                cwd=folder,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def last_words(self) -> str:
        """The end of what it wrote to its log."""
        return last_words(self._log)

    def cpu_seconds(self) -> float:
        """User and system time of the tree since its start, descendants that have ended included."""
        total = 0.0
        for process in self._members():
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system + times.children_user + times.children_system
        return total

    def resident_bytes(self) -> int:
        """RSS summed over the tree."""
        total = 0
        for process in self._members():
            try:
                total += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        return total

    def wait(self, seconds: float) -> int:
        """The exit code. Raises BenchError when it does not end in time."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise BenchError(f"a command did not end within {seconds:g} s: {self.last_words()}") from None

    def stop(self) -> None:
        """End the whole group: politely, then not. Harmless when it has ended."""
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        self._signal(signal.SIGKILL)
        self._process.wait(STOP_SECONDS)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            pass

    def _members(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self._process.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            raise BenchError(f"a server has ended by itself: {self.last_words()}") from None


def run_to_end(command: Sequence[str], *, log: Path, seconds: float = 60.0, text: str = "") -> str:
    """Run a short command and return its stdout. Raises BenchError when it fails or takes too long."""
    with log.open("ab") as sink:
        try:
            done = subprocess.run(
                list(command), input=text.encode(), stdout=subprocess.PIPE, stderr=sink, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired:
            raise BenchError(f"{command[0]} did not end within {seconds:g} s") from None
    if done.returncode:
        raise BenchError(f"{' '.join(command)} failed: {last_words(log)}")
    return done.stdout.decode()


def wait_for_port(port: int, tree: Tree, seconds: float = 90.0) -> None:
    """Until the loopback port accepts connections. Raises BenchError when the process ends or time is up."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        except OSError:
            if not tree.running:
                raise BenchError(f"a server ended while it started: {tree.last_words()}") from None
            time.sleep(0.01)
        else:
            return
    raise BenchError(f"nothing listens on port {port} after {seconds:g} s: {tree.last_words()}")
