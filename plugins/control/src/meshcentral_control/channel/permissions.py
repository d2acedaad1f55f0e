"""The one place where it is decided whether a session may run an action on the objects that a request names.

Everything is denied that is not allowed here. An object that does not exist, was deleted, belongs to another domain or
may not be seen gives the same answer in all four cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from meshcentral.plugins.actions import ActionRequest, Permission, Scope, UserSession
from meshcentral.plugins.documents import Device, DeviceGroup
from meshcentral.plugins.errors import Conflict, NotAuthorised, NotFound
from meshcentral_control.api import GroupRequest
from meshcentral_protocol import identifiers
from meshcentral_protocol.errors import IdentifierError
from meshcentral_protocol.identifiers import Kind

if TYPE_CHECKING:
    from meshcentral.plugins.store import Collection, Store

MAX_OBJECTS = 10_000
AGENT_GROUP = 2

ObjectT = TypeVar("ObjectT", Device, DeviceGroup)


@dataclass(frozen=True, slots=True)
class Permitted:
    """The objects that the request names, in its order, all of them permitted."""

    devices: tuple[Device, ...] = ()
    groups: tuple[DeviceGroup, ...] = ()


def check_standing(permission: Permission, session: UserSession, request: type[ActionRequest]) -> None:
    """What can be decided without looking at the request's members. Raises NotAuthorised."""
    match permission.scope:
        case Scope.LOCAL:
            allowed = session.local
        case Scope.SITE:
            allowed = permission.site_capability is not None and session.may(permission.site_capability)
        case Scope.SIGNED_IN | Scope.GROUP | Scope.DEVICE:
            allowed = session.local or session.user is not None
    if not allowed:
        raise NotAuthorised(request.denied)


def check_objects(permission: Permission, session: UserSession, request: ActionRequest, store: Store) -> Permitted:
    """Find the objects and check the right on each. Raises NotFound, Conflict (ambiguous name) or NotAuthorised."""
    match permission.scope:
        case Scope.DEVICE:
            ids = _named_ids(permission, request)
            return Permitted(devices=_permitted(permission, session, request, store.devices, Kind.NODE, ids))
        case Scope.GROUP:
            ids = _named_ids(permission, request)
            if not ids and isinstance(request, GroupRequest) and request.group_name is not None:
                ids = (one_group_named(request, session, store.groups).id,)
            return Permitted(groups=_permitted(permission, session, request, store.groups, Kind.GROUP, ids))
    return Permitted()


def visible(session: UserSession, target: Device | DeviceGroup) -> bool:
    """Whether the session may know that the object exists."""
    if isinstance(target, DeviceGroup) and target.deleted is not None:
        return False
    return bool(session.capabilities_on(target))


def _permitted(
    permission: Permission,
    session: UserSession,
    request: ActionRequest,
    collection: Collection[ObjectT],
    kind: Kind,
    ids: Sequence[str],
) -> tuple[ObjectT, ...]:
    if not 1 <= len(ids) <= MAX_OBJECTS:
        raise NotFound(request.unknown)
    return tuple(
        _check_one(permission, session, request, _find(collection, kind, session.domain, text)) for text in ids
    )


def _check_one(permission: Permission, session: UserSession, request: ActionRequest, target: ObjectT | None) -> ObjectT:
    if target is None or not visible(session, target):
        raise NotFound(request.unknown)
    if permission.capability not in session.capabilities_on(target):
        raise NotAuthorised(request.denied)
    return target


def _find(collection: Collection[ObjectT], kind: Kind, domain: str, text: str) -> ObjectT | None:
    """The document with this id, which may be in its short form."""
    try:
        return collection.get(identifiers.complete(text, kind, domain))
    except IdentifierError:
        return None


def _named_ids(permission: Permission, request: ActionRequest) -> Sequence[str]:
    value = getattr(request, permission.field or "", None)
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(dict.fromkeys(value))


def groups_named(request: GroupRequest, session: UserSession, groups: Collection[DeviceGroup]) -> list[DeviceGroup]:
    """The visible groups that the request means: by id, or all agent groups with the name."""
    if request.group_id is not None:
        group = _find(groups, Kind.GROUP, session.domain, request.group_id)
        return [group] if group is not None and visible(session, group) else []
    return [
        group
        for group in groups
        if group.name == request.group_name and group.group_type == AGENT_GROUP and visible(session, group)
    ]


def one_group_named(request: GroupRequest, session: UserSession, groups: Collection[DeviceGroup]) -> DeviceGroup:
    """The one visible group that the request means. Raises NotFound, or Conflict when a name is ambiguous."""
    found = groups_named(request, session, groups)
    if len(found) > 1:
        raise Conflict("Duplicate device groups found", hint="Name the group by its id.")
    if not found:
        raise NotFound(request.unknown)
    return found[0]
