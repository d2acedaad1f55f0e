"""Rights as positive capabilities; the peer's masks, partly negative, exist only at the edge.

Bits: control-protocol reference, sections 3.1 and 3.2. `ALL` (4294967295) means every capability and ignores the
negative bits. Everything here is pure.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping

from meshcentral.plugins.documents import Device, DeviceGroup, User

ALL = 0xFFFFFFFF


class Capability(enum.Enum):
    """What an account may do to a device or a device group. The value is the name used in docs and audit."""

    VIEW = "view"
    EDIT_GROUP = "edit-group"
    MANAGE_MEMBERS = "manage-members"
    MANAGE_DEVICES = "manage-devices"
    REMOTE_CONTROL = "remote-control"
    REMOTE_VIEW = "remote-view"
    DESKTOP = "desktop"
    DESKTOP_FULL_INPUT = "desktop-full-input"
    TERMINAL = "terminal"
    FILES = "files"
    AMT = "amt"
    AGENT_CONSOLE = "agent-console"
    SERVER_FILES = "server-files"
    WAKE = "wake"
    NOTES = "notes"
    ALL_EVENTS = "all-events"
    CHAT_NOTIFY = "chat-notify"
    UNINSTALL = "uninstall"
    RUN_COMMANDS = "run-commands"
    RESET_OFF = "reset-off"
    GUEST_SHARING = "guest-sharing"
    DEVICE_DETAILS = "device-details"
    RELAY = "relay"
    FULL = "full"
    """Full administrator of the group or device: may also remove the group."""


class SiteCapability(enum.Enum):
    """What an account may do to the server itself."""

    BACKUP = "backup"
    MANAGE_USERS = "manage-users"
    RESTORE = "restore"
    FILES = "files"
    UPDATE = "update"
    NEW_GROUPS = "new-groups"
    TOOLS = "tools"
    USER_GROUPS = "user-groups"
    RECORDINGS = "recordings"
    CHANGE_SETTINGS = "change-settings"
    ALL_EVENTS = "all-events"
    NEW_DEVICES = "new-devices"
    FULL = "full"


EDIT_GROUP = 1
MANAGE_MEMBERS = 2
MANAGE_DEVICES = 4
REMOTE_CONTROL = 8
AGENT_CONSOLE = 16
SERVER_FILES = 32
WAKE = 64
NOTES = 128
REMOTE_VIEW_ONLY = 256
NO_TERMINAL = 512
NO_FILES = 1024
NO_AMT = 2048
LIMITED_INPUT = 4096
LIMIT_EVENTS = 8192
CHAT_NOTIFY = 16384
UNINSTALL = 32768
NO_DESKTOP = 65536
RUN_COMMANDS = 131072
RESET_OFF = 262144
GUEST_SHARING = 524288
DEVICE_DETAILS = 1048576
RELAY = 2097152

NOT_ON_A_DEVICE = EDIT_GROUP | MANAGE_MEMBERS | MANAGE_DEVICES
"""Rights that a link to a single device cannot give."""

SITE_LOCKED = 32
"""The account may not log in; ignored for full administrators. A state of the account, not a capability."""
SITE_MANAGE_USERS = 2
SITE_NO_NEW_GROUPS = 64
SITE_NO_TOOLS = 128
MANAGER_MAY_SET = SITE_LOCKED | SITE_NO_NEW_GROUPS | SITE_NO_TOOLS
"""The only bits that a user manager who is not a full administrator may give to a new account."""

_POSITIVE: Mapping[Capability, int] = {
    Capability.EDIT_GROUP: EDIT_GROUP,
    Capability.MANAGE_MEMBERS: MANAGE_MEMBERS,
    Capability.MANAGE_DEVICES: MANAGE_DEVICES,
    Capability.REMOTE_CONTROL: REMOTE_CONTROL,
    Capability.AGENT_CONSOLE: AGENT_CONSOLE,
    Capability.SERVER_FILES: SERVER_FILES,
    Capability.WAKE: WAKE,
    Capability.NOTES: NOTES,
    Capability.CHAT_NOTIFY: CHAT_NOTIFY,
    Capability.UNINSTALL: UNINSTALL,
    Capability.RUN_COMMANDS: RUN_COMMANDS,
    Capability.RESET_OFF: RESET_OFF,
    Capability.GUEST_SHARING: GUEST_SHARING,
    Capability.DEVICE_DETAILS: DEVICE_DETAILS,
    Capability.RELAY: RELAY,
}
_SITE_POSITIVE: Mapping[SiteCapability, int] = {
    SiteCapability.BACKUP: 1,
    SiteCapability.MANAGE_USERS: SITE_MANAGE_USERS,
    SiteCapability.RESTORE: 4,
    SiteCapability.FILES: 8,
    SiteCapability.UPDATE: 16,
    SiteCapability.USER_GROUPS: 256,
    SiteCapability.RECORDINGS: 512,
    SiteCapability.ALL_EVENTS: 2048,
}
_SITE_NEGATIVE: Mapping[SiteCapability, int] = {
    SiteCapability.NEW_GROUPS: SITE_NO_NEW_GROUPS,
    SiteCapability.TOOLS: SITE_NO_TOOLS,
    SiteCapability.CHANGE_SETTINGS: 1024,
    SiteCapability.NEW_DEVICES: 4096,
}
_REMOVABLE = REMOTE_CONTROL | AGENT_CONSOLE | WAKE | UNINSTALL | RUN_COMMANDS | RESET_OFF
_IMPOSABLE = REMOTE_VIEW_ONLY | NO_TERMINAL | NO_FILES | NO_DESKTOP
_FULL_BEFORE_REMOVAL = (
    EDIT_GROUP
    | MANAGE_MEMBERS
    | MANAGE_DEVICES
    | REMOTE_CONTROL
    | SERVER_FILES
    | WAKE
    | NOTES
    | CHAT_NOTIFY
    | UNINSTALL
    | RUN_COMMANDS
    | RESET_OFF
    | GUEST_SHARING
    | DEVICE_DETAILS
)
"""What a full right is worth once anything is removed from it (control-protocol reference, 3.2)."""

EVERY_CAPABILITY = frozenset(Capability)
EVERY_SITE_CAPABILITY = frozenset(SiteCapability)


def capabilities_of(mask: int) -> frozenset[Capability]:
    """What a mask on a visible device or group allows. A restriction counts only beside what it restricts."""
    if mask == ALL:
        return EVERY_CAPABILITY
    found = {Capability.VIEW}
    found.update(capability for capability, bit in _POSITIVE.items() if mask & bit)
    if not mask & LIMIT_EVENTS:
        found.add(Capability.ALL_EVENTS)
    if mask & (REMOTE_CONTROL | REMOTE_VIEW_ONLY) and not mask & NO_DESKTOP:
        found.add(Capability.REMOTE_VIEW)
    if mask & REMOTE_CONTROL:
        found.update(_controls_of(mask))
    return frozenset(found)


def _controls_of(mask: int) -> Iterable[Capability]:
    """What the right of remote control is worth after its restrictions."""
    if not mask & (NO_DESKTOP | REMOTE_VIEW_ONLY):
        yield Capability.DESKTOP
        if not mask & LIMITED_INPUT:
            yield Capability.DESKTOP_FULL_INPUT
    if not mask & NO_TERMINAL:
        yield Capability.TERMINAL
    if not mask & NO_FILES:
        yield Capability.FILES
    if not mask & NO_AMT:
        yield Capability.AMT


def mask_of(capabilities: Iterable[Capability]) -> int:
    """The mask that says the same, and never more: what a mask cannot express alone (the terminal without remote
    control) is left out. The reverse of `capabilities_of` for every set that function returns."""
    held = frozenset(capabilities)
    if Capability.FULL in held:
        return ALL
    mask = sum(bit for capability, bit in _POSITIVE.items() if capability in held)
    if Capability.ALL_EVENTS not in held:
        mask |= LIMIT_EVENTS
    if Capability.REMOTE_CONTROL not in held:
        return mask | REMOTE_VIEW_ONLY if Capability.REMOTE_VIEW in held else mask
    if Capability.REMOTE_VIEW not in held:
        mask |= NO_DESKTOP
    elif Capability.DESKTOP not in held:
        mask |= REMOTE_VIEW_ONLY
    elif Capability.DESKTOP_FULL_INPUT not in held:
        mask |= LIMITED_INPUT
    restrictions = (
        (Capability.TERMINAL, NO_TERMINAL),
        (Capability.FILES, NO_FILES),
        (Capability.AMT, NO_AMT),
    )
    return mask | sum(bit for capability, bit in restrictions if capability not in held)


def site_capabilities_of(mask: int) -> frozenset[SiteCapability]:
    """What an account's site rights allow. Whether it is locked is asked with `is_locked`."""
    if mask == ALL:
        return EVERY_SITE_CAPABILITY
    positive = {capability for capability, bit in _SITE_POSITIVE.items() if mask & bit}
    return frozenset(positive | {capability for capability, bit in _SITE_NEGATIVE.items() if not mask & bit})


def site_mask_of(capabilities: Iterable[SiteCapability]) -> int:
    """The site rights that say the same; the reverse of `site_capabilities_of`."""
    held = frozenset(capabilities)
    if SiteCapability.FULL in held:
        return ALL
    positive = sum(bit for capability, bit in _SITE_POSITIVE.items() if capability in held)
    return positive | sum(bit for capability, bit in _SITE_NEGATIVE.items() if capability not in held)


def is_locked(site_rights: int) -> bool:
    """Whether the account may not log in."""
    return site_rights != ALL and bool(site_rights & SITE_LOCKED)


def combine(masks: Iterable[int]) -> int | None:
    """The rights that several links give together: OR, and a full right wins over every restriction.

    None when there is no link at all: the object is not visible. 0 is visible without any right.
    """
    result: int | None = None
    for mask in masks:
        if mask == ALL:
            return ALL
        result = mask if result is None else result | mask
    return result


def without_removed(mask: int, removed: int) -> int:
    """Apply an account's `removeRights`: some bits take a right away, others impose a restriction.

    *View only* restricts remote control, but alone it lets an account watch: it is imposed only on who has control.
    """
    if not removed & (_REMOVABLE | _IMPOSABLE):
        return mask
    if mask == ALL:
        mask = _FULL_BEFORE_REMOVAL
    mask &= ~(removed & _REMOVABLE)
    imposed = removed & _IMPOSABLE
    return mask | (imposed if mask & REMOTE_CONTROL else imposed & ~REMOTE_VIEW_ONLY)


def linked_mask(user: User, *object_ids: str) -> int | None:
    """The rights that an account's links to these objects give it together, None when it has none of them."""
    mask = combine(user.links[object_id].rights for object_id in object_ids if object_id in user.links)
    return None if mask is None else without_removed(mask, user.removed_rights)


def mask_on(user: User, target: Device | DeviceGroup) -> int | None:
    """An account's rights on a device (its own links and its group's) or group; None when it is not visible.

    Objects of another domain are never visible. A full site administrator has no right on groups of others
    (control-protocol reference, 3.1).
    """
    if target.domain != user.domain:
        return None
    if isinstance(target, Device):
        return linked_mask(user, target.id, target.group_id)
    return linked_mask(user, target.id)
