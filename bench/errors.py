"""The one error that a benchmark ends with."""

from __future__ import annotations


class BenchError(Exception):
    """Something could not be measured, or a server did wrong: the text says what."""
