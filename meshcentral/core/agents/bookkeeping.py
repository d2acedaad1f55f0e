"""What is written and announced when an agent comes and goes (agent-protocol reference, 3.5). Telemetry throughout."""

from __future__ import annotations

from meshcentral.core.agents.admission import Admitted, leaves_no_trace
from meshcentral.core.agents.host import AgentHost
from meshcentral.core.agents.session import ConnectedAgent
from meshcentral.plugins import targets
from meshcentral.plugins.documents import Device, DeviceGroup
from meshcentral.plugins.events import (
    Event,
    NodeAdded,
    NodeChanged,
    NodeConnectivityChanged,
    NodeRemoved,
    WireEvent,
)
from meshcentral.plugins.views import (
    AGENT_CONNECTED,
    POWER_UNKNOWN,
    POWERED_ON,
    device_for_clients,
    group_for_clients,
)
from meshcentral.plugins.web import Connection


class Bookkeeper:
    """Writes device records and publishes their events."""

    __slots__ = ("_host",)

    def __init__(self, host: AgentHost) -> None:
        self._host = host

    def admitted(self, admitted: Admitted, connection: Connection) -> Device:
        """Store what message 3 told, before message 4 is sent. Returns the device as it is stored now."""
        group = admitted.group
        if group is None:
            return admitted.device
        if group.deleted is not None:
            self._revive(group)
        address = f"{connection.remote_address}:{connection.remote_port}"
        device = admitted.device.with_(last_connected=self._host.clock.milliseconds(), last_address=address)
        self._host.store.note(device)
        if admitted.stored is None:
            text = f"Added device {device.name} to device group {group.name}"
            arguments = (device.name, group.name)
            self._publish(
                device, NodeAdded(domain=device.domain, node=device_for_clients(device), text=text, arguments=arguments)
            )
        elif admitted.changes:
            text = f"Changed device {device.name}: {', '.join(admitted.changes)}"
            self._publish(device, NodeChanged(domain=device.domain, node=device_for_clients(device), text=text))
        return self._host.store.devices.get(device.id) or device

    def connected(self, session: ConnectedAgent, *, again: bool) -> None:
        """Announce a session. `again`: it took over from another one of the same device."""
        device = self._host.store.devices.get(session.node_id)
        if device is None:
            return
        self._publish(device, self._connectivity(device, session))
        if not again:
            self._host.store.record_power(device.id, POWERED_ON, POWER_UNKNOWN)

    def disconnected(self, session: ConnectedAgent) -> None:
        """Announce the end of a device's only session, and remove a temporary device."""
        store = self._host.store
        device = store.devices.get(session.node_id)
        if device is None:
            return
        self._publish(device, self._connectivity(device, None))
        group = store.groups.get(device.group_id)
        if leaves_no_trace(device, group, session.capabilities):
            store.note_deleted(device)
            name = group.name if group is not None else device.group_id
            text = f"Removed temporary device {device.name} from device group {name}"
            removed = NodeRemoved(node_id=device.id, group_id=device.group_id, text=text, arguments=(device.name, name))
            self._publish(device, removed)
            return
        store.record_power(device.id, POWER_UNKNOWN, POWERED_ON)
        store.note(device.with_(last_connected=self._host.clock.milliseconds()))

    def _revive(self, group: DeviceGroup) -> None:
        """A deleted group comes back when one of its agents connects."""
        revived = group.with_(deleted=None)
        self._host.store.note(revived)
        body = {
            "etype": "mesh",
            "action": "createmesh",
            "domain": group.domain,
            "meshid": group.id,
            "name": group.name,
            "mtype": group.group_type,
            "mesh": group_for_clients(revived),
            "msg": f"Device group {group.name} is back because one of its agents connected",
        }
        self._host.bus.publish(WireEvent(body), targets.of_group(group))

    @staticmethod
    def _connectivity(device: Device, session: ConnectedAgent | None) -> NodeConnectivityChanged:
        return NodeConnectivityChanged(
            domain=device.domain,
            node_id=device.id,
            group_id=device.group_id,
            connectivity=AGENT_CONNECTED if session else 0,
            power=POWERED_ON if session else POWER_UNKNOWN,
            connect_time=int(session.connected_at.timestamp() * 1000) if session else None,
            fast_path=session.fast_path if session else None,
        )

    def _publish(self, device: Device, event: Event) -> None:
        self._host.bus.publish(event, targets.of_device(self._host.store, device))
