"""Old records go, in batches; documents and the audit chain stay."""

# ruff: noqa: ASYNC240 (nothing else runs on this loop)
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from meshcentral.core.store.retention import BATCH
from meshcentral.core.store.tables import EVENT_TARGETS, EVENTS, POWER
from meshcentral.plugins.errors import UsageError
from meshcentral.plugins.store import Retention

if TYPE_CHECKING:
    from conftest import FixedClock, OpenStore


async def test_old_events_go_with_their_targets(open_store: OpenStore, clock: FixedClock) -> None:
    store = await open_store()
    store.record_event({"action": "old"}, ["*", "node//1"])
    store.record_power("node//1", 1, 0)
    clock.advance(days=11)
    store.record_event({"action": "new"}, ["*"])
    await store.flush()
    assert await store.purge() == {"events": 0, "power": 1}
    clock.advance(days=10)
    assert await store.purge() == {"events": 1, "power": 0}
    assert [event["action"] for event in await store.events(None, limit=5)] == ["new"]
    assert [row["target"] for row in await store.rows(select(EVENT_TARGETS))] == ["*"]
    assert await store.rows(select(POWER)) == []


@pytest.mark.parametrize("step", [0, 1])
async def test_more_than_a_batch_and_any_spread_of_times(open_store: OpenStore, clock: FixedClock, step: int) -> None:
    store = await open_store()
    for _ in range(2 * BATCH + 7):
        store.record_event({"action": "old"}, ["*"])
        clock.advance(milliseconds=step)
    clock.advance(days=21)
    store.record_event({"action": "new"}, ["*"])
    await store.flush()
    assert (await store.purge())["events"] == 2 * BATCH + 7
    assert len(await store.rows(select(EVENTS.c.seq))) == 1


async def test_settings_override_the_core_s_days_and_zero_keeps_all(open_store: OpenStore, clock: FixedClock) -> None:
    store = await open_store(retention=[Retention("events", 0), Retention("power", 1)])
    store.record_event({"action": "old"}, ["*"])
    store.record_power("node//1", 1, 0)
    clock.advance(days=2)
    await store.flush()
    assert await store.purge() == {"power": 1}


async def test_a_table_that_is_not_there_does_not_stop_the_others(
    open_store: OpenStore, clock: FixedClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = await open_store(retention=[Retention("nothing; DROP TABLE events", 1)])
    assert await store.purge() == {"events": 0, "power": 0}
    assert "could not be deleted" in caplog.text


@pytest.mark.parametrize(("table", "days"), [("audit", 30), ("documents", 30), ("events", -1)])
async def test_rules_that_cannot_be(open_store: OpenStore, database: Path, table: str, days: int) -> None:
    with pytest.raises(UsageError, match=table):
        await open_store(retention=[Retention(table, days)])
    assert not database.exists()
