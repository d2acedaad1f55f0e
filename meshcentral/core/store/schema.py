"""Brings the database's tables up to date: Alembic, one branch per plugin, forwards only.

Each branch has a version table of its own, so a plugin that was taken out leaves its tables and its mark behind
without stopping the others. Importing Alembic costs more than the rest of a start; a fingerprint of every version
folder is kept in the database and Alembic is imported only when one has changed.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect

from meshcentral.core.store.engine import DatabaseError
from meshcentral.core.store.sqlite import schema_transaction
from meshcentral.core.store.tables import SERVER_VALUES
from meshcentral.core.store.values import SCHEMA, read_value, write_value
from meshcentral.plugins.errors import UsageError
from meshcentral.plugins.store import MigrationFolder

if TYPE_CHECKING:
    from alembic.config import Config

log = logging.getLogger("meshcentral.store")

_ENVIRONMENT = Path(__file__).with_name("migrations")
CORE = MigrationFolder("core", _ENVIRONMENT / "versions")

_alembic = threading.Lock()
"""Alembic's `context` and `op` are module globals: one upgrade per process at a time."""

Backup = Callable[[str], None]
"""Makes a copy of the database whose name ends with the given label."""


def bring_up_to_date(engine: Engine, folders: Iterable[MigrationFolder], backup: Backup | None) -> None:
    """Run every migration that the database has not had, in one transaction: all of them or none.

    The core's come first. A database that holds something is backed up before it is changed. Raises DatabaseError
    when a migration fails or the database was written by a newer version.
    """
    branches = {folder.branch: folder for folder in (CORE, *folders)}
    wanted = {branch: fingerprint(folder.folder) for branch, folder in branches.items()}
    known = _known_fingerprints(engine)
    changed = [folder for branch, folder in branches.items() if known.get(branch) != wanted[branch]]
    if not changed:
        return
    with _alembic:
        due = [folder for folder in changed if _is_due(engine, folder, backup if known else None)]
        with schema_transaction(engine) as connection:
            for folder in due:
                _upgrade(connection, folder)
            write_value(connection, SCHEMA, known | wanted)


def fingerprint(folder: Path) -> str:
    """SHA-256 over the names and contents of a version folder's scripts."""
    digest = hashlib.sha256()
    for script in sorted(folder.glob("*.py")):
        content = script.read_bytes()
        digest.update(f"{script.name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _known_fingerprints(engine: Engine) -> dict[str, str]:
    with engine.connect() as connection:
        if not inspect(connection).has_table(SERVER_VALUES.name):
            return {}
        return read_value(connection, SCHEMA) or {}


def _is_due(engine: Engine, folder: MigrationFolder, backup: Backup | None) -> bool:
    """Whether the branch has migrations to run; makes the backup if so."""
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = _config(folder)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": _version_table(folder)})
        current = context.get_current_heads()
    try:
        script = ScriptDirectory.from_config(config)
        if not any(folder.branch in revision.branch_labels for revision in script.walk_revisions()):
            raise UsageError(
                f"the migrations of {folder.branch} in {folder.folder} do not carry that branch label",
                hint=f'set branch_labels = ("{folder.branch}",) in the first one',
            )
        script.get_revisions(current)
    except CommandError as error:
        raise DatabaseError(
            f"the database's tables of {folder.branch} are at {', '.join(current)}, which is not known here: {error}",
            hint="it was written by a newer version: install that one, or restore the copy made before its upgrade",
        ) from error
    if set(current) == set(script.get_heads()):
        return False
    if backup is not None:
        backup("-".join((folder.branch, *current)))
    return True


def _upgrade(connection: Connection, folder: MigrationFolder) -> None:
    from alembic import command

    config = _config(folder)
    config.attributes["connection"] = connection
    config.attributes["version_table"] = _version_table(folder)
    try:
        command.upgrade(config, "heads")
    except Exception as error:  # a migration is a plugin's code: anything may come out of it
        raise DatabaseError(
            f"a migration of {folder.branch} failed and the database was left as it was: {error}",
            hint="the log has the details; the previous version still works with this database",
        ) from error
    log.info("tables of %s are up to date", folder.branch)


def _config(folder: MigrationFolder) -> Config:
    from alembic.config import Config

    config = Config()
    for option, path in (("script_location", _ENVIRONMENT), ("version_locations", folder.folder)):
        config.set_main_option(option, str(path).replace("%", "%%"))
    # One path per line, so that a folder whose name holds a space or a colon is one path.
    config.set_main_option("path_separator", "newline")
    return config


def _version_table(folder: MigrationFolder) -> str:
    return f"alembic_version_{folder.branch}"
