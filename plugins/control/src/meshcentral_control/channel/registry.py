"""The registry of control-channel actions: everything that is wrong with a declaration is found here, at start-up."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from typing import Any

from meshcentral.plugins.actions import ActionRequest, Audit, Permission, Scope, UserAction
from meshcentral.plugins.errors import ConfigurationError

NAME_LENGTHS = range(3, 33)
"""Lengths of an action's name that the peer's clients and servers accept (control-protocol reference, 1)."""
RESERVED = frozenset({"ping", "pong", "close", "event", "stopped", "serverinfo", "userinfo"})
"""Words of the channel itself, in either direction."""


class ActionRegistry:
    """All actions of one server by name. Nothing gets in without a permission that can be decided."""

    def __init__(self, actions: Iterable[UserAction] = ()) -> None:
        """Raises ConfigurationError as `add` does."""
        self._actions: dict[str, UserAction] = {}
        for action in actions:
            self.add(action)

    def add(self, action: UserAction) -> None:
        """Take an action in. Raises ConfigurationError, which names the action and what is wrong with it."""
        if (problem := self._problem(action)) is not None:
            raise ConfigurationError(f"control action {action.name!r}: {problem}")
        self._actions[action.name] = action

    def get(self, name: str) -> UserAction | None:
        return self._actions.get(name)

    def __iter__(self) -> Iterator[UserAction]:
        return iter(self._actions.values())

    def __len__(self) -> int:
        return len(self._actions)

    def _problem(self, action: Any) -> str | None:
        """What is wrong with a declaration; a plugin that no type checker has seen may have put anything into it."""
        if not isinstance(action.name, str) or len(action.name) not in NAME_LENGTHS:
            return "the name must have 3 to 32 characters"
        if action.name in RESERVED:
            return "the name is a word of the channel itself"
        if action.name in self._actions:
            return "two plugins claim this name"
        if not (inspect.isclass(action.request) and issubclass(action.request, ActionRequest)):
            return "the request must be a subclass of ActionRequest"
        if not isinstance(action.audit, Audit):
            return "the audit class is missing"
        if not inspect.iscoroutinefunction(action.handler):
            return "the handler must be a coroutine function"
        if not action.summary.strip():
            return "the summary is missing"
        return permission_problem(action.permission, action.request)


def permission_problem(permission: object, request: type[ActionRequest]) -> str | None:
    """What keeps a permission from being decided for this request, as a sentence; None when nothing does."""
    if not isinstance(permission, Permission):
        return "it has no permission"
    match permission.scope:
        case Scope.SITE if permission.site_capability is None:
            return "a permission on the site needs a site capability"
        case Scope.GROUP | Scope.DEVICE if permission.capability is None or not permission.field:
            return "a permission on an object needs a capability and the request's field with the object's id"
        case Scope.GROUP | Scope.DEVICE if permission.field not in request.model_fields:
            return f"its permission is about {permission.field!r}, which the request does not have"
    return None
