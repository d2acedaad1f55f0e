"""Links between accounts and device groups or devices: both sides change together, always here."""

from __future__ import annotations

from collections.abc import Iterable

from meshcentral.plugins import rights
from meshcentral.plugins.actions import ActionContext
from meshcentral.plugins.documents import Device, DeviceGroup, Link, User
from meshcentral.plugins.events import SessionControl
from meshcentral.plugins.store import Change, Store
from meshcentral.plugins.targets import of_account
from meshcentral.plugins.views import account_for_clients
from meshcentral_control.events import AccountLinksChanged

Linked = DeviceGroup | Device


def link_group(change: Change, group: DeviceGroup, members: Iterable[User], mask: int = rights.ALL) -> DeviceGroup:
    """Give accounts rights on a group that is stored, or put in this change. Returns the group as it will be."""
    links = dict(group.links)
    for user in members:
        links[user.id] = Link(rights=mask, name=user.name)
        change.update(user, links={**user.links, group.id: Link(rights=mask)})
    change.update(group, links=links)
    return group.with_(links=links)


def unlink_account(change: Change, store: Store, user: User) -> list[Linked]:
    """Take an account out of the links of everything that it is linked to. Returns those as they will be."""
    changed: list[Linked] = []
    for object_id in user.links:
        target: Linked | None = store.groups.get(object_id) or store.devices.get(object_id)
        if target is None or user.id not in target.links:
            continue
        links = {name: link for name, link in target.links.items() if name != user.id}
        change.update(target, links=links)
        changed.append(target.with_(links=links))
    return changed


def unlink_object(change: Change, store: Store, targets: Iterable[Linked]) -> list[User]:
    """Take groups or devices out of the links of all accounts. Returns those accounts as they will be."""
    gone = {target.id for target in targets}
    changed: list[User] = []
    for user in store.users:
        if gone.isdisjoint(user.links):
            continue
        links = {name: link for name, link in user.links.items() if name not in gone}
        change.update(user, links=links)
        changed.append(user.with_(links=links))
    return changed


def announce_accounts(context: ActionContext, users: Iterable[User]) -> None:
    """After the change: open sessions of these accounts hear of what they are linked to now, and learn it."""
    session, server = context.session, context.server
    for user_id in [user.id for user in users]:
        if (user := server.store.users.get(user_id)) is None:
            continue
        server.bus.signal(SessionControl.RESUBSCRIBE, [user.id])
        event = AccountLinksChanged(
            domain=user.domain,
            actor_id=session.actor,
            actor_name=session.actor_name,
            account=account_for_clients(user),
        )
        server.bus.publish(event, of_account(user.id))
