"""Where configuration values come from: the file, then the environment, then the command line; the last one wins.

Keys are case-insensitive and those that begin with `_` are ignored, as the peer does. A bad value stops with one
error for all of them; an unknown key is reported and does no harm.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from meshcentral.core.config.model import Configuration
from meshcentral.core.config.unknown import dotted
from meshcentral.core.paths import DataPaths
from meshcentral.plugins.errors import ConfigurationError

ENVIRONMENT_PREFIX = "MESH__"
MAX_FILE = 1024 * 1024

Values = dict[str, Any]
Origins = dict[tuple[str, ...], str]
"""Path of a value that did not come from the file -> where it came from, for error messages."""


def load(
    paths: DataPaths, overrides: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None
) -> Configuration:
    """Read `config.toml` of a data folder; without one, the defaults count.

    `overrides` maps dotted paths (`settings.port`) to values of the command line; None means "not given".
    `environment` (the process's own) may hold `MESH__SETTINGS__PORT` and the like.

    Raises ConfigurationError that names every bad value by its dotted path, with the rule and the remedy.
    """
    values = _read_file(paths)
    origins: Origins = {}
    for name, text in sorted((os.environ if environment is None else environment).items()):
        if name.upper().startswith(ENVIRONMENT_PREFIX):
            path = tuple(name[len(ENVIRONMENT_PREFIX) :].lower().split("__"))
            _put(values, path, text, name)
            origins[path] = f"the environment variable {name}"
    for label, value in (overrides or {}).items():
        if value is not None:
            path = _path(label)
            _put(values, path, value, label)
            origins[path] = "the command line"
    return validated(values, str(paths.config_file), origins)


def validated(
    values: Mapping[str, Any], source: str, origins: Mapping[tuple[str, ...], str] | None = None
) -> Configuration:
    """Check raw values. `source` is the file in which the remedy is to be done, unless `origins` knows better."""
    try:
        return Configuration.model_validate(values, by_alias=True, by_name=False)
    except ValidationError as error:
        raise _explained(error, source, origins or {}) from None


def nested(values: Mapping[str, Any]) -> Values:
    """Tables from dotted paths; None means "not given"."""
    tables: Values = {}
    for label, value in values.items():
        if value is not None:
            _put(tables, _path(label), value, label)
    return tables


def _path(label: str) -> tuple[str, ...]:
    """`domains."".title` is the title of the default domain."""
    return tuple("" if part == '""' else part for part in label.lower().split("."))


def _read_file(paths: DataPaths) -> Values:
    file = paths.config_file
    try:
        if file.is_fifo():
            raise ConfigurationError(f"{file} is a pipe, not a file", hint="Put a text file in its place.")
        with file.open("rb") as stream:
            content = stream.read(MAX_FILE + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigurationError(
            f"{file} cannot be read: {error.strerror}", hint="Correct its owner and mode."
        ) from None
    if len(content) > MAX_FILE:
        raise ConfigurationError(f"{file} is longer than {MAX_FILE} bytes", hint="This is not a configuration file.")
    try:
        return _lowered(tomllib.loads(content.decode("utf-8-sig")), ())
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{file} is not UTF-8 text (byte {error.start})", hint="Save the file as UTF-8."
        ) from None
    except RecursionError:
        raise ConfigurationError(f"{file} nests tables or lists too deeply", hint="Write it flat.") from None
    except ValueError as error:  # TOMLDecodeError, and the limit of digits in a number
        raise ConfigurationError(f"{file} is not valid TOML: {error}", hint="Correct that line of the file.") from None


def _lowered(table: Mapping[str, Any], path: tuple[str, ...]) -> Values:
    """The same table with keys in lower case and without those that begin with `_`."""
    lowered: Values = {}
    for key, value in table.items():
        name = key.lower()
        if name.startswith("_"):
            continue
        if name in lowered:
            raise ConfigurationError(
                f"{dotted((*path, name))} is written twice, in different case", hint="Remove one of the two lines."
            )
        lowered[name] = _lowered(value, (*path, name)) if isinstance(value, dict) else value
    return lowered


def _put(values: Values, path: tuple[str, ...], value: Any, label: str) -> None:
    """Set a value in nested tables, replacing what is there."""
    for index, name in enumerate(path[:-1]):
        inner = values.setdefault(name, {})
        if not isinstance(inner, dict):
            raise ConfigurationError(
                f"{label} cannot be set: {dotted(path[: index + 1])} is a value, not a table",
                hint="Correct the name of the setting.",
            )
        values = inner
    values[path[-1]] = value


def _explained(error: ValidationError, source: str, origins: Mapping[tuple[str, ...], str]) -> ConfigurationError:
    """One error for all bad values. Only the scalar that is wrong is shown, shortened."""
    sentences = []
    places = set()
    for detail in error.errors(include_url=False, include_context=True):
        path = tuple(str(part) for part in detail["loc"])
        origin = next((origins[path[:end]] for end in range(len(path), 0, -1) if path[:end] in origins), source)
        places.add(origin)
        shown = f" (it is {detail['input']!r:.60})" if isinstance(detail["input"], str | int | float | bool) else ""
        sentences.append(f"{dotted(path)} {_rule(detail)}{shown}")
    return ConfigurationError("; ".join(sentences), hint=f"Correct it in {' and '.join(sorted(places))}.")


def _rule(detail: ErrorDetails) -> str:
    """What pydantic found, as our sentence: `must be ...`."""
    context = detail.get("ctx", {})
    match detail["type"]:
        case "value_error":
            return str(context["error"])
        case "greater_than_equal":
            return f"must be at least {context['ge']}"
        case "less_than_equal":
            return f"must be at most {context['le']}"
        case "literal_error":
            return f"must be one of {context['expected']}"
        case "string_too_long":
            return f"must have at most {context['max_length']} characters"
        case "int_type" | "int_parsing" | "int_from_float":
            return "must be a whole number"
        case "bool_type" | "bool_parsing":
            return "must be true or false"
        case "string_type":
            return "must be text"
        case "model_type" | "dict_type":
            return "must be a table"
        case "tuple_type":
            return "must be a list"
        case _:
            return f"is wrong: {detail['msg']}"
