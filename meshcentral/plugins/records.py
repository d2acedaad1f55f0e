"""What became of each plugin that was found."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any

from meshcentral.plugins.plugin import Plugin


class State(enum.Enum):
    """What became of a plugin."""

    LOADED = "loaded"
    FAILED = "failed"
    """It is broken; `problem` says how."""
    BLOCKED = "blocked"
    """The configuration disables it; it was not even imported."""
    NOT_LOADED = "not-loaded"
    """Something that it requires is not there."""


@dataclass(frozen=True, slots=True)
class PluginRecord:
    """One plugin that was found, and what became of it."""

    name: str
    version: str
    distribution: str
    """The installed distribution that it comes from; for classes given by hand, their module."""
    state: State
    problem: str = ""
    """A sentence for people; empty when all is well."""
    plugin: Plugin | None = field(default=None, repr=False)
    hooks: tuple[str, ...] = ()
    """The hooks that it implements, sorted."""
    errors: int = 0
    """How often it has failed in a hook since the start."""

    def describe(self) -> dict[str, Any]:
        """As JSON, for the control channel."""
        kind = type(self.plugin) if self.plugin else Plugin
        return {
            "name": self.name,
            "version": self.version,
            "distribution": self.distribution,
            "state": self.state.value,
            "problem": self.problem,
            "summary": kind.summary,
            "requires": list(kind.requires),
            "after": list(kind.after),
            "hooks": list(self.hooks),
            "errors": self.errors,
        }
