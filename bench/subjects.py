"""The servers under test, each in processes and folders of its own: ours and the peer."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Side
from bench.processes import Tree, free_ports, run_to_end, wait_for_port
from meshcentral_protocol.identifiers import rsa_key_hash
from meshcentral_protocol.keys import certificate_key

USER = "bench"
PASSWORD = "Only-for-load-1"  # noqa: S105 - of servers that live for seconds, on loopback
NAME = "mesh.localhost"
"""The name on the certificates; with a dot, so that the peer does not begin to search the local network."""


@dataclass(frozen=True, slots=True)
class Running:
    """A listening server."""

    tree: Tree
    port: int
    server_id: str
    """Hex key hash of the agent-server certificate."""
    group: str
    """Id of the device group for the agents; empty while there is none."""
    listening_after: float
    """Seconds from its launch."""


class Subject(ABC):
    """A server that can be started as often as needed, each time on a fresh copy of a prepared data folder."""

    side: Side

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "server.log"
        self.group = ""
        self._prepared = folder / "prepared"
        self._copies = 0

    @abstractmethod
    def set_up(self, data: Path) -> None:
        """Whatever must run before the first launch on an empty folder."""

    @abstractmethod
    def add_account(self, data: Path) -> None:
        """Make the administrator; the server is not running."""

    @abstractmethod
    def command(self, data: Path, ports: list[int]) -> list[str]:
        """What starts the server with these HTTPS, redirect and AMT ports."""

    @contextmanager
    def first_start(self) -> Iterator[Running]:
        """Serve an empty folder, keys and all; the time counts from the first command on."""
        self._copies += 1
        data = self.folder / f"data-{self._copies}"
        data.mkdir()
        begin = time.perf_counter()
        try:
            self.set_up(data)
            with self._serving(data, begin) as running:
                yield running
        finally:
            shutil.rmtree(data, ignore_errors=True)

    @contextmanager
    def prepared(self) -> Iterator[Running]:
        """Make the folder that `started` copies, and serve it once, for the caller to make a group."""
        self._prepared.mkdir()
        self.set_up(self._prepared)
        self.add_account(self._prepared)
        with self._serving(self._prepared, time.perf_counter()) as running:
            yield running

    @contextmanager
    def started(self) -> Iterator[Running]:
        """Serve a fresh copy of the prepared folder until the end of the block."""
        self._copies += 1
        data = self.folder / f"data-{self._copies}"
        shutil.copytree(self._prepared, data, ignore=shutil.ignore_patterns("*.sock", "run"))
        try:
            with self._serving(data, time.perf_counter()) as running:
                yield running
        finally:
            shutil.rmtree(data, ignore_errors=True)

    @contextmanager
    def _serving(self, data: Path, begin: float) -> Iterator[Running]:
        ports = free_ports(3)
        tree = Tree(self.command(data, ports), log=self.log)
        try:
            wait_for_port(ports[0], tree)
            listening_after = time.perf_counter() - begin
            yield Running(tree, ports[0], _server_id(data), self.group, listening_after)
        finally:
            tree.stop()


class OurServer(Subject):
    """This build, through the `mesh` command."""

    side: Side = "ours"

    def set_up(self, data: Path) -> None:
        run_to_end([*self._mesh(data), "init", "--cert-name", NAME], log=self.log)

    def add_account(self, data: Path) -> None:
        arguments = ["user", "add", USER, "--site-admin", "--password-stdin"]
        run_to_end([*self._mesh(data), *arguments], log=self.log, text=PASSWORD + "\n")

    def command(self, data: Path, ports: list[int]) -> list[str]:
        https, redirect, mps = map(str, ports)
        options = ["--bind", "127.0.0.1", "--port", https, "--redirect-port", redirect, "--mps-port", mps]
        return [*self._mesh(data), "serve", *options]

    @staticmethod
    def _mesh(data: Path) -> list[str]:
        return [sys.executable, "-m", "meshcentral_cli", "--data", str(data)]


class Peer(Subject):
    """The peer's package, from the folder that `make peer` fetched."""

    side: Side = "peer"

    def __init__(self, folder: Path, package: Path) -> None:
        super().__init__(folder)
        self._package = package

    def set_up(self, data: Path) -> None:
        self._configure(data, [443, 80, 4433])

    def add_account(self, data: Path) -> None:
        account = ["--createaccount", USER, "--pass", PASSWORD, "--email", "bench@example.com"]
        run_to_end([*self._node(data), *account], log=self.log)
        run_to_end([*self._node(data), "--adminaccount", USER], log=self.log)

    def command(self, data: Path, ports: list[int]) -> list[str]:
        self._configure(data, ports)
        return self._node(data)

    def _node(self, data: Path) -> list[str]:
        return ["node", str(self._package / "meshcentral.js"), "--datapath", str(data), "--configfile", "config.json"]

    @staticmethod
    def _configure(data: Path, ports: list[int]) -> None:
        https, redirect, mps = ports
        loopback = "127.0.0.1"
        settings = {
            "cert": NAME,
            "WANonly": True,
            "port": https,
            "portBind": loopback,
            "redirport": redirect,
            "redirPortBind": loopback,
            "mpsport": mps,
            "mpsPortBind": loopback,
            "exactports": True,
            "selfupdate": False,
            "agentTimeStampServer": False,
            "minify": False,
        }
        (data / "config.json").write_text(json.dumps({"settings": settings, "domains": {"": {}}}))


def peer_package() -> Path | None:
    """Where the peer is, when it can be run here."""
    folder = Path(os.environ.get("MESH_PEER_DIR", ""))
    usable = bool(os.environ.get("MESH_PEER_DIR")) and (folder / "meshcentral.js").is_file() and shutil.which("node")
    return folder if usable else None


def _server_id(data: Path) -> str:
    pem = (data / "agentserver-cert-public.crt").read_text()
    return rsa_key_hash(certificate_key(ssl.PEM_cert_to_DER_cert(pem))).hex()
