"""The first configuration file: what was asked for, and every other setting as a comment with its default."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from meshcentral.core.config.loading import nested, validated
from meshcentral.core.config.model import Configuration
from meshcentral.core.paths import DataPaths
from meshcentral.plugins.errors import ConfigurationError, Conflict

_TITLE = "Configuration of the mesh server. Commented settings show their default or an example."


def write_initial(paths: DataPaths, values: Mapping[str, Any]) -> Configuration:
    """Write `config.toml` (0600, all or nothing) and return what it says.

    `values` maps dotted paths (`settings.cert`) to values; None means "not given". The caller holds the data-folder
    lock. Raises Conflict when there is a file already, ConfigurationError for a bad value or an unknown setting.
    """
    file = paths.config_file
    if file.exists():
        raise Conflict(f"{file} exists already and is not overwritten", hint="Edit that file, or remove it first.")
    configuration = validated(nested(values), "the command line")
    if configuration.warnings:
        raise ConfigurationError(configuration.warnings[0], hint="Correct the name of the setting.")
    given = {label.lower() for label, value in values.items() if value is not None}
    _write_private(file, "\n".join(_lines(configuration, given)) + "\n")
    return configuration


def _lines(configuration: Configuration, given: set[str]) -> Iterator[str]:
    yield from _comment(_TITLE)
    for name in ("settings", "plugins", "retention"):
        section: BaseModel = getattr(configuration, name)
        yield ""
        yield f"[{name}]"
        for field_name, field in type(section).model_fields.items():
            key = field.alias or field_name
            yield from _comment(field.description or "")
            value = getattr(section, field_name)
            shown = field.examples[0] if value is None and field.examples else value
            yield f"{'' if f'{name}.{key}' in given else '# '}{key} = {_toml(shown)}"
    yield ""
    yield from _comment("Tenants, each with its own accounts, groups and devices, below /NAME/ of the server:")
    yield "# [domains.customer1]"
    yield '# title = "Customer 1"'


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, width=100, initial_indent="# ", subsequent_indent="# ")


def _toml(value: Any) -> str:
    """A value in TOML; "none" is written `false`, for want of a null.

    Strings of JSON are basic strings of TOML, except that DEL may not stand in the latter.
    """
    if value is None:
        return "false"
    return json.dumps(value).replace("\x7f", "\\u007f")


def _write_private(file: Path, text: str) -> None:
    """Write a new file with mode 0600 from its first byte, complete or not at all."""
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.rename(file)
        _sync_folder(file.parent)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise ConfigurationError(
            f"{file} cannot be written: {error.strerror}", hint="Check the disk and the owner of the data folder."
        ) from error


def _sync_folder(folder: Path) -> None:
    """Make the new name durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
