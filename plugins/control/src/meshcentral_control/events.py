"""Events that the control plugins publish (control-protocol reference, 10.2). Each docstring is its documentation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meshcentral.plugins.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorEvent(Event):
    """Base: something that a session did."""

    actor_id: str
    actor_name: str

    def members(self) -> dict[str, Any]:
        return {"userid": self.actor_id, "username": self.actor_name}


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountEvent(ActorEvent):
    """Base: what concerns an account."""

    account: Mapping[str, Any]
    """The account as sent to clients."""

    def members(self) -> dict[str, Any]:
        return {**ActorEvent.members(self), "account": dict(self.account)}


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountCreated(AccountEvent):
    """An account was added."""

    action = "accountcreate"
    etype = "user"
    message_id = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountPasswordChanged(AccountEvent):
    """A user manager changed the password of an account."""

    action = "accountchange"
    etype = "user"
    message_id = 75


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountLinksChanged(AccountEvent):
    """The device groups or devices of an account changed."""

    action = "accountchange"
    etype = "user"
    stored = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRemoved(ActorEvent):
    """An account was removed."""

    action = "accountremove"
    etype = "user"
    message_id = 63

    removed_id: str

    def members(self) -> dict[str, Any]:
        return {**ActorEvent.members(self), "removed": self.removed_id}


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupEvent(ActorEvent):
    """Base: what concerns a device group."""

    group: Mapping[str, Any]
    """The group as sent to clients."""

    def members(self) -> dict[str, Any]:
        return {**ActorEvent.members(self), "meshid": self.group["_id"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupCreated(GroupEvent):
    """A device group was made."""

    action = "createmesh"
    etype = "mesh"
    message_id = 76

    def members(self) -> dict[str, Any]:
        return {**GroupEvent.members(self), "mtype": self.group["mtype"], "mesh": dict(self.group)}


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupChanged(GroupEvent):
    """Name, description or members of a device group changed."""

    action = "meshchange"
    etype = "mesh"
    message_id = 142

    def members(self) -> dict[str, Any]:
        changed = {name: value for name, value in self.group.items() if name not in ("_id", "type", "domain")}
        return {**GroupEvent.members(self), **changed}


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRemoved(GroupEvent):
    """A device group was removed with its devices."""

    action = "deletemesh"
    etype = "mesh"
    message_id = 77

    def members(self) -> dict[str, Any]:
        return {**GroupEvent.members(self), "name": self.group["name"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceEdited(ActorEvent):
    """A person changed settings of a device, or the links of accounts to it."""

    action = "changenode"
    etype = "node"
    message_id = 140

    node: Mapping[str, Any]
    """The device as sent to clients."""

    def members(self) -> dict[str, Any]:
        body = ActorEvent.members(self)
        body.update(node=dict(self.node), nodeid=self.node["_id"], meshid=self.node["meshid"])
        return body


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRemoved(ActorEvent):
    """A person removed a device."""

    action = "removenode"
    etype = "node"
    message_id = 87

    node_id: str
    group_id: str

    def members(self) -> dict[str, Any]:
        return {**ActorEvent.members(self), "nodeid": self.node_id, "meshid": self.group_id}


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandsRun(ActorEvent):
    """Commands were sent to a device."""

    action = "runcommands"
    etype = "node"
    message_id = 24

    node_id: str
    commands: str
    command_type: int
    run_as_user: int

    def members(self) -> dict[str, Any]:
        body = ActorEvent.members(self)
        body.update(nodeid=self.node_id, cmds=self.commands, cmdType=self.command_type, runAsUser=self.run_as_user)
        return body


PUBLISHED: tuple[type[Event], ...] = (
    AccountCreated,
    AccountPasswordChanged,
    AccountLinksChanged,
    AccountRemoved,
    GroupCreated,
    GroupChanged,
    GroupRemoved,
    DeviceEdited,
    DeviceRemoved,
    CommandsRun,
)
