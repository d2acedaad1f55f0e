"""Samples, paired ratios, targets and the ledger."""

from __future__ import annotations

import math

import pytest

from bench.figures import Ledger, Measurement, Samples, Target, paired_ratios


def test_samples_summarise_what_they_hold() -> None:
    samples = Samples.of([3.0, 1.0, 2.0, 10.0])
    assert (samples.least, samples.median, samples.greatest) == (1.0, 2.5, 10.0)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1.0), (0.25, 1.0), (0.5, 2.0), (0.51, 3.0), (1.0, 4.0)])
def test_percentile_is_the_nearest_rank(share: float, expected: float) -> None:
    assert Samples.of([4.0, 2.0, 1.0, 3.0]).percentile(share) == expected


@pytest.mark.parametrize("values", [[], [math.nan], [1.0, math.inf]])
def test_samples_refuse_what_cannot_be_judged(values: list[float]) -> None:
    with pytest.raises(ValueError):
        Samples.of(values)


def test_ratios_are_taken_round_by_round() -> None:
    # The ratio of the medians would be 2: the pairs say 1, because the noise was the same for both.
    ratios = paired_ratios(Samples.of([1.0, 4.0, 5.0]), Samples.of([1.0, 4.0, 5.0]))
    assert ratios is not None
    assert ratios.values == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("peer", [[1.0], [1.0, 0.0]])
def test_rounds_that_do_not_pair_up_give_no_ratio(peer: list[float]) -> None:
    assert paired_ratios(Samples.of([1.0, 2.0]), Samples.of(peer)) is None


@pytest.mark.parametrize(
    ("target", "met"),
    [
        (Target(0.5), True),
        (Target(0.49), False),
        (Target(0.5, at_least=True), True),
        (Target(0.51, at_least=True), False),
        (Target(1.0, of="ours"), True),
        (Target(0.9, of="ours"), False),
        (None, None),
    ],
)
def test_targets_judge_the_median(target: Target | None, met: bool | None) -> None:
    row = Measurement("s", "n", "ms", Samples.of([0.1, 1.0, 9.0]), Samples.of([0.2, 2.0, 18.0]), target)
    assert row.met is met


def test_without_the_peer_only_our_own_figure_is_judged() -> None:
    ours = Samples.of([1.0])
    assert Measurement("s", "n", "ms", ours, None, Target(2.0)).met is None
    assert Measurement("s", "n", "ms", ours, None, Target(2.0, of="ours")).met is True


def test_targets_are_shown_with_what_they_bound() -> None:
    assert [str(Target(0.3)), str(Target(2, at_least=True)), str(Target(48, of="ours"))] == [
        "<= 0.3 x",
        ">= 2 x",
        "<= 48",
    ]


def test_ledger_keeps_rows_in_order_and_rounds_in_turn() -> None:
    ledger = Ledger()
    for round_number in (1.0, 2.0):
        ledger.record("storm", "CPU", "ms", "ours", round_number, Target(0.5))
        ledger.record("storm", "CPU", "ms", "peer", 4 * round_number)
        ledger.record("start", "RSS", "MiB", "ours", 70)
    storm, start = ledger.measurements()
    assert (storm.scenario, start.scenario) == ("storm", "start")
    assert storm.ratios is not None
    assert storm.ratios.values == (0.25, 0.25)
    assert storm.met is True
    assert start.peer is None


def test_ledger_refuses_a_second_unit() -> None:
    ledger = Ledger()
    ledger.record("storm", "CPU", "ms", "ours", 1)
    with pytest.raises(ValueError, match="not in us"):
        ledger.record("storm", "CPU", "us", "peer", 1)
