"""Checks a database file that nobody is using, for `mesh db check`. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, func, inspect, select
from sqlalchemy.exc import SQLAlchemyError

from meshcentral.core.store import audit, sqlite
from meshcentral.core.store.documents import DocumentCollection, Documents, decode
from meshcentral.core.store.engine import DatabaseError, database_error
from meshcentral.core.store.tables import CORE_TABLES, DOCUMENTS, EVENTS
from meshcentral.plugins.documents import DeviceGroup, Link, User
from meshcentral.plugins.errors import NotFound
from meshcentral.plugins.store import AuditReport

_MAX_FINDINGS = 1000
"""A damaged file may have a problem in every row."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    check: str
    """`file`, `integrity`, `tables`, `audit`, `document` or `link`."""
    subject: str
    """Table, document id or row number."""
    problem: str


@dataclass(frozen=True, slots=True)
class DatabaseReport:
    """What was looked at and what was found."""

    path: Path
    documents: int = 0
    events: int = 0
    audit: AuditReport | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def sound(self) -> bool:
        """Nothing is wrong."""
        return not self.findings

    def describe(self) -> dict[str, Any]:
        """As JSON, for the control channel and `mesh db check`."""
        return {
            "ok": self.sound,
            "documents": self.documents,
            "events": self.events,
            "findings": [asdict(finding) for finding in self.findings],
            "audit": asdict(self.audit) if self.audit else None,
        }


def check_database(path: Path) -> DatabaseReport:
    """Check the file's integrity, its audit chain, its documents and the links between them.

    Blocking. Raises NotFound when there is no such file; what is wrong with the file is in the report.
    """
    if not path.is_file():
        raise NotFound(f"there is no database at {path}")
    engine = sqlite.open_engine(path, read_only=True)
    try:
        return _check(engine, path)
    except SQLAlchemyError as error:
        return DatabaseReport(path, findings=(Finding("file", path.name, str(database_error(error))),))
    except DatabaseError as error:
        return DatabaseReport(path, findings=(Finding("file", path.name, str(error)),))
    finally:
        engine.dispose()


def _check(engine: Engine, path: Path) -> DatabaseReport:
    with engine.connect() as connection:
        findings = [Finding("integrity", path.name, problem) for problem in sqlite.integrity_problems(connection)]
        present = inspect(connection).get_table_names()
        missing = [table.name for table in CORE_TABLES if table.name not in present]
        if missing:
            findings += [Finding("tables", name, "the table is missing") for name in missing]
            return DatabaseReport(path, findings=tuple(findings))
        report = audit.verify(connection)
        if report.broken_at is not None:
            findings.append(
                Finding("audit", str(report.broken_at), "the row was changed, or rows before it are missing or added")
            )
        for finding in _documents(connection):
            if len(findings) == _MAX_FINDINGS:
                break
            findings.append(finding)
        return DatabaseReport(
            path,
            documents=connection.scalar(select(func.count()).select_from(DOCUMENTS)) or 0,
            events=connection.scalar(select(func.count()).select_from(EVENTS)) or 0,
            audit=report,
            findings=tuple(findings),
        )


def _documents(connection: Connection) -> Iterator[Finding]:
    documents = Documents()
    for kind, document_id, body in connection.execute(select(DOCUMENTS.c.kind, DOCUMENTS.c.id, DOCUMENTS.c.body)):
        try:
            if documents.has(kind):
                documents.load_row(kind, document_id, body)
            else:
                decode(body)
        except ValueError as error:
            yield Finding("document", document_id, str(error))
    yield from _links(documents)


def _links(documents: Documents) -> Iterator[Finding]:
    """Both ends of a link between an account and a device group are stored; they must agree."""
    for user in documents.users:
        yield from _one_sided(user.id, user.links, "mesh/", documents.groups)
        for group_id, link in user.links.items():
            group = documents.groups.get(group_id)
            back = None if group is None else group.links.get(user.id)
            if back is not None and back.rights != link.rights:
                yield Finding("link", user.id, f"the rights on {group_id} are {link.rights} here, {back.rights} there")
    for group in documents.groups:
        yield from _one_sided(group.id, group.links, "user/", documents.users)


def _one_sided(
    document_id: str,
    links: Mapping[str, Link],
    prefix: str,
    others: DocumentCollection[User] | DocumentCollection[DeviceGroup],
) -> Iterator[Finding]:
    for other_id in links:
        if not other_id.startswith(prefix):
            continue
        other = others.get(other_id)
        if other is None:
            yield Finding("link", document_id, f"it links to {other_id}, which does not exist")
        elif document_id not in other.links:
            yield Finding("link", document_id, f"it links to {other_id}, which does not link back")
