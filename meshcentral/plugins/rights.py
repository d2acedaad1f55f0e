"""Rights as positive capabilities; the peer's masks, partly negative, exist only at the edge.

Bits: control-protocol reference, sections 3.1 and 3.2. `ALL` (4294967295) means every capability and ignores the
negative bits. Everything here is pure.
"""

from __future__ import annotations

import enum

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
