"""What a reply carries besides its envelope."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ENVELOPE = frozenset({"action", "responseid", "tag", "result"})


def members_of(reply: Mapping[str, Any]) -> dict[str, Any]:
    """The members that the action itself put there."""
    return {name: value for name, value in reply.items() if name not in _ENVELOPE}
