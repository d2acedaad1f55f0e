"""Password hashing: one registry of schemes. All of it blocks; callers run it in the `passwords` thread pool.

New passwords are Argon2id; the peer's PBKDF2 form is verified, and written where a moved-in installation must still be
able to go back (control-protocol reference, 2.5).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

ARGON2ID = "argon2id"
PBKDF2_SHA384 = "pbkdf2-sha384"

MAX_PASSWORD = 256
"""Characters; longer ones are refused before any hashing."""


@dataclass(frozen=True, slots=True)
class StoredPassword:
    """A password hash as it is kept."""

    scheme: str
    hash: str
    salt: str = ""
    """Empty where the hash text carries its own salt."""
    parameters: str = ""


class PasswordScheme(Protocol):
    """One way to hash a password."""

    def hash(self, password: str) -> StoredPassword: ...
    def verify(self, password: str, stored: StoredPassword) -> bool:
        """Constant-time comparison. A stored value that cannot be read verifies nothing."""
        ...

    def is_current(self, stored: StoredPassword) -> bool:
        """Whether the stored hash has today's parameters."""
        ...


class Argon2id:
    """Argon2id with 19 MiB, 2 passes, 1 lane (RFC 9106; OWASP's first recommendation)."""

    parameters = "m=19456,t=2,p=1"

    def __init__(self) -> None:
        self._hasher = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)

    def hash(self, password: str) -> StoredPassword:
        return StoredPassword(ARGON2ID, self._hasher.hash(password), parameters=self.parameters)

    def verify(self, password: str, stored: StoredPassword) -> bool:
        try:
            return self._hasher.verify(stored.hash, password)
        except (VerificationError, InvalidHashError):
            return False

    def is_current(self, stored: StoredPassword) -> bool:
        return not self._hasher.check_needs_rehash(stored.hash)


class Pbkdf2Sha384:
    """The peer's form: PBKDF2-HMAC-SHA384, 12000 rounds, 128 bytes, both values as base64.

    The base64 text of the salt is itself the salt input, not the bytes that it stands for.
    """

    rounds = 12_000
    length = 128
    parameters = "r=12000,l=128"

    def hash(self, password: str) -> StoredPassword:
        salt = base64.b64encode(secrets.token_bytes(self.length)).decode("ascii")
        return StoredPassword(PBKDF2_SHA384, self._derive(password, salt), salt, self.parameters)

    def verify(self, password: str, stored: StoredPassword) -> bool:
        return hmac.compare_digest(self._derive(password, stored.salt).encode(), stored.hash.encode())

    def is_current(self, stored: StoredPassword) -> bool:
        return stored.parameters == self.parameters

    def _derive(self, password: str, salt: str) -> str:
        derived = hashlib.pbkdf2_hmac("sha384", password.encode(), salt.encode(), self.rounds, self.length)
        return base64.b64encode(derived).decode("ascii")


SCHEMES: Mapping[str, PasswordScheme] = {ARGON2ID: Argon2id(), PBKDF2_SHA384: Pbkdf2Sha384()}


def hash_password(password: str, scheme: str = ARGON2ID) -> StoredPassword:
    """Hash a new password. Raises KeyError for an unknown scheme."""
    return SCHEMES[scheme].hash(password)


def verify_password(password: str, stored: StoredPassword) -> bool:
    """Whether the password is right; False for a scheme that is not known."""
    scheme = SCHEMES.get(stored.scheme)
    return scheme is not None and scheme.verify(password, stored)


def needs_rehash(stored: StoredPassword, preferred: str) -> bool:
    """Whether the next good login should write a new hash."""
    return stored.scheme != preferred or not SCHEMES[preferred].is_current(stored)


def random_password() -> str:
    """20 characters, 120 bits: shown once and never stored."""
    return secrets.token_urlsafe(15)
