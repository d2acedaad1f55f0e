"""Requests about device groups, devices and events (control-protocol reference, chapters 8 to 10)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from meshcentral.plugins.actions import ActionRequest
from meshcentral_control.api import GroupRequest

MAX_COMMANDS = 65_535
MAX_EVENTS = 10_000
MAX_NAMED = 1000
"""Devices that one request may name."""

NodeId = Annotated[str, Field(min_length=1, max_length=1024)]
NodeIds = Annotated[list[NodeId], Field(alias="nodeids", min_length=1, max_length=MAX_NAMED)]


class NoMembers(ActionRequest):
    """A request without members of its own."""


def _visible_text(text: str) -> str:
    text = text.strip()
    if not text:
        raise ValueError("it must not be blank")
    if not text.isprintable():
        raise ValueError("it must not hold line breaks, control characters or marks that reverse the text")
    return text


Name = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_visible_text)]
Description = Annotated[str, Field(max_length=1024)]


class CreateGroup(ActionRequest):
    """A new device group."""

    denied: ClassVar[str] = "Permission denied"
    refusals: ClassVar[Mapping[str, str]] = {
        "meshname": "Invalid group name",
        "desc": "Invalid group description",
        "meshtype": "Invalid group type",
        "owner": "Invalid userid",
    }

    name: Name = Field(alias="meshname")
    group_type: int = Field(alias="meshtype", ge=1, le=2, description="1 AMT only, 2 agents; 3 and 4 need a relay")
    description: Description | None = Field(default=None, alias="desc")
    owner: str | None = Field(default=None, max_length=2048, description="account that gets full rights; managers only")


class EditGroup(GroupRequest):
    """Changes to a device group; here `meshname` is the new name, and `meshidname` names the group."""

    refusals: ClassVar[Mapping[str, str]] = {
        "meshid": "Invalid group identifier",
        "meshidname": "Invalid group identifier",
        "meshname": "Invalid group name",
        "desc": "Invalid group description",
    }

    group_name: str | None = Field(default=None, alias="meshidname", min_length=1, max_length=128)
    name: Name | None = Field(default=None, alias="meshname")
    description: Description | None = Field(default=None, alias="desc", description="empty removes it")


class RemoveGroup(GroupRequest):
    """Remove a device group with its devices."""


class ListDevices(GroupRequest):
    """All visible devices, those of one group, or one device."""

    unknown: ClassVar[str] = "Invalid group id"
    refusals: ClassVar[Mapping[str, str]] = {"meshid": "Invalid group id"}

    node_id: NodeId | None = Field(default=None, alias="id")


class OneDevice(ActionRequest):
    """A question about one device."""

    unknown: ClassVar[str] = "Invalid device id"
    refusals: ClassVar[Mapping[str, str]] = {"nodeid": "Invalid device id"}

    node_id: NodeId = Field(alias="nodeid")


def _as_tags(value: Any) -> Any:
    """Comma text or a list; trimmed, unique, sorted."""
    if isinstance(value, str):
        value = value.split(",")
    if isinstance(value, Sequence) and all(isinstance(tag, str) for tag in value):
        return sorted({tag.strip() for tag in value} - {""})
    return value


Tag = Annotated[str, Field(max_length=63)]


class ChangeDevice(ActionRequest):
    """New settings of a device; what is absent stays."""

    unknown: ClassVar[str] = "Access Denied"
    denied: ClassVar[str] = "Access Denied"
    refusals: ClassVar[Mapping[str, str]] = {"nodeid": "Invalid nodeid"}

    node_id: NodeId = Field(alias="nodeid")
    name: Name | None = None
    icon: int | None = Field(default=None, ge=1, le=8)
    description: Description | None = Field(default=None, alias="desc", description="empty removes it")
    tags: Annotated[list[Tag], BeforeValidator(_as_tags), Field(max_length=100)] | None = None


class RemoveDevices(ActionRequest):
    """Devices to remove."""

    unknown: ClassVar[str] = "Denied"
    denied: ClassVar[str] = "Denied"
    refusals: ClassVar[Mapping[str, str]] = {"nodeids": "Invalid nodeid"}

    node_ids: NodeIds


class RunCommands(ActionRequest):
    """Commands for devices. `cmdpath` and `presetcmd` name files of the server, which it does not offer."""

    unknown: ClassVar[str] = "Invalid nodeid"
    refusals: ClassVar[Mapping[str, str]] = {
        "nodeids": "Invalid nodeid",
        "type": "Invalid command type",
        "cmds": "Invalid commands",
        "runAsUser": "Invalid runAsUser value",
    }

    node_ids: NodeIds
    command_type: Literal[0, 1, 2, 3, 4] = Field(
        alias="type", description="0 agent's own, 1 cmd, 2 PowerShell, 3 sh, 4 console"
    )
    commands: str = Field(alias="cmds", min_length=1, max_length=MAX_COMMANDS)
    run_as_user: Literal[0, 1, 2] = Field(default=0, alias="runAsUser")
    reply: bool = False
    timeout: int | None = Field(default=None, ge=1, le=86_400, description="seconds; ours")


class ListEvents(ActionRequest):
    """Stored events: of what the session hears, of one device, or of one account."""

    denied: ClassVar[str] = "Access denied"

    node_id: NodeId | None = Field(default=None, alias="nodeid")
    user_id: str | None = Field(default=None, alias="userid", max_length=2048)
    user: str | None = Field(default=None, max_length=2048, description="what MeshCtrl sends for `userid`")
    limit: int = Field(default=MAX_EVENTS, ge=1, le=MAX_EVENTS)
    filter: str | None = Field(default=None, max_length=32, description="only events with this action")
