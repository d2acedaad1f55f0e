"""Text of the control channel: reading hostile JSON within limits, and writing replies."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from meshcentral.plugins.actions import EncodedJson

MAX_DEPTH = 64
"""Levels of nested arrays and objects; a deeper message is bad input."""


class BadMessage(Exception):
    """The text is not one JSON object that we are willing to look at."""


def decode(text: str | bytes) -> dict[str, Any]:
    """The JSON object in a message. Raises BadMessage for everything else, `null` and binary frames included."""
    if isinstance(text, bytes):
        raise BadMessage("binary frame")
    try:
        message = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise BadMessage("not JSON") from error
    if not isinstance(message, dict):
        raise BadMessage("not an object")
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _check_depth(message)
    if "\\u" in text:
        _check_surrogates(message)
    return message


def encode(message: Mapping[str, Any]) -> bytes:
    """One JSON object as UTF-8. Raises as `encode_parts` does."""
    return b"".join(encode_parts(message))


def encode_parts(message: Mapping[str, Any]) -> Sequence[bytes]:
    """One JSON object as UTF-8, in parts. Members that are `EncodedJson` are put in as they are.

    Raises ValueError for numbers that JSON does not have, TypeError for objects that it does not know.
    """
    ready = {name: value for name, value in message.items() if isinstance(value, EncodedJson)}
    plain = _dump({name: value for name, value in message.items() if name not in ready} if ready else message)
    parts = [plain[:-1]]
    for name, value in ready.items():
        parts += [b"," if len(parts) > 1 or len(plain) > 2 else b"", _dump(name), b":", *value.parts]
    return [*parts, b"}"]


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    """`1e999` is JSON, but what Python makes of it could not be echoed."""
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("the number is too large")
    return number


def _check_depth(message: Any) -> None:
    level = [message]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return
    raise BadMessage("nested too deeply")


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [child for child in value.values() if isinstance(child, dict | list)]
    return [child for child in value if isinstance(child, dict | list)]


def _check_surrogates(message: dict[str, Any]) -> None:
    """JSON can spell half of a surrogate pair, which is no text: nothing downstream could store or send it."""
    try:
        json.dumps(message, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadMessage("not Unicode text") from error
