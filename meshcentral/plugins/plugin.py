"""The base class of plugins."""

from __future__ import annotations

from typing import ClassVar

API_VERSION = (1, 0)
"""Major: breaking. Minor: additions. A plugin written for a higher minor or another major is not loaded."""


class Plugin:
    """A feature. An entry point in group `meshcentral` names a subclass; each server makes its own instance.

    Implement hooks with `@hookimpl`. Keep `plugin.py` light: import heavy modules inside the functions that need
    them.
    """

    name: ClassVar[str]
    requires: ClassVar[tuple[str, ...]] = ()
    """Loaded and healthy first, else this plugin is not loaded."""
    after: ClassVar[tuple[str, ...]] = ()
    """Ordering only."""
    api: ClassVar[tuple[int, int]] = API_VERSION
    summary: ClassVar[str] = ""
    hookspecs: ClassVar[type | None] = None
    """Hooks that this plugin offers to others."""
