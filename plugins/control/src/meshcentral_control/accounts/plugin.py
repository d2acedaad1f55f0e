"""The `accounts` plugin: logins, passwords and the actions that manage accounts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from meshcentral.plugins.actions import UserAction
from meshcentral.plugins.events import EventType
from meshcentral.plugins.hookspecs import hookimpl
from meshcentral.plugins.plugin import Plugin
from meshcentral.plugins.store import MigrationFolder

if TYPE_CHECKING:
    from meshcentral.plugins.server import Server
    from meshcentral_control.accounts.service import Accounts


class AccountsPlugin(Plugin):
    """Accounts and their passwords."""

    name = "accounts"
    summary = "Accounts, passwords, logins"

    def __init__(self) -> None:
        self._service: Accounts | None = None

    def service(self, server: Server) -> Accounts:
        """Logins and passwords of this server; `meshcentral_control.api.accounts` is the way to it."""
        if self._service is None:
            from meshcentral_control.accounts.service import Accounts

            self._service = Accounts(server)
        return self._service

    @hookimpl
    def register_migrations(self) -> Iterable[MigrationFolder]:
        """The table of password hashes."""
        yield MigrationFolder("accounts", Path(__file__).with_name("versions"))

    @hookimpl
    def register_user_actions(self, server: Server) -> Iterable[UserAction]:
        """Accounts: list, add, remove, change the password."""
        from meshcentral_control.accounts.actions import AccountActions

        yield from AccountActions(self.service(server)).actions()

    @hookimpl
    def register_event_types(self) -> Iterable[EventType]:
        """What happens to accounts."""
        from meshcentral_control.events import PUBLISHED

        for event in PUBLISHED:
            if event.etype == "user":
                yield EventType.of(event)
