"""Samples, paired ratios and targets: what a run knows when it is over. Pure; nothing here measures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Self

Side = Literal["ours", "peer"]


@dataclass(frozen=True, slots=True)
class Samples:
    """The figures of one measurement, one for each round, in the order of the rounds."""

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("there are no samples")
        if not all(map(math.isfinite, self.values)):
            raise ValueError(f"samples must be finite: {self.values}")

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        return cls(tuple(values))

    @property
    def least(self) -> float:
        return min(self.values)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def greatest(self) -> float:
        return max(self.values)

    def percentile(self, share: float) -> float:
        """The smallest value that at least `share` (0 to 1) of the values do not exceed (nearest rank)."""
        ordered = sorted(self.values)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def paired_ratios(ours: Samples, peer: Samples) -> Samples | None:
    """Ours / peer, round by round: both figures of a pair were taken one after the other, under the same noise.

    None when the rounds do not pair up, or the peer's figure is zero.
    """
    if len(ours.values) != len(peer.values) or not all(peer.values):
        return None
    return Samples.of(mine / theirs for mine, theirs in zip(ours.values, peer.values, strict=True))


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on the median: of the ratio ours/peer, or of our own figure in the measurement's unit."""

    limit: float
    of: Literal["ratio", "ours"] = "ratio"
    at_least: bool = False

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        return f"{sign} {self.limit:g}" + (" x" if self.of == "ratio" else "")

    def holds(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True, slots=True)
class Measurement:
    """One row of the report."""

    scenario: str
    name: str
    unit: str
    ours: Samples | None
    peer: Samples | None
    target: Target | None = None

    @property
    def ratios(self) -> Samples | None:
        return paired_ratios(self.ours, self.peer) if self.ours and self.peer else None

    @property
    def met(self) -> bool | None:
        """Whether the median keeps the target; None when there is no target or nothing to judge it by."""
        judged = self.ours if self.target is not None and self.target.of == "ours" else self.ratios
        return None if self.target is None or judged is None else self.target.holds(judged.median)


@dataclass(slots=True)
class _Row:
    unit: str
    target: Target | None
    values: dict[Side, list[float]] = field(default_factory=lambda: {"ours": [], "peer": []})


class Ledger:
    """Collects figures while the rounds go by; rows keep the order of their first figure."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], _Row] = {}

    def record(
        self, scenario: str, name: str, unit: str, side: Side, value: float, target: Target | None = None
    ) -> None:
        """Note one figure. The unit and target of a row are those of its first figure."""
        row = self._rows.setdefault((scenario, name), _Row(unit, target))
        if row.unit != unit:
            raise ValueError(f"{scenario}, {name}: in {row.unit}, not in {unit}")
        row.values[side].append(value)

    def measurements(self) -> Sequence[Measurement]:
        return [
            Measurement(
                scenario, name, row.unit, _samples(row.values["ours"]), _samples(row.values["peer"]), row.target
            )
            for (scenario, name), row in self._rows.items()
        ]


def _samples(values: Sequence[float]) -> Samples | None:
    return Samples.of(values) if values else None
