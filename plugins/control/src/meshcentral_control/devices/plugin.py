"""The `devices` plugin: device groups, devices, commands on them, and stored events."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from meshcentral.plugins.actions import UserAction
from meshcentral.plugins.events import EventType, Redaction
from meshcentral.plugins.hookspecs import hookimpl
from meshcentral.plugins.plugin import Plugin
from meshcentral.plugins.rights import Capability

if TYPE_CHECKING:
    from meshcentral.plugins.server import Server


class DevicesPlugin(Plugin):
    """Device groups and devices."""

    name = "devices"
    requires = ("agents", "channel")
    summary = "Device groups, devices, commands, stored events"

    @hookimpl
    def register_user_actions(self, server: Server) -> Iterable[UserAction]:
        """Groups, devices, commands, events."""
        from meshcentral_control.api import agent_replies
        from meshcentral_control.devices import event_log, groups
        from meshcentral_control.devices.commands import CommandActions
        from meshcentral_control.devices.devices import DeviceActions
        from meshcentral_control.devices.inventory import Inventory

        yield from groups.actions()
        yield from DeviceActions(Inventory(server)).actions()
        yield from CommandActions(agent_replies(server)).actions()
        yield from event_log.actions()

    @hookimpl
    def register_redactions(self) -> Iterable[Redaction]:
        """Command lines may hold secrets: only who may run commands on the device sees them."""
        yield Redaction("runcommands", ("cmds",), Capability.RUN_COMMANDS)

    @hookimpl
    def register_event_types(self) -> Iterable[EventType]:
        """What happens to device groups and devices."""
        from meshcentral_control.events import PUBLISHED

        for event in PUBLISHED:
            if event.etype != "user":
                yield EventType.of(event)
