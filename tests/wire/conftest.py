"""Fixtures of the wire tests: a data folder and the real agent."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.installation import Installation, free_ports


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """An initialised data folder; nothing serves it yet."""
    made = Installation(tmp_path / "data", free_ports(3))
    made.mesh("init", "--cert-name", "localhost", "--fast-cert", "--json")
    yield made
    made.stop()


@pytest.fixture(scope="session")
def peer() -> Path:
    """The unpacked npm package meshcentral; the test is skipped, visibly, without it."""
    folder = Path(os.environ.get("MESH_PEER_DIR", ""))
    if not os.environ.get("MESH_PEER_DIR") or not (folder / "package.json").is_file():
        pytest.skip("the peer's package is not there: run `make peer` and set MESH_PEER_DIR")
    return folder


@pytest.fixture
def agent_program(peer: Path, tmp_path: Path) -> Path:
    """A copy of the real agent in a folder of its own (it keeps its database beside itself)."""
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        pytest.skip("the real agent is run on Linux x86-64 only")
    folder = tmp_path / "agent"
    folder.mkdir()
    program = folder / "meshagent"
    shutil.copy(peer / "agents" / "meshagent_x86-64", program)
    program.chmod(0o700)
    return program
