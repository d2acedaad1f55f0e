"""The actions on device groups (control-protocol reference, chapter 8)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from meshcentral.plugins import rights, targets
from meshcentral.plugins.actions import ActionContext, Audit, UserAction, on_group, on_site, signed_in
from meshcentral.plugins.documents import DeviceGroup, User
from meshcentral.plugins.errors import NotAuthorised, NotFound
from meshcentral.plugins.rights import Capability, SiteCapability
from meshcentral.plugins.store import Store
from meshcentral.plugins.views import group_for_clients
from meshcentral_control import links
from meshcentral_control.devices.requests import CreateGroup, EditGroup, NoMembers, RemoveGroup
from meshcentral_control.events import GroupChanged, GroupCreated, GroupRemoved
from meshcentral_control.lookup import account_named
from meshcentral_protocol import identifiers

_FIELD_NUMBERS = {"name": 1, "description": 2}
"""Numbers of changed fields in the translated sentence of `meshchange`."""


def actions() -> Iterable[UserAction]:
    """The descriptors."""
    yield UserAction("meshes", NoMembers, signed_in(), list_groups, Audit.READ, "Device groups with any right on them.")
    yield UserAction(
        "createmesh",
        CreateGroup,
        on_site(SiteCapability.NEW_GROUPS),
        create_group,
        Audit.CHANGE,
        "Make a device group; its creator gets full rights.",
        events=("createmesh",),
    )
    yield UserAction(
        "editmesh",
        EditGroup,
        on_group("group_id", Capability.EDIT_GROUP),
        edit_group,
        Audit.CHANGE,
        "Change name or description of a device group.",
        events=("meshchange",),
    )
    yield UserAction(
        "deletemesh",
        RemoveGroup,
        on_group("group_id", Capability.FULL),
        remove_group,
        Audit.CHANGE,
        "Remove a device group with its devices.",
        events=("deletemesh",),
    )


async def list_groups(context: ActionContext, request: NoMembers) -> Mapping[str, Any]:
    """Groups that were deleted stay hidden until one of their agents brings them back."""
    session = context.session
    found = [group for group in context.server.store.groups if group.deleted is None and session.capabilities_on(group)]
    return {"meshes": [group_for_clients(group) for group in found]}


async def create_group(context: ActionContext, request: CreateGroup) -> Mapping[str, Any]:
    session, server = context.session, context.server
    async with context.change() as change:
        owners = _owners(context, request.owner)
        domain = owners[0].domain if owners else session.domain
        group = DeviceGroup(
            id=identifiers.new_group_id(domain),
            domain=domain,
            name=request.name,
            group_type=request.group_type,
            description=request.description or None,
            created=server.clock.milliseconds(),
            creator_id=session.actor,
            creator_name=session.actor_name,
        )
        change.put(group)
        group = links.link_group(change, group, owners)
        change.audit(group=group.id, name=group.name, owners=[user.id for user in owners])
    links.announce_accounts(context, owners)
    body = group_for_clients(group)
    event = GroupCreated(
        domain=domain,
        text=f"Device group created: {group.name}",
        arguments=(group.name,),
        actor_id=session.actor,
        actor_name=session.actor_name,
        group=body,
    )
    server.bus.publish(event, targets.of_group(group, session.actor))
    return {"result": "ok", "meshid": group.id, "links": body["links"]}


async def edit_group(context: ActionContext, request: EditGroup) -> Mapping[str, Any]:
    session, server = context.session, context.server
    wanted: dict[str, Any] = {}
    if request.name is not None:
        wanted["name"] = request.name
    if request.description is not None:
        wanted["description"] = request.description or None
    async with context.change(context.groups[0].id) as change:
        before = _current(server.store, context.groups[0])
        fields = {name: value for name, value in wanted.items() if getattr(before, name) != value}
        change.update(before, **fields)
        change.audit(**fields)
    if not fields:
        return {"result": "ok"}
    group = before.with_(**fields)
    event = GroupChanged(
        domain=group.domain,
        text=f"Device group {group.name} changed: {', '.join(fields)}",
        arguments=(group.name, [_FIELD_NUMBERS[name] for name in fields]),
        actor_id=session.actor,
        actor_name=session.actor_name,
        group=group_for_clients(group),
    )
    server.bus.publish(event, targets.of_group(group, session.actor))
    return {"result": "ok"}


async def remove_group(context: ActionContext, request: RemoveGroup) -> Mapping[str, Any]:
    """The group's document and both sides of its links stay, marked as deleted: when one of its agents connects
    again, the group comes back with the members that it had."""
    session, server = context.session, context.server
    store = server.store
    async with context.change(context.groups[0].id) as change:
        group = _current(store, context.groups[0])
        members = [device for device in store.devices if device.group_id == group.id]
        for device in members:
            change.delete(device)
        unlinked = links.unlink_object(change, store, members)
        change.update(group, deleted=server.clock.now().isoformat())
        change.audit(name=group.name, devices=len(members))
    event = GroupRemoved(
        domain=group.domain,
        text=f"Device group removed: {group.name}",
        arguments=(group.name,),
        actor_id=session.actor,
        actor_name=session.actor_name,
        group=group_for_clients(group),
    )
    server.bus.publish(event, targets.of_group(group, session.actor))
    links.announce_accounts(context, unlinked)
    for device in members:
        if (agent := server.agents.get(device.id)) is not None:
            agent.disconnect("its device group was removed")
    return {"result": "ok"}


def _current(store: Store, group: DeviceGroup) -> DeviceGroup:
    """The group as it is inside a change: it may have been removed since the permission was checked."""
    current = store.groups.get(group.id)
    if current is None or current.deleted is not None:
        raise NotFound(EditGroup.unknown)
    return current


def _owners(context: ActionContext, wanted: str | None) -> list[User]:
    """Who gets full rights on a new group: its creator, or the account that a user manager names. For the local
    administrator, who has no account, every full administrator of the domain."""
    session, store = context.session, context.server.store
    if wanted is not None:
        if not session.may(SiteCapability.MANAGE_USERS):
            raise NotAuthorised(CreateGroup.denied)
        return [account_named(context, wanted)]
    user = session.user
    if user is not None:
        return [user]
    return [user for user in store.users if user.site_rights == rights.ALL and user.domain == session.domain]
