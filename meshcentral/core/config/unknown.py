"""Keys that no setting has: kept and reported with the nearest known name, never an error."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from pydantic import BaseModel


def unknown_keys(section: BaseModel, path: tuple[str, ...] = ()) -> Iterator[str]:
    """One sentence for each unknown key of a table and of the tables inside it."""
    fields = {field.alias or name: getattr(section, name) for name, field in type(section).model_fields.items()}
    for key in section.model_extra or {}:
        near = difflib.get_close_matches(key, sorted(fields), n=1)
        suggestion = f"; did you mean {dotted((*path, near[0]))}?" if near else ""
        yield f"{dotted((*path, key))} is not a known setting and has no effect{suggestion}"
    for key, value in fields.items():
        if isinstance(value, BaseModel):
            yield from unknown_keys(value, (*path, key))
        elif isinstance(value, dict):
            for name, inner in value.items():
                yield from unknown_keys(inner, (*path, key, name))


def dotted(path: tuple[str, ...]) -> str:
    """`domains."".title`: as a setting is called in messages and on the command line."""
    return ".".join(part or '""' for part in path)
