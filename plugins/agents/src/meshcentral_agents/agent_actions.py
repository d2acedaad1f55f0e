"""What the server does with the JSON messages that every core sends (agent-protocol reference, 5.1)."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from meshcentral.plugins import AgentAction, AgentSession, Device, Server, targets
from meshcentral.plugins.events import Event, NodeChanged, WireEvent
from meshcentral.plugins.views import device_for_everyone
from meshcentral_agents.event_budget import EventBudget, Verdict
from meshcentral_agents.events import AgentLogged, DeviceSessionsChanged, NetworkChanged
from meshcentral_agents.messages import CoreInfo, LogEntry, NetworkInfo, SessionCounts

if TYPE_CHECKING:
    from meshcentral_agents.channel import AgentChannel


log = logging.getLogger("meshcentral.agents")


def network_key(node_id: str) -> str:
    """Where a device's network information is kept; the peer's document id."""
    return f"if{node_id}"


class AgentActions:
    """Handlers of `coreinfo`, `netinfo`, `sessions`, `log`, `ping` and `pong`."""

    def __init__(self, server: Server, channel_of: Callable[[AgentSession], AgentChannel | None]) -> None:
        self._server = server
        self._channel_of = channel_of
        self._budget = EventBudget(server.clock)
        self._network_digests: dict[str, bytes] = {}
        """What was last stored for a device, so that a reconnect costs no read."""

    def descriptors(self) -> Iterable[AgentAction]:
        """What the plugin registers."""
        yield AgentAction("coreinfo", self._core_info, "The core runs: operating system, capabilities, users.")
        yield AgentAction("netinfo", self._network_info, "Network interfaces.")
        yield AgentAction("sessions", self._sessions, "Counts of open remote sessions.")
        yield AgentAction("log", self._log, "A line for the device's event list.")
        yield AgentAction("ping", self._ping, "Answered with pong.")
        yield AgentAction("pong", self._pong, "The answer to our ping.")

    async def _core_info(self, session: AgentSession, message: Mapping[str, Any]) -> None:
        info = CoreInfo.model_validate(message)
        device, changes = info.apply(session.device)
        if changes:
            self._server.store.note(device)
            self._publish_changed(session, device, changes)
        if (channel := self._channel_of(session)) is not None:
            channel.core_info_arrived()

    def _publish_changed(self, session: AgentSession, device: Device, changes: Iterable[str]) -> None:
        group = self._server.store.groups.get(device.group_id)
        of_group = f" of group {group.name}" if group is not None else ""
        text = f"Changed device {device.name}{of_group}: {', '.join(changes)}"
        node = device_for_everyone(device, session)
        self._tell_within_budget(device, NodeChanged(domain=device.domain, node=node, text=text))

    def _tell_within_budget(self, device: Device, event: Event) -> None:
        """Publish an event that the device caused; beyond its budget it is seen, but not kept."""
        verdict = self._budget.take(device.id)
        if verdict is Verdict.FIRST_OVER:
            log.warning(
                "a device causes too many events; the rest of this minute is not kept", extra={"node": device.id}
            )
        published = event if verdict is Verdict.KEEP else WireEvent({**event.to_wire(), "nolog": 1})
        self._server.bus.publish(published, targets.of_device(self._server.store, device))

    async def _network_info(self, session: AgentSession, message: Mapping[str, Any]) -> None:
        interfaces = NetworkInfo.model_validate(message).interfaces()
        digest = hashlib.sha256(json.dumps(interfaces, sort_keys=True).encode()).digest()
        device = session.device
        if self._network_digests.get(device.id) == digest:
            return
        stored = await self._server.store.value(network_key(device.id))
        if not isinstance(stored, dict) or stored.get("netif2") != interfaces:
            await self._server.store.set_value(
                network_key(device.id),
                {
                    "type": "ifinfo",
                    "domain": device.domain,
                    "netif2": interfaces,
                    "updateTime": self._server.clock.milliseconds(),
                },
            )
            self._server.bus.publish(
                NetworkChanged(
                    domain=device.domain,
                    node_id=device.id,
                    group_id=device.group_id,
                    text=f"Network interfaces of {device.name} changed",
                ),
                targets.of_device(self._server.store, device),
            )
        self._network_digests[device.id] = digest

    def forget(self, node_id: str) -> None:
        """The device was removed: do not take its next report for a known one."""
        self._network_digests.pop(node_id, None)

    async def _sessions(self, session: AgentSession, message: Mapping[str, Any]) -> None:
        counts = SessionCounts.model_validate(message)
        channel = self._channel_of(session)
        if channel is None:
            return
        users = {user: count for user, count in counts.value.items() if count > 0}
        if channel.session_counts.get(counts.type, {}) == users:
            return
        if users:
            channel.session_counts[counts.type] = users
        else:
            channel.session_counts.pop(counts.type, None)
        self.publish_sessions(session.device, channel.session_counts)

    def publish_sessions(self, device: Device, counts: Mapping[str, Mapping[str, int]]) -> None:
        """Tell which remote sessions are open on a device."""
        self._server.bus.publish(
            DeviceSessionsChanged(domain=device.domain, node_id=device.id, group_id=device.group_id, sessions=counts),
            targets.of_device(self._server.store, device),
        )

    async def _log(self, session: AgentSession, message: Mapping[str, Any]) -> None:
        entry = LogEntry.model_validate(message)
        device = session.device
        user_id = entry.userid if self._may_act_on(entry.userid, device) else None
        event = AgentLogged(
            domain=device.domain,
            node_id=device.id,
            group_id=device.group_id,
            text=entry.msg,
            sentence=entry.msgid,
            arguments=tuple(entry.msgArgs or ()),
            user_id=user_id,
            user_name=entry.username if user_id is not None else None,
            guest_name=entry.guestname,
        )
        self._tell_within_budget(device, event)

    def _may_act_on(self, user_id: str | None, device: Device) -> bool:
        """Whether a device may name this account in its log: only one that has to do with it."""
        user = self._server.store.users.get(user_id) if user_id else None
        return (
            user is not None
            and user.domain == device.domain
            and (device.group_id in user.links or device.id in user.links)
        )

    async def _ping(self, session: AgentSession, message: Mapping[str, Any]) -> None:
        session.send_json({"action": "pong"})

    async def _pong(self, session: AgentSession, message: Mapping[str, Any]) -> None:
        """The traffic itself was the point."""
