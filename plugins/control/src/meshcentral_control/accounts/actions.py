"""The actions that manage accounts (control-protocol reference, chapter 7)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from meshcentral.plugins import rights, targets
from meshcentral.plugins.actions import ActionContext, Audit, UserAction, UserSession, on_site
from meshcentral.plugins.documents import DeviceGroup, Link, User
from meshcentral.plugins.errors import Conflict, NotAuthorised, UsageError
from meshcentral.plugins.events import SessionControl
from meshcentral.plugins.rights import SiteCapability
from meshcentral.plugins.store import Change, Store
from meshcentral.plugins.views import account_for_clients, device_for_clients, group_for_clients
from meshcentral_control import links
from meshcentral_control.accounts.passwords import random_password
from meshcentral_control.accounts.requests import (
    INVALID_RIGHTS,
    PERMISSION_DENIED,
    AddUser,
    ChangeUserPassword,
    NamedUser,
    NoMembers,
)
from meshcentral_control.accounts.rules import check_name, check_password
from meshcentral_control.accounts.service import Accounts
from meshcentral_control.events import (
    AccountCreated,
    AccountPasswordChanged,
    AccountRemoved,
    DeviceEdited,
    GroupChanged,
)
from meshcentral_control.links import Linked
from meshcentral_control.lookup import account_named

MUST_CHANGE = -1


class AccountActions:
    """Handlers; the passwords themselves are the service's."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    def actions(self) -> Iterable[UserAction]:
        """The descriptors."""
        manage = on_site(SiteCapability.MANAGE_USERS)
        yield UserAction("users", NoMembers, manage, self.list, Audit.READ, "All accounts of the domain.")
        yield UserAction(
            "adduser", AddUser, manage, self.add, Audit.CHANGE, "Add an account.", events=("accountcreate",)
        )
        yield UserAction(
            "deleteuser",
            NamedUser,
            manage,
            self.remove,
            Audit.CHANGE,
            "Remove an account, its links, and end its sessions.",
            events=("accountremove", "meshchange", "changenode"),
        )
        yield UserAction(
            "changeuserpass",
            ChangeUserPassword,
            manage,
            self.change_password,
            Audit.CHANGE,
            "Set the password of an account and end its sessions.",
            events=("accountchange",),
        )

    async def list(self, context: ActionContext, request: NoMembers) -> Mapping[str, Any]:
        session = context.session
        found = [user for user in context.server.store.users if session.local or user.domain == session.domain]
        return {"users": [account_for_clients(user) for user in found]}

    async def add(self, context: ActionContext, request: AddUser) -> Mapping[str, Any]:
        session = context.session
        domain = _domain_of(context, request.domain)
        user_id = check_name(request.name, domain)
        _check_grant(session, request.site_rights)
        password, weakness = _chosen_password(session, request.password, request.random_password, request.name)
        stored = await self._accounts.hash(password)
        user = _new_user(context, request, user_id, domain)
        async with context.change(user_id, site_rights=request.site_rights) as change:
            store = context.server.store
            if store.users.get(user_id) is not None:
                raise Conflict("User already exists")
            change.put(user)
            self._accounts.put(change, user_id, stored)
            adopted = _adopt_orphans(change, store, user) if session.local else []
        _announce_added(context, store.users.get(user_id) or user, adopted)
        return {"result": "ok", **_told(password if request.random_password else None, weakness)}

    async def remove(self, context: ActionContext, request: NamedUser) -> Mapping[str, Any]:
        store = context.server.store
        async with context.change(_find(context, request.user_id).id) as change:
            user = _find(context, request.user_id)
            _check_not_last(store, user)
            unlinked = links.unlink_account(change, store, user)
            self._accounts.remove(change, user.id)
            change.delete(user)
        _announce_removed(context, user, unlinked)
        return {"result": "ok"}

    async def change_password(self, context: ActionContext, request: ChangeUserPassword) -> Mapping[str, Any]:
        user_id = _find(context, request.user_id).id
        password, weakness, stored = None, None, None
        if request.random_password or request.password:
            name = _find(context, user_id).name
            chosen = _chosen_password(context.session, request.password, request.random_password, name)
            password, weakness = chosen
            stored = await self._accounts.hash(password)
        async with context.change(user_id) as change:
            user = _find(context, user_id)
            changed = user.password_changed if stored is None else context.server.clock.milliseconds() // 1000
            if request.must_change:
                changed = MUST_CHANGE
            if stored is not None:
                self._accounts.put(change, user.id, stored)
            change.update(user, password_changed=changed)
        _announce_password(context, user.with_(password_changed=changed))
        return {"result": "ok", **_told(password if request.random_password else None, weakness)}


# -- rules of who may do what to which account -----------------------------------------------------------------------


def _find(context: ActionContext, text: str) -> User:
    """The account, if the session may manage it: nobody but a full administrator changes one."""
    user = account_named(context, text)
    if user.site_rights == rights.ALL and not context.session.may(SiteCapability.FULL):
        raise NotAuthorised(PERMISSION_DENIED)
    return user


def _check_grant(session: UserSession, site_rights: int) -> None:
    if session.may(SiteCapability.FULL) or not site_rights & ~rights.MANAGER_MAY_SET:
        return
    raise UsageError(INVALID_RIGHTS, hint="Only a full administrator may give more than restrictions.")


def _check_not_last(store: Store, user: User) -> None:
    if user.site_rights != rights.ALL:
        return
    if not any(other.site_rights == rights.ALL and other.id != user.id for other in store.users):
        raise Conflict(
            "The last site administrator cannot be removed", hint="Add another one first: user add --site-admin."
        )


def _domain_of(context: ActionContext, wanted: str | None) -> str:
    session = context.session
    domain = session.domain if wanted is None else wanted
    if domain not in context.server.domains or not (session.local or domain == session.domain):
        raise UsageError("Invalid domain")
    return domain


# -- parts ------------------------------------------------------------------------------------------------------------


def _chosen_password(session: UserSession, given: str | None, random: bool, name: str) -> tuple[str, str | None]:
    """The password to set, and what is weak about it. Raises UsageError when it may not be used."""
    if random:
        return random_password(), None
    password = given or ""
    return password, check_password(password, name, insist=not session.local)


def _told(password: str | None, weakness: str | None) -> dict[str, str]:
    """Members of the reply: a password that was made here, and a warning about one that was not."""
    members = {} if password is None else {"password": password}
    if weakness is not None:
        members["warning"] = f"The password is weak: {weakness}"
    return members


def _new_user(context: ActionContext, request: AddUser, user_id: str, domain: str) -> User:
    now = context.server.clock.milliseconds() // 1000
    return User(
        id=user_id,
        domain=domain,
        name=request.name,
        created=now,
        site_rights=request.site_rights,
        email=request.email,
        email_verified=request.email_verified if request.email is not None else None,
        real_name=request.real_name,
        password_changed=MUST_CHANGE if request.must_change else now,
    )


def _adopt_orphans(change: Change, store: Store, user: User) -> list[DeviceGroup]:
    """A full administrator made on the server itself gets the groups that nobody administers: without this, groups
    made before the first account would be out of everybody's reach."""
    if user.site_rights != rights.ALL:
        return []
    adopted: list[DeviceGroup] = []
    for group in store.groups:
        owned = any(link.rights == rights.ALL for link in group.links.values())
        if owned or group.deleted is not None or group.domain != user.domain:
            continue
        linked = links.link_group(change, group, [user])
        user = user.with_(links={**user.links, group.id: Link(rights=rights.ALL)})
        adopted.append(linked)
    return adopted


def _announce_added(context: ActionContext, user: User, adopted: Iterable[DeviceGroup]) -> None:
    session, bus = context.session, context.server.bus
    event = AccountCreated(
        domain=user.domain,
        text=f"Account created, user name is {user.name}",
        arguments=(user.name,),
        actor_id=session.actor,
        actor_name=session.actor_name,
        account=account_for_clients(user),
    )
    bus.publish(event, targets.of_account(user.id))
    for group in adopted:
        _announce_members(context, group)


def _announce_removed(context: ActionContext, user: User, unlinked: Iterable[Linked]) -> None:
    session, bus = context.session, context.server.bus
    for target in unlinked:
        _announce_members(context, target)
    event = AccountRemoved(
        domain=user.domain,
        text=f"Account removed: {user.name}",
        arguments=(user.name,),
        actor_id=session.actor,
        actor_name=session.actor_name,
        removed_id=user.id,
    )
    bus.publish(event, targets.of_account(user.id))
    bus.signal(SessionControl.CLOSE, [user.id])


def _announce_members(context: ActionContext, target: Linked) -> None:
    """Tell a group's or device's audience who is linked to it now."""
    session, bus = context.session, context.server.bus
    if isinstance(target, DeviceGroup):
        group_event = GroupChanged(
            domain=target.domain,
            text=f"Members of the device group {target.name} changed",
            arguments=(target.name, []),
            actor_id=session.actor,
            actor_name=session.actor_name,
            group=group_for_clients(target),
        )
        bus.publish(group_event, targets.of_group(target, session.actor))
        return
    device_event = DeviceEdited(
        domain=target.domain,
        text=f"Members of the device {target.name} changed",
        actor_id=session.actor,
        actor_name=session.actor_name,
        node=device_for_clients(target),
    )
    bus.publish(device_event, targets.of_device(context.server.store, target, session.actor))


def _announce_password(context: ActionContext, user: User) -> None:
    """A new password ends the account's open sessions, except that of somebody who changed the own one."""
    session, bus = context.session, context.server.bus
    event = AccountPasswordChanged(
        domain=user.domain,
        text=f"Password of the account {user.name} changed",
        arguments=(user.name,),
        actor_id=session.actor,
        actor_name=session.actor_name,
        account=account_for_clients(user),
    )
    bus.publish(event, targets.of_account(user.id))
    if session.actor != user.id:
        bus.signal(SessionControl.CLOSE, [user.id])
