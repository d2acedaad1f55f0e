"""The stored documents: accounts, device groups, devices.

Field names are ours; the aliases are the peer's stored and wire names (control-protocol reference, section 5).
Documents are immutable: a change makes a new one. Members that we do not know are kept in `model_extra`, so a
document of the peer survives a round trip.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field


class Document(BaseModel):
    """Base of everything that is kept by id. Equal documents have equal fields."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)

    kind: ClassVar[str]
    """The peer's `type` member; one in-memory collection per kind."""

    id: str = Field(alias="_id")
    domain: str = ""

    def with_(self, **fields: Any) -> Self:
        """A copy with some fields (Python names) replaced; unknown names become extra members."""
        return self.model_copy(update=fields)

    def to_stored(self) -> dict[str, Any]:
        """The JSON object that is stored: wire names, no absent members, with `type`."""
        # Without warnings: a copy with a wrong type is refused with an error where it is stored.
        body = self.model_dump(by_alias=True, exclude_none=True, warnings=False)
        body["type"] = self.kind
        return body

    @classmethod
    def from_stored(cls, body: Mapping[str, Any]) -> Self:
        """Read what `to_stored` (or the peer) wrote. Raises pydantic's ValidationError on wrong types."""
        return cls.model_validate({name: value for name, value in body.items() if name != "type"})


class Link(BaseModel):
    """One end of a link between an account or user group and a device group or device."""

    model_config = ConfigDict(frozen=True, extra="allow")

    rights: int = Field(ge=0, le=0xFFFFFFFF)
    name: str | None = None


class User(Document):
    """An account. Password hashes are not here: the `accounts` plugin keeps them in a table of its own."""

    kind = "user"

    name: str
    created: int | None = Field(default=None, alias="creation", description="seconds since 1970")
    site_rights: int = Field(default=0, alias="siteadmin", ge=0, le=0xFFFFFFFF)
    email: str | None = None
    email_verified: bool | None = Field(default=None, alias="emailVerified")
    real_name: str | None = Field(default=None, alias="realname")
    password_changed: int | None = Field(default=None, alias="passchange", description="seconds; -1 = must change")
    last_login: int | None = Field(default=None, alias="login", description="seconds since 1970")
    links: dict[str, Link] = Field(default_factory=dict)
    removed_rights: int = Field(default=0, alias="removeRights")


class DeviceGroup(Document):
    """A device group, `mesh` on the wire."""

    kind = "mesh"

    name: str
    group_type: int = Field(default=2, alias="mtype", description="1 AMT only, 2 agents, 3 local, 4 IP-KVM")
    description: str | None = Field(default=None, alias="desc")
    links: dict[str, Link] = Field(default_factory=dict)
    created: int | None = Field(default=None, alias="creation", description="milliseconds since 1970")
    creator_id: str | None = Field(default=None, alias="creatorid")
    creator_name: str | None = Field(default=None, alias="creatorname")
    flags: int = Field(default=0, description="1 remove devices when they leave, 2 follow host name, 4 record")
    consent: int = 0
    deleted: str | None = Field(default=None, description="ISO time of deletion; kept so that an agent can revive it")


class DeviceAgent(BaseModel):
    """What is known of the agent program on a device."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)

    version: int = Field(default=0, alias="ver")
    type_id: int = Field(default=0, alias="id")
    capabilities: int = Field(default=0, alias="caps")
    core: str | None = None
    tag: str | None = None
    root: bool | None = None


class Device(Document):
    """A device, `node` on the wire."""

    kind = "node"

    group_id: str = Field(alias="meshid")
    group_type: int = Field(default=2, alias="mtype")
    name: str
    host_name: str | None = Field(default=None, alias="rname")
    icon: int = Field(default=1, ge=1, le=8)
    host: str | None = None
    address: str | None = Field(default=None, alias="ip")
    description: str | None = Field(default=None, alias="desc")
    tags: tuple[str, ...] | None = None
    agent: DeviceAgent | None = None
    operating_system: str | None = Field(default=None, alias="osdesc")
    first_connected: int | None = Field(default=None, alias="firstconnect", description="milliseconds since 1970")
    last_connected: int | None = Field(default=None, alias="lastconnect", description="milliseconds; set at both ends")
    last_address: str | None = Field(default=None, alias="lastaddr", description="`address:port` of the last agent")
    last_boot: int | None = Field(default=None, alias="lastbootuptime", description="milliseconds since 1970")
    users: tuple[str, ...] | None = None
    locked_users: tuple[str, ...] | None = Field(default=None, alias="lusers")
    links: dict[str, Link] = Field(default_factory=dict)
    consent: int = 0
