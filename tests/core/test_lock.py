"""Only one process has the data folder, and a dead one does not keep it."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from meshcentral.core.lock import DataFolderLock
from meshcentral.core.paths import DataPaths
from meshcentral.plugins.errors import Busy, ConfigurationError

HOLDER = """
import sys
from meshcentral.core.lock import DataFolderLock
from meshcentral.core.paths import DataPaths
with DataFolderLock(DataPaths.at(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def paths(tmp_path: Path) -> DataPaths:
    paths = DataPaths.at(tmp_path / "mesh")
    paths.create()
    return paths


def test_a_second_holder_is_told_who_has_it(paths: DataPaths) -> None:
    with DataFolderLock(paths), pytest.raises(Busy, match=f"process {os.getpid()}") as caught:
        DataFolderLock(paths).acquire()
    assert caught.value.hint
    with DataFolderLock(paths):
        assert stat.S_IMODE(paths.lock_file.stat().st_mode) == 0o600


def test_releasing_twice_is_harmless_and_frees_it_once(paths: DataPaths) -> None:
    first, second = DataFolderLock(paths), DataFolderLock(paths)
    first.acquire()
    first.release()
    second.acquire()
    first.release()
    with pytest.raises(Busy):
        first.acquire()
    second.release()


def test_a_killed_holder_does_not_keep_it(paths: DataPaths) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(paths.data)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(Busy, match=f"process {holder.pid}"):
            DataFolderLock(paths).acquire()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with DataFolderLock(paths):
        assert paths.lock_file.read_text() == f"{os.getpid()}\n"


def test_programs_that_we_start_do_not_inherit_it(paths: DataPaths) -> None:
    lock = DataFolderLock(paths)
    lock.acquire()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False) as child:
        lock.release()
        with DataFolderLock(paths):
            child.communicate(b"\n")


def test_a_lock_file_that_cannot_be_opened(paths: DataPaths) -> None:
    paths.lock_file.mkdir()
    with pytest.raises(ConfigurationError, match=r"mesh\.lock cannot be opened: Is a directory"):
        DataFolderLock(paths).acquire()
