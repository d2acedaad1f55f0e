"""Decides, per connection, what to do about the core that an agent reports (agent-protocol reference, 4.1).

Pure: hash reports in, steps out. The channel performs them.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from meshcentral_protocol.agent_commands import NO_HASH

MAX_PUSHES = 5
"""Per connection; an agent that then still reports another hash is left without our core."""


class Step(enum.Enum):
    """What the server does after a hash report."""

    CONFIRM = "confirm"
    """It is ours: send CoreOk."""
    PUSH = "push"
    """Send our core."""
    CLEAR = "clear"
    """We have no core for this kind of agent: remove the one it has."""
    KEEP = "keep"
    """A custom core: leave it alone."""
    NOTHING = "nothing"
    """It has no core and is to have none, or the report repeats what was settled."""
    GIVE_UP = "give-up"
    """Too many pushes did not help."""


@dataclass(slots=True)
class CoreSync:
    """The state of one connection. `wanted` is the hash of the core that the agent should run, None for no core."""

    wanted: bytes | None
    pushes: int = 0
    settled: bool = False
    """The right core, a custom one, or rightly none: JSON from the agent can be trusted to come from it."""
    gave_up: bool = False

    def reported(self, found: bytes | None) -> Step:
        """The agent answered with its core's hash; None means that it has no core."""
        if found == NO_HASH:
            return self._settle(Step.KEEP)
        if self.wanted is None:
            return self._without_core(found)
        if found == self.wanted:
            return self._settle(Step.CONFIRM)
        self.settled = False
        if self.pushes >= MAX_PUSHES:
            first, self.gave_up = not self.gave_up, True
            return Step.GIVE_UP if first else Step.NOTHING
        self.pushes += 1
        return Step.PUSH

    def _settle(self, step: Step) -> Step:
        if self.settled:
            return Step.NOTHING
        self.settled = True
        return step

    def _without_core(self, found: bytes | None) -> Step:
        self.settled = found is None
        if found is None or self.pushes >= MAX_PUSHES:
            return Step.NOTHING
        self.pushes += 1
        return Step.CLEAR
