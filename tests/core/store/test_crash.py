"""kill -9: what was acknowledged is there, and the database is sound."""

# ruff: noqa: ASYNC221 (nothing else runs on this loop)
from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from meshcentral.core.store.check import check_database

if TYPE_CHECKING:
    from conftest import OpenStore

ROUNDS = 20


@pytest.mark.slow
async def test_every_acknowledged_change_survives_kill_9(open_store: OpenStore, database: Path) -> None:
    store = await open_store()
    await store.close()
    script = Path(__file__).with_name("crash_writer.py")
    result = subprocess.run(
        [sys.executable, str(script), str(database), str(ROUNDS), "42"], capture_output=True, text=True, timeout=90
    )
    assert result.returncode == 0, result.stderr
    acknowledged = result.stdout.split()
    assert len({group_id.split("-")[0] for group_id in acknowledged}) == ROUNDS
    store = await open_store()
    missing = [group_id for group_id in acknowledged if store.groups.get(group_id) is None]
    assert missing == []
    # At most the one change of each round that was under way is there without having been acknowledged.
    assert len(acknowledged) <= len(store.groups) <= len(acknowledged) + ROUNDS
    report = await store.verify_audit()
    assert (report.rows, report.broken_at) == (len(store.groups), None)
    await store.close()
    assert check_database(database).sound
