from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from meshcentral_agents.event_budget import EventBudget, Verdict

KEEP, FIRST_OVER, OVER = Verdict.KEEP, Verdict.FIRST_OVER, Verdict.OVER


def test_each_device_has_its_own_budget_in_each_window() -> None:
    now = [0.0]
    clock: Any = SimpleNamespace(monotonic=lambda: now[0])
    budget = EventBudget(clock, events=2, seconds=60)
    assert [budget.take("a") for _ in range(5)] == [KEEP, KEEP, FIRST_OVER, OVER, OVER]
    assert budget.take("b") is KEEP
    now[0] = 60.0
    assert [budget.take("a") for _ in range(3)] == [KEEP, KEEP, FIRST_OVER]
