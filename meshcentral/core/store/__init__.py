"""The store: documents, events, power states, audit chain, server values."""

from meshcentral.core.store.engine import DatabaseError
from meshcentral.core.store.store import DocumentStore

__all__ = ["DatabaseError", "DocumentStore"]
