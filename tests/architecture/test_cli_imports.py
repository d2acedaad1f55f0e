"""`mesh --help` stays quick: what it imports, and what that costs beside an empty Python."""

from __future__ import annotations

import re
import subprocess
import sys
import time

HEAVY = {"quart", "hypercorn", "sqlmodel", "sqlalchemy", "alembic", "cryptography", "rich", "websockets", "argon2"}
MOST = 12
"""Times the cost of a Python that does nothing."""


def _run(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60, check=True)
    return done.stderr


def test_help_imports_nothing_heavy() -> None:
    report = _run("-X", "importtime", "-m", "meshcentral_cli", "--help")
    imported = {match.split(".")[0] for match in re.findall(r"\|\s+([\w.]+)$", report, flags=re.MULTILINE)}
    assert "typer" in imported
    assert not imported & HEAVY
    assert "meshcentral.core" not in report


def test_help_costs_a_small_multiple_of_an_empty_program() -> None:
    def cost(*arguments: str) -> float:
        begin = time.perf_counter()
        _run(*arguments)
        return time.perf_counter() - begin

    # Alternating, and the best of five: what else the machine does hits both or neither.
    pairs = [(cost("-c", "pass"), cost("-m", "meshcentral_cli", "--help")) for _ in range(5)]
    empty, shown = (min(times) for times in zip(*pairs, strict=True))
    assert shown <= MOST * empty, f"{shown / empty:.1f} times"
