"""The table and the JSON document."""

from __future__ import annotations

import json

import pytest

from bench.figures import Measurement, Samples, Target
from bench.report import document, number, table

ROWS = [
    Measurement("storm", "CPU each", "ms", Samples.of([1, 2, 3]), Samples.of([10, 10, 10]), Target(0.15)),
    Measurement("storm", "rate", "agents/s", Samples.of([100.0]), None),
]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1234.5, "1234"), (99.95, "100"), (12.345, "12.3"), (0.1234, "0.123"), (0.00001, "0.000010")],
)
def test_numbers_have_three_digits_and_no_exponent(value: float, text: str) -> None:
    assert number(value) == text


def test_table_shows_spread_ratio_and_verdict() -> None:
    lines = table(ROWS).splitlines()
    assert lines[0].startswith("== storm")
    assert lines[3].split("  ")[0] == "CPU each"
    assert "1 / 2 / 3" in lines[3]
    assert "0.1 / 0.2 / 0.3" in lines[3]
    assert lines[3].endswith("NO")
    assert lines[4].endswith("-")


def test_document_is_json_with_every_round() -> None:
    cpu, rate = json.loads(json.dumps(document(ROWS, rounds=3)))["measurements"]
    assert cpu["ours"] == {"values": [1, 2, 3], "min": 1, "median": 2, "max": 3}
    assert cpu["ratio"]["median"] == pytest.approx(0.2)
    assert (cpu["target"], cpu["met"]) == ("<= 0.15 x", False)
    assert (rate["peer"], rate["ratio"], rate["met"]) == (None, None, None)
