"""Logins and passwords, for whoever needs them: the control channel now, pages and other doors later."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from meshcentral.plugins import rights
from meshcentral.plugins.documents import User
from meshcentral.plugins.store import AuditEntry, Change
from meshcentral_control.accounts import passwords, tables
from meshcentral_control.accounts.passwords import ARGON2ID, MAX_PASSWORD, SCHEMES, StoredPassword
from meshcentral_control.accounts.throttle import LoginThrottle, LoginThrottled
from meshcentral_protocol import identifiers
from meshcentral_protocol.errors import IdentifierError

if TYPE_CHECKING:
    from meshcentral.plugins.server import Server

__all__ = ["Accounts", "LoginThrottled", "PasswordPolicy"]

POLICY_KEY = "accounts.passwords"
"""Server value `{"scheme", "rehash"}`: an import of the peer's data sets it to write what the peer can still read."""


@dataclass(frozen=True, slots=True)
class PasswordPolicy:
    """How new hashes are made, and whether a good login replaces an older one."""

    scheme: str = ARGON2ID
    rehash: bool = False


class Accounts:
    """Passwords of one server's accounts."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._throttle = LoginThrottle(server.clock)
        self._decoys: dict[str, StoredPassword] = {}

    def is_throttled(self, address: str) -> bool:
        """Whether this address has failed too often to be heard now."""
        return self._throttle.is_closed(address)

    async def authenticate(self, domain: str, name: str, password: str, address: str) -> User | None:
        """The account, or None for an unknown name, a wrong password and a locked account alike.

        Each takes the same work. Raises LoginThrottled when the address has failed too often.
        """
        async with self._throttle.attempt(address):
            user = await self._verified(domain, name, password)
            if user is None:
                self._throttle.failed(address)
                return None
        self._server.store.note(user.with_(last_login=self._now()))
        return user

    async def hash(self, password: str) -> StoredPassword:
        """Hash a new password by the policy of this installation."""
        policy = await self._policy()
        return await self._server.run_blocking(
            partial(passwords.hash_password, password, policy.scheme), pool="passwords"
        )

    def put(self, change: Change, user_id: str, stored: StoredPassword) -> None:
        """Set an account's hash as part of a change."""
        for statement in tables.replace_password(user_id, stored, self._now()):
            change.execute(statement)

    def remove(self, change: Change, user_id: str) -> None:
        """Forget an account's hash as part of a change."""
        change.execute(tables.delete_password(user_id))

    async def _verified(self, domain: str, name: str, password: str) -> User | None:
        user_id = _user_id(name, domain)
        stored = None if user_id is None else await self._stored(user_id)
        fitting = len(password) <= MAX_PASSWORD
        policy = await self._policy()
        compared = stored or await self._decoy(policy.scheme)
        right = await self._server.run_blocking(
            partial(passwords.verify_password, password if fitting else "", compared), pool="passwords"
        )
        # Read after the hashing, during which the account may have been removed or locked.
        user = None if user_id is None else self._server.store.users.get(user_id)
        if user is None or stored is None or not right or not fitting or rights.is_locked(user.site_rights):
            return None
        if policy.rehash and passwords.needs_rehash(stored, policy.scheme):
            await self._rehash(user, password)
            return self._server.store.users.get(user.id)
        return user

    async def _rehash(self, user: User, password: str) -> None:
        renewed = await self.hash(password)
        entry = AuditEntry(actor=user.id, action="passwordrehash", target=user.id, domain=user.domain)
        async with self._server.store.change(entry) as change:
            self.put(change, user.id, renewed)

    async def _stored(self, user_id: str) -> StoredPassword | None:
        rows = await self._server.store.rows(tables.select_password(user_id))
        return tables.read_password(rows[0]) if rows else None

    async def _decoy(self, scheme: str) -> StoredPassword:
        """A hash of nobody's password, so that an unknown name costs what a known one does."""
        if scheme not in self._decoys:
            self._decoys[scheme] = await self._server.run_blocking(
                partial(passwords.hash_password, passwords.random_password(), scheme), pool="passwords"
            )
        return self._decoys[scheme]

    async def _policy(self) -> PasswordPolicy:
        value = await self._server.store.value(POLICY_KEY)
        if not isinstance(value, dict) or value.get("scheme") not in SCHEMES:
            return PasswordPolicy()
        return PasswordPolicy(value["scheme"], value.get("rehash") is True)

    def _now(self) -> int:
        return self._server.clock.milliseconds() // 1000


def _user_id(name: str, domain: str) -> str | None:
    try:
        return identifiers.user_id(name, domain)
    except IdentifierError:
        return None
