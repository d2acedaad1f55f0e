"""The live control sessions of one server."""

from __future__ import annotations

from collections.abc import Sequence

from meshcentral_control.channel.session import ControlSession


class Directory:
    """Sessions by id and by account; implements `SessionDirectory`."""

    def __init__(self) -> None:
        self._sessions: dict[str, ControlSession] = {}
        self._of_user: dict[str, dict[str, ControlSession]] = {}

    def add(self, session: ControlSession) -> None:
        self._sessions[session.id] = session
        self._of_user.setdefault(session.actor, {})[session.id] = session

    def remove(self, session: ControlSession) -> None:
        self._sessions.pop(session.id, None)
        of_user = self._of_user.get(session.actor, {})
        of_user.pop(session.id, None)
        if not of_user:
            self._of_user.pop(session.actor, None)

    def get(self, session_id: str) -> ControlSession | None:
        return self._sessions.get(session_id)

    def of_user(self, user_id: str) -> Sequence[ControlSession]:
        """Sessions of an account; `local` gives those of the local administrator."""
        return list(self._of_user.get(user_id, {}).values())

    def all(self) -> Sequence[ControlSession]:
        return list(self._sessions.values())
