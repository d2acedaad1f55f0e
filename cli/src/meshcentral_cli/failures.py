"""From the text of a refused action to the error of that kind.

Our server names the kind in `code`. The peer's has only texts (control-protocol reference, sections 6 to 9); those
that tell more than "wrong" are listed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshcentral.plugins.errors import (
    Busy,
    ConfigurationError,
    Conflict,
    MeshError,
    NotAuthorised,
    NotFound,
    NotReady,
    ServerUnreachable,
    UsageError,
)

_BY_CODE: dict[str, type[MeshError]] = {
    kind.code: kind
    for kind in (UsageError, ServerUnreachable, NotAuthorised, NotFound, Conflict, Busy, NotReady, ConfigurationError)
}
_BEGINNINGS: tuple[tuple[str, type[MeshError]], ...] = (
    ("access denied", NotAuthorised),
    ("permission denied", NotAuthorised),
    ("denied", NotAuthorised),
    ("not allowed", NotAuthorised),
    ("user already exists", Conflict),
    ("duplicate", Conflict),
    ("device already", Conflict),
    ("user does not exist", NotFound),
    ("device not found", NotFound),
    ("unknown", NotFound),
    ("invalid", UsageError),
)
_SUCCESS = frozenset({"ok", "OK"})


def failure_of(reply: Mapping[str, Any]) -> MeshError | None:
    """The error that a reply stands for, None when the action succeeded.

    `result` carries the outcome, except in what an agent answers (`msg`): there it is the answer itself.
    """
    result = reply.get("result")
    if result is None or result in _SUCCESS or reply.get("action") == "msg":
        return None
    return error_from(str(result), reply.get("code"), reply.get("hint"))


def error_from(text: str, code: Any = None, hint: Any = None) -> MeshError:
    """The error named by `code`, else the one that the text means, else a general one that keeps the code."""
    kind = _BY_CODE.get(code) if isinstance(code, str) else _kind_of(text)
    error = (kind or MeshError)(text.strip() or "the server refused without a reason")
    error.hint = hint if isinstance(hint, str) else None
    if kind is None and isinstance(code, str):
        error.code = code
    return error


def _kind_of(text: str) -> type[MeshError] | None:
    lowered = text.strip().lower()
    return next((kind for beginning, kind in _BEGINNINGS if lowered.startswith(beginning)), None)
