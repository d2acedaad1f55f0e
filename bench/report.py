"""The report: a table for people, one JSON document for programs."""

from __future__ import annotations

import os
import platform
import ssl
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from bench.figures import Measurement, Samples

_HEADINGS = ("measurement", "unit", "ours", "peer", "ours / peer", "target", "met")


def table(measurements: Sequence[Measurement]) -> str:
    """Every scenario as a block of aligned columns; `a / b / c` is min / median / max over the rounds."""
    blocks = []
    for scenario, rows in groupby(measurements, key=lambda row: row.scenario):
        lines = [_HEADINGS, *(_line(row) for row in rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADINGS))]
        text = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
        ]
        blocks.append("\n".join([f"== {scenario} (min / median / max)", text[0], "-" * sum(widths, 12), *text[1:]]))
    return "\n\n".join(blocks)


def document(measurements: Sequence[Measurement], rounds: int) -> dict[str, Any]:
    """All figures of all rounds, with what they are judged by."""
    return {
        "machine": {
            "cpus": os.cpu_count(),
            "system": platform.system(),
            "python": platform.python_version(),
            "openssl": ssl.OPENSSL_VERSION,
        },
        "rounds": rounds,
        "measurements": [
            {
                "scenario": row.scenario,
                "name": row.name,
                "unit": row.unit,
                "ours": _summary(row.ours),
                "peer": _summary(row.peer),
                "ratio": _summary(row.ratios),
                "target": None if row.target is None else str(row.target),
                "met": row.met,
            }
            for row in measurements
        ],
    }


def number(value: float) -> str:
    """Three significant digits, and no exponent."""
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}" if abs(value) >= 0.001 else f"{value:.6f}"


def _line(row: Measurement) -> tuple[str, ...]:
    met = {True: "yes", False: "NO", None: "-"}[row.met]
    target = "-" if row.target is None else str(row.target)
    return row.name, row.unit, _spread(row.ours), _spread(row.peer), _spread(row.ratios), target, met


def _spread(samples: Samples | None) -> str:
    if samples is None:
        return "-"
    if len(samples.values) == 1:
        return number(samples.median)
    return " / ".join(map(number, (samples.least, samples.median, samples.greatest)))


def _summary(samples: Samples | None) -> dict[str, Any] | None:
    if samples is None:
        return None
    return {
        "values": list(samples.values),
        "min": samples.least,
        "median": samples.median,
        "max": samples.greatest,
    }
