"""Documents in memory: one collection per kind, loaded at start."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic

from pydantic import ValidationError
from sqlalchemy import Connection, select

from meshcentral.core.store.tables import DOCUMENTS
from meshcentral.plugins.documents import Device, DeviceGroup, Document, User
from meshcentral.plugins.errors import UsageError
from meshcentral.plugins.store import D

log = logging.getLogger("meshcentral.store")


def encode(body: Mapping[str, Any] | Sequence[Any]) -> str:
    """Compact JSON. ASCII only: text from devices may hold lone surrogates, which have no UTF-8 form.

    Raises ValueError or TypeError for what JSON cannot hold (NaN among it).
    """
    return json.dumps(body, separators=(",", ":"), allow_nan=False)


def decode(body: str) -> Any:
    """Read JSON from the database, which somebody else may have written to. Raises ValueError."""
    try:
        return json.loads(body)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def storable(text: str) -> str:
    """Text that every database takes: lone surrogates, which have no UTF-8 form, become question marks."""
    return text.encode("utf-8", "replace").decode()


def explain(error: ValidationError) -> str:
    """The first problem of a document, on one line."""
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'document'}: {first['msg']}"


class DocumentCollection(Generic[D]):
    """All documents of one kind; implements `meshcentral.plugins.store.Collection`. Only the store changes it."""

    __slots__ = ("_documents", "_encoded", "type")

    def __init__(self, document_type: type[D]) -> None:
        self.type = document_type
        self._documents: dict[str, D] = {}
        self._encoded: dict[str, bytes] = {}

    def get(self, document_id: str) -> D | None:
        """The document as it is now, None if there is none."""
        return self._documents.get(document_id)

    def __iter__(self) -> Iterator[D]:
        # Over a copy: the caller may wait between two documents, and devices come and go meanwhile.
        return iter(tuple(self._documents.values()))

    def __len__(self) -> int:
        return len(self._documents)

    def encoded(self, document_id: str) -> bytes:
        """The stored JSON of one document. KeyError if unknown."""
        return self._encoded[document_id]

    def checked(self, document: Document) -> tuple[D, bytes]:
        """The document as a restart would read it, and its stored form. Raises UsageError when that is not valid.

        `model_copy` validates nothing, and what is stored unreadable is lost at the next start.
        """
        try:
            body = document.to_stored()
            return self.type.from_stored(body), encode(body).encode()
        except (ValueError, TypeError) as error:
            reason = explain(error) if isinstance(error, ValidationError) else str(error)
            raise UsageError(f"{document.id} cannot be stored: {reason}") from error

    def replace(self, document: D, encoded: bytes) -> None:
        """Add or replace a document; both are what `checked` returned."""
        self._documents[document.id] = document
        self._encoded[document.id] = encoded

    def discard(self, document_id: str) -> None:
        """Remove a document if it is there."""
        self._documents.pop(document_id, None)
        self._encoded.pop(document_id, None)

    def load(self, document_id: str, body: str) -> None:
        """Take a document from the database. Raises ValueError (pydantic's included) for what is not one."""
        stored = decode(body)
        if not isinstance(stored, dict):
            raise ValueError("the document is not a JSON object")
        document = self.type.from_stored(stored)
        if document.id != document_id:
            raise ValueError(f"the row is {document_id} but the document is {document.id}")
        self._documents[document_id] = document
        self._encoded[document_id] = body.encode()


class Documents:
    """The collections, by kind. Rows of kinds that have no collection stay in the database untouched."""

    __slots__ = ("_by_kind", "devices", "groups", "users")

    def __init__(self) -> None:
        self.users = DocumentCollection(User)
        self.groups = DocumentCollection(DeviceGroup)
        self.devices = DocumentCollection(Device)
        self._by_kind: dict[str, DocumentCollection[Any]] = {
            User.kind: self.users,
            DeviceGroup.kind: self.groups,
            Device.kind: self.devices,
        }

    def of(self, document: Document) -> DocumentCollection[Any]:
        """The collection that a document belongs to. Raises UsageError for a kind that has none."""
        if (collection := self._by_kind.get(document.kind)) is not None:
            return collection
        raise UsageError(f"{document.id} is a document of kind {document.kind!r}, which the store does not keep")

    def has(self, kind: str) -> bool:
        """Whether documents of a kind are kept in memory."""
        return kind in self._by_kind

    def load_row(self, kind: str, document_id: str, body: str) -> None:
        """Take one document from the database. Raises ValueError with the reason when it is not usable."""
        try:
            self._by_kind[kind].load(document_id, body)
        except ValidationError as error:
            raise ValueError(explain(error)) from error

    def load(self, connection: Connection) -> None:
        """Read all documents. One that does not parse is logged and left on disk: it must not stop the server."""
        columns = select(DOCUMENTS.c.kind, DOCUMENTS.c.id, DOCUMENTS.c.body)
        for kind, document_id, body in connection.execute(columns.where(DOCUMENTS.c.kind.in_(self._by_kind))):
            try:
                self.load_row(kind, document_id, body)
            except ValueError as error:
                log.error("document %s is not usable and was left out: %s", document_id, error)
