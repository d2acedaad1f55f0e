from __future__ import annotations

from meshcentral.core.agents.reconnects import WINDOW, ReconnectCounter, Verdict


def test_verdicts_by_count():
    counter = ReconnectCounter(0)
    verdicts = []
    for _ in range(8):
        verdicts.append(counter.verdict("node//a", 1))
        counter.disconnected("node//a", 1)
    assert verdicts == [Verdict.WELCOME] * 5 + [Verdict.CLEAR_CORE] * 2 + [Verdict.REFUSE]
    assert counter.verdict("node//b", 1) is Verdict.WELCOME


def test_counts_start_again_with_each_window():
    counter = ReconnectCounter(0)
    for _ in range(9):
        counter.disconnected("node//a", WINDOW - 1)
    assert counter.verdict("node//a", WINDOW - 1) is Verdict.REFUSE
    assert counter.verdict("node//a", WINDOW) is Verdict.WELCOME
