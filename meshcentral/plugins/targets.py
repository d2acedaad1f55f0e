"""Who hears of what: the targets of events about devices, groups and accounts (control-protocol reference, 10.1)."""

from __future__ import annotations

from meshcentral.plugins.documents import Device, DeviceGroup
from meshcentral.plugins.events import EVERYTHING, USER_MANAGERS
from meshcentral.plugins.store import Store

_USER_GROUP = "ugrp/"


def of_device(store: Store, device: Device, actor: str | None = None) -> list[str]:
    """The device, its group, the user groups linked to either, those who see everything, and who did it."""
    group = store.groups.get(device.group_id)
    links = [*device.links, *(group.links if group is not None else ())]
    linked = dict.fromkeys(link for link in links if link.startswith(_USER_GROUP))
    return [EVERYTHING, device.id, device.group_id, *linked, *([actor] if actor else ())]


def of_group(group: DeviceGroup, actor: str | None = None) -> list[str]:
    """The group, its members (also those who have just lost it), those who see everything, and who did it."""
    return [EVERYTHING, group.id, *group.links, *([actor] if actor else ())]


def of_account(user_id: str) -> list[str]:
    """The account, those who manage accounts, and those who see everything."""
    return [EVERYTHING, USER_MANAGERS, user_id]
