"""One control-channel session: its account, its rights as they are now, and its place on the event bus."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from meshcentral.plugins import rights
from meshcentral.plugins.documents import Device, DeviceGroup, User
from meshcentral.plugins.events import Redaction, SessionControl, Subscription
from meshcentral.plugins.rights import Capability, SiteCapability
from meshcentral.plugins.web import Socket
from meshcentral_control.channel.messages import encode_parts
from meshcentral_control.targets import heard_by, limited_for

if TYPE_CHECKING:
    from meshcentral.plugins.server import Server

LOCAL = "local"
LOCAL_NAME = "local administrator"


class ControlSession:
    """A person, a tool or the local administrator; implements `UserSession` and the bus's `Subscriber`.

    Rights are read from the store each time, so a change takes effect at once.
    """

    __slots__ = (
        "_limited",
        "_resuming",
        "_server",
        "_socket",
        "_subscription",
        "_user_id",
        "domain",
        "id",
    )

    def __init__(self, server: Server, socket: Socket, user: User | None) -> None:
        """`user` None is the local administrator."""
        self._server = server
        self._socket = socket
        self._user_id = None if user is None else user.id
        self._subscription: Subscription | None = None
        self._resuming = False
        self._limited: frozenset[str] = frozenset()
        self.domain = socket.connection.domain
        self.id = f"{self.actor}/{secrets.token_hex(20)}"

    # -- who it is ----------------------------------------------------------------------------------------------

    @property
    def local(self) -> bool:
        return self._user_id is None

    @property
    def user(self) -> User | None:
        return None if self._user_id is None else self._server.store.users.get(self._user_id)

    @property
    def actor(self) -> str:
        return self._user_id or LOCAL

    @property
    def actor_name(self) -> str:
        if self.local:
            return LOCAL_NAME
        user = self.user
        return self.actor if user is None else user.name

    @property
    def remote_address(self) -> str:
        return self._socket.connection.remote_address

    # -- what it may --------------------------------------------------------------------------------------------

    def may(self, capability: SiteCapability) -> bool:
        if self.local:
            return True
        user = self.user
        return user is not None and capability in rights.site_capabilities_of(user.site_rights)

    def capabilities_on(self, target: Device | DeviceGroup) -> frozenset[Capability]:
        mask = self._mask(target)
        return frozenset() if mask is None else rights.capabilities_of(mask)

    def mask_on(self, target: Device | DeviceGroup) -> int:
        return self._mask(target) or 0

    def _mask(self, target: Device | DeviceGroup) -> int | None:
        if self.local:
            return rights.ALL
        user = self.user
        return None if user is None else rights.mask_on(user, target)

    # -- sending ------------------------------------------------------------------------------------------------

    @property
    def writable(self) -> bool:
        return self._socket.writable

    def send(self, message: Mapping[str, Any]) -> None:
        self._socket.send_parts(encode_parts(message))

    def send_encoded(self, message: bytes) -> None:
        """Send a message that was encoded for many."""
        self._socket.send_text(message)

    # -- events -------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Take a place on the bus."""
        self._subscription = self._server.bus.subscribe(self, heard_by(self), domain=self.domain)
        self._limited = limited_for(self.user)

    def close(self) -> None:
        """Leave the bus."""
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None

    def deliver(self, message: bytes) -> bool:
        if not self._socket.writable:
            if not self._resuming:
                self._resuming = True
                self._socket.when_writable(self._resume)
            return False
        if not self._limited or not self._is_about_others(message):
            self._socket.send_text(message)
        return True

    def control(self, signal: SessionControl) -> None:
        match signal:
            case SessionControl.CLOSE:
                self._socket.close()
            case SessionControl.RESUBSCRIBE:
                self._resubscribe()
            case SessionControl.UPDATE_FILES:
                pass  # this session shows no server files

    def overflowed(self) -> None:
        """Too slow for its events: it must connect again and read everything anew."""
        self._socket.send('{"action":"stopped","msg":"resync"}')
        self._socket.close()

    def sees(self, redaction: Redaction, event: Mapping[str, Any]) -> bool:
        target = self._target_of(event)
        return self.local if target is None else redaction.unless in self.capabilities_on(target)

    def _target_of(self, event: Mapping[str, Any]) -> Device | DeviceGroup | None:
        node_id, group_id = event.get("nodeid"), event.get("meshid")
        store = self._server.store
        if isinstance(node_id, str) and (device := store.devices.get(node_id)) is not None:
            return device
        return store.groups.get(group_id) if isinstance(group_id, str) else None

    def _resume(self) -> None:
        self._resuming = False
        if self._subscription is not None:
            self._subscription.resume()

    def _resubscribe(self) -> None:
        user = self.user
        if not self.local and (user is None or rights.is_locked(user.site_rights)):
            self._socket.close()
        elif self._subscription is not None:
            self._subscription.retarget(heard_by(self))
            self._limited = limited_for(self.user)

    def _is_about_others(self, message: bytes) -> bool:
        event = json.loads(message)["event"]
        if event.get("userid") in (None, self._user_id):
            return False
        concerned = (event.get("meshid"), event.get("nodeid"), self._group_of(event))
        return not self._limited.isdisjoint(concerned)

    def _group_of(self, event: Mapping[str, Any]) -> str | None:
        device = self._server.store.devices.get(str(event.get("nodeid")))
        return None if device is None else device.group_id
