"""Rules for account names and passwords. Pure; each refusal names its rule."""

from __future__ import annotations

import re

from meshcentral.plugins.errors import UsageError
from meshcentral_control.accounts.passwords import MAX_PASSWORD
from meshcentral_protocol import identifiers
from meshcentral_protocol.errors import IdentifierError

MIN_PASSWORD = 12
MAX_NAME = 128
INVALID_NAME = "Invalid username"
INVALID_PASSWORD = "Invalid password"  # noqa: S105 (a message)

_ADVICE = "Four random words, or --random-password, are a good choice."
_FORBIDDEN_IN_NAME = re.compile(r"[\s\",/]")
_COMMON_TEXT = """
    123456789012 1234567890123 12345678901234 123456789123 123123123123 098765432109 987654321098 111111111111
    000000000000 1q2w3e4r5t6y 1qaz2wsx3edc qwertyuiop12 qwertyuiop123 qwertyuiopas qwertyuiopasdfgh asdfghjkl123
    password1234 password12345 password123456 passwordpassword passw0rd1234 p@ssw0rd1234 p@ssword1234
    administrator administrator1 administrateur administrador adminadminadmin admin1234567 admin12345678
    letmeinletmein letmein12345 welcome12345 welcome123456 welcomewelcome changemechangeme changeme1234
    changeme12345 iloveyou1234 iloveyouiloveyou trustno1trustno1 correcthorsebatterystaple meshcentral123
    meshcentral1234 meshcentralmeshcentral superman1234 football1234 baseball1234 sunshine1234 princess1234
    abcdefghijkl abc123abc123 qwerty123456 qwertyqwerty
"""
_COMMON = frozenset(_COMMON_TEXT.split())
"""Twelve characters and more, since shorter ones are refused anyway."""


def check_name(name: str, domain: str) -> str:
    """The account id for this name. Raises UsageError."""
    hint = None
    if not 1 <= len(name) <= MAX_NAME:
        hint = f"A user name has 1 to {MAX_NAME} characters."
    elif _FORBIDDEN_IN_NAME.search(name) or not name.isprintable():
        hint = "A user name has no blank, quote, comma, slash or invisible character."
    elif name.startswith("~"):
        hint = "Names that begin with ~ are those of login tokens."
    if hint is not None:
        raise UsageError(INVALID_NAME, hint=hint)
    try:
        return identifiers.user_id(name, domain)
    except IdentifierError as error:
        raise UsageError(INVALID_NAME, hint=str(error)) from None


def weakness_of(password: str, name: str) -> str | None:
    """The rule that a password breaks; None for a good one."""
    lowered = password.lower()
    if len(password) < MIN_PASSWORD:
        return f"at least {MIN_PASSWORD} characters are needed"
    if len(name) > 2 and name.lower() in lowered:
        return "it must not contain the user name"
    if lowered in _COMMON or len(set(lowered)) < 4:
        return "it is one of the first that are tried"
    return None


def check_password(password: str, name: str, *, insist: bool) -> str | None:
    """The rule that a password breaks, for a warning; raises UsageError instead when `insist`.

    The local administrator is warned and not refused: who owns the data folder could write any hash into it, and
    scripts that move accounts over bring passwords which the peer has taken.
    """
    if not 1 <= len(password) <= MAX_PASSWORD:
        raise UsageError(f"{INVALID_PASSWORD}: 1 to {MAX_PASSWORD} characters are possible", hint=_ADVICE)
    weakness = weakness_of(password, name)
    if weakness is not None and insist:
        raise UsageError(f"{INVALID_PASSWORD}: {weakness}", hint=_ADVICE)
    return weakness
