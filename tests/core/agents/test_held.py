from __future__ import annotations

from datetime import UTC, datetime

from meshcentral.core.agents.held import ANNOUNCE_WINDOW, MAX_ANNOUNCED, MAX_HELD, HeldAgents
from meshcentral.plugins.agents import HeldAgent


def held(address="192.0.2.1", reason="unknown-group", node_id=None, detail=""):
    return HeldAgent(address, reason, detail, datetime(2030, 1, 1, tzinfo=UTC), node_id)


def test_one_entry_per_device_and_reason():
    agents = HeldAgents()
    assert agents.add(held(node_id="node//a"), 0)
    assert not agents.add(held(node_id="node//a", address="192.0.2.2", detail="newer"), 0)
    assert agents.add(held(node_id="node//a", reason="wrong-group-type"), 0)
    assert agents.add(held(node_id="node//b"), 0)
    assert [entry.detail for entry in agents.entries()] == ["newer", "", ""]
    agents.forget("node//a")
    assert [entry.node_id for entry in agents.entries()] == ["node//b"]


def test_strangers_cannot_fill_memory_or_the_event_log():
    agents = HeldAgents()
    announced = [agents.add(held(address=f"2001:db8::{number:x}"), 0) for number in range(2 * MAX_HELD)]
    assert len(agents.entries()) == MAX_HELD
    assert agents.entries()[-1].remote_address == f"2001:db8::{2 * MAX_HELD - 1:x}"
    assert sum(announced) == MAX_ANNOUNCED
    assert agents.add(held(), ANNOUNCE_WINDOW)
