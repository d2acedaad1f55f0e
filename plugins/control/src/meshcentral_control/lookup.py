"""Finding the accounts that requests name."""

from __future__ import annotations

from meshcentral.plugins.actions import ActionContext
from meshcentral.plugins.documents import User
from meshcentral.plugins.errors import NotFound, UsageError
from meshcentral_protocol import identifiers
from meshcentral_protocol.errors import IdentifierError
from meshcentral_protocol.identifiers import Kind

UNKNOWN_USER = "User does not exists"
"""The peer's text, letter by letter: clients show it."""


def account_named(context: ActionContext, text: str) -> User:
    """The account with this id (or its short form) in the session's domain; the local administrator sees all domains.

    Raises UsageError for what is no id, NotFound for an account that does not exist or that the session may not see.
    """
    session = context.session
    try:
        user = context.server.store.users.get(identifiers.complete(text, Kind.USER, session.domain))
    except IdentifierError as error:
        raise UsageError("Invalid userid", hint=str(error)) from None
    if user is None or not (session.local or user.domain == session.domain):
        raise NotFound(UNKNOWN_USER, hint="`mesh user list` shows the accounts.")
    return user
