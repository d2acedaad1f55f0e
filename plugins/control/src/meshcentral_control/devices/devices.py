"""The actions on devices: list, change, remove (control-protocol reference, chapter 9)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from meshcentral.plugins import targets
from meshcentral.plugins.actions import ActionContext, Audit, UserAction, on_device, signed_in
from meshcentral.plugins.documents import Device
from meshcentral.plugins.errors import NotFound
from meshcentral.plugins.rights import Capability
from meshcentral.plugins.views import device_for_everyone
from meshcentral_agents.api import forget_device
from meshcentral_control import links
from meshcentral_control.channel.permissions import one_group_named, visible
from meshcentral_control.devices.inventory import Inventory
from meshcentral_control.devices.requests import ChangeDevice, ListDevices, NoMembers, OneDevice, RemoveDevices
from meshcentral_control.events import DeviceEdited, DeviceRemoved
from meshcentral_protocol import identifiers
from meshcentral_protocol.errors import IdentifierError
from meshcentral_protocol.identifiers import Kind


class DeviceActions:
    """Handlers of `nodes`, `changedevice` and `removedevices`."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory

    def actions(self) -> Iterable[UserAction]:
        """The descriptors."""
        yield UserAction(
            "nodes",
            ListDevices,
            signed_in(),
            self.list,
            Audit.READ,
            "Visible devices by device group, with live values.",
        )
        yield UserAction(
            "lastconnect",
            OneDevice,
            signed_in(),
            self.last_connect,
            Audit.READ,
            "When and from where a device's agent was last connected.",
        )
        yield UserAction(
            "lastconnects",
            NoMembers,
            signed_in(),
            self.last_connects,
            Audit.READ,
            "When the agents of all visible devices were last connected.",
        )
        yield UserAction(
            "changedevice",
            ChangeDevice,
            on_device("node_id", Capability.MANAGE_DEVICES),
            self.change,
            Audit.CHANGE,
            "Change name, icon, description or tags of a device.",
            events=("changenode",),
        )
        yield UserAction(
            "removedevices",
            RemoveDevices,
            on_device("node_ids", Capability.UNINSTALL),
            self.remove,
            Audit.CHANGE,
            "Remove devices; a connected agent comes back as a new device.",
            events=("removenode",),
        )

    async def list(self, context: ActionContext, request: ListDevices) -> Mapping[str, Any]:
        session = context.session
        user_id = None if session.local else session.actor
        if request.node_id is not None:
            return {"nodes": self._inventory.encode(_one(context, request.node_id), user_id)}
        devices = self._inventory.visible(session)
        if request.group_id is not None or request.group_name is not None:
            group_id = one_group_named(request, session, context.server.store.groups).id
            devices = (device for device in devices if device.group_id == group_id)
        return {"nodes": self._inventory.encode(devices, user_id)}

    async def last_connect(self, context: ActionContext, request: OneDevice) -> Mapping[str, Any]:
        """Failures carry `noinfo`, by which clients tell them from an answer."""
        found = _one(context, request.node_id)
        if not found:
            return {"nodeid": request.node_id, "noinfo": True, "result": request.unknown, "code": NotFound.code}
        device = found[0]
        if device.last_connected is None:
            return {"nodeid": device.id, "noinfo": True, "result": "No data"}
        return {"nodeid": device.id, "time": device.last_connected, "addr": device.last_address}

    async def last_connects(self, context: ActionContext, request: NoMembers) -> Mapping[str, Any]:
        devices = self._inventory.visible(context.session)
        return {"lastconnects": {device.id: device.last_connected for device in devices if device.last_connected}}

    async def change(self, context: ActionContext, request: ChangeDevice) -> Mapping[str, Any]:
        store = context.server.store
        async with context.change(context.devices[0].id) as change:
            before = store.devices.get(context.devices[0].id)
            if before is None:
                raise NotFound(request.unknown)
            fields = {name: value for name, value in _wanted(request).items() if getattr(before, name) != value}
            change.update(before, **fields)
            change.audit(**fields)
        if fields:
            _announce_changed(context, before.with_(**fields), list(fields))
        return {"result": "ok"}

    async def remove(self, context: ActionContext, request: RemoveDevices) -> None:
        """One reply for each device. Whoever was removed meanwhile by another request is gone all the same."""
        server = context.server
        removed: list[Device] = []
        async with context.change() as change:
            for device in context.devices:
                if (current := server.store.devices.get(device.id)) is not None:
                    change.delete(current)
                    removed.append(current)
            unlinked = links.unlink_object(change, server.store, removed)
            change.audit(devices=[device.id for device in removed])
        for device in removed:
            _announce_removed(context, device)
            if (agent := server.agents.get(device.id)) is not None:
                agent.disconnect("the device was removed")
            await forget_device(server, device.id)
        links.announce_accounts(context, unlinked)
        for device in context.devices:
            context.reply(result="ok", nodeid=device.id)


def _one(context: ActionContext, text: str) -> list[Device]:
    """The device, or nothing when it does not exist or may not be seen."""
    try:
        node_id = identifiers.complete(text, Kind.NODE, context.session.domain)
    except IdentifierError:
        return []
    device = context.server.store.devices.get(node_id)
    return [device] if device is not None and visible(context.session, device) else []


def _wanted(request: ChangeDevice) -> dict[str, Any]:
    wanted: dict[str, Any] = {}
    if request.name is not None:
        wanted["name"] = request.name
    if request.icon is not None:
        wanted["icon"] = request.icon
    if request.description is not None:
        wanted["description"] = request.description or None
    if request.tags is not None:
        wanted["tags"] = tuple(request.tags) or None
    return wanted


def _announce_changed(context: ActionContext, device: Device, fields: list[str]) -> None:
    server, session = context.server, context.session
    group = server.store.groups.get(device.group_id)
    event = DeviceEdited(
        domain=device.domain,
        text=f"Changed device {device.name} from group {group.name if group else '?'}: {', '.join(fields)}",
        arguments=(device.name, group.name if group else "", ", ".join(fields)),
        actor_id=session.actor,
        actor_name=session.actor_name,
        node=device_for_everyone(device, server.agents.get(device.id)),
    )
    server.bus.publish(event, targets.of_device(server.store, device, session.actor))


def _announce_removed(context: ActionContext, device: Device) -> None:
    server, session = context.server, context.session
    group = server.store.groups.get(device.group_id)
    event = DeviceRemoved(
        domain=device.domain,
        text=f"Removed device {device.name} from group {group.name if group else '?'}",
        arguments=(device.name, group.name if group else ""),
        actor_id=session.actor,
        actor_name=session.actor_name,
        node_id=device.id,
        group_id=device.group_id,
    )
    server.bus.publish(event, targets.of_device(server.store, device, session.actor))
