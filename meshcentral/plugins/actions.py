"""Control-channel actions: descriptors, permissions, and what a handler is given.

Nothing can be registered without a permission: `UserAction` has no default for it, and the registry refuses one
whose object field the request model does not have.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict

from meshcentral.plugins.documents import Device, DeviceGroup, User
from meshcentral.plugins.rights import Capability, SiteCapability

if TYPE_CHECKING:
    from meshcentral.plugins.events import Redaction
    from meshcentral.plugins.server import Server
    from meshcentral.plugins.store import Change


class ActionRequest(BaseModel):
    """Base of request models. Members that no model names are ignored, as the peer does.

    The class variables are the peer's texts for what is refused before a handler runs: clients show them.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    refusals: ClassVar[Mapping[str, str]] = {}
    """By wire name: the text when that member is missing or wrong. The rule itself goes into the hint."""
    unknown: ClassVar[str] = "Unknown object"
    """When the object that the permission is about does not exist, or may not be seen."""
    denied: ClassVar[str] = "Access denied"
    """When the permission is refused."""
    message_ids: ClassVar[Mapping[str, int]] = {}
    """By text (up to a colon): the peer's number for it, sent as `msgid`."""


@dataclass(frozen=True, slots=True)
class EncodedJson:
    """A member of a reply that is already JSON, in parts: it is put into the message as it is."""

    parts: Sequence[bytes]


class Scope(enum.Enum):
    """What kind of object a permission is about."""

    SIGNED_IN = "signed-in"
    LOCAL = "local"
    SITE = "site"
    GROUP = "group"
    DEVICE = "device"


@dataclass(frozen=True, slots=True)
class Permission:
    """Who may run an action. Use the functions below to make one."""

    scope: Scope
    capability: Capability | None = None
    site_capability: SiteCapability | None = None
    field: str | None = None
    """Attribute of the request model that holds the object's id, or a list of ids. All must be permitted."""


def signed_in() -> Permission:
    """Any authenticated account; for what concerns only the account itself or is filtered by its rights."""
    return Permission(Scope.SIGNED_IN)


def local_only() -> Permission:
    """Only over the owner-only local socket or inside the process: what touches the server machine's files."""
    return Permission(Scope.LOCAL)


def on_site(capability: SiteCapability) -> Permission:
    """A right on the server."""
    return Permission(Scope.SITE, site_capability=capability)


def on_group(field: str, capability: Capability) -> Permission:
    """A right on each device group that the request names in `field`."""
    return Permission(Scope.GROUP, capability=capability, field=field)


def on_device(field: str, capability: Capability) -> Permission:
    """A right on each device that the request names in `field`."""
    return Permission(Scope.DEVICE, capability=capability, field=field)


class Audit(enum.Enum):
    """How an action is audited."""

    READ = "read"
    """Changes nothing and is not audited."""
    CHANGE = "change"
    """The handler makes its changes inside `context.change()`, which writes the row in the same transaction."""
    COMMAND = "command"
    """Acts on something outside the store: the dispatcher commits the row before the handler runs."""


class UserSession(Protocol):
    """One control-channel session: a person, a tool or the local administrator."""

    @property
    def id(self) -> str:
        """`<account id>/<40 hex>`."""
        ...

    @property
    def user(self) -> User | None:
        """The account as it is now; None for the local administrator."""
        ...

    @property
    def actor(self) -> str:
        """Account id, or `local`."""
        ...

    @property
    def actor_name(self) -> str: ...
    @property
    def domain(self) -> str: ...
    @property
    def local(self) -> bool: ...
    @property
    def remote_address(self) -> str: ...
    def send(self, message: Mapping[str, Any]) -> None: ...
    def may(self, capability: SiteCapability) -> bool: ...
    def capabilities_on(self, target: Device | DeviceGroup) -> frozenset[Capability]:
        """Empty when the object is not visible."""
        ...

    def sees(self, redaction: Redaction, event: Mapping[str, Any]) -> bool:
        """Whether the session may see the member of an event that the redaction hides."""
        ...

    def mask_on(self, target: Device | DeviceGroup) -> int:
        """The peer's rights mask, for the wire."""
        ...


class ActionContext(Protocol):
    """What a handler is given besides its request."""

    @property
    def server(self) -> Server: ...
    @property
    def session(self) -> UserSession: ...
    @property
    def devices(self) -> Sequence[Device]:
        """The permitted devices that the request names, in its order."""
        ...

    @property
    def groups(self) -> Sequence[DeviceGroup]: ...
    @property
    def response_id(self) -> Any:
        """The request's `responseid`, None when it has none."""
        ...

    def change(self, target: str = "", **detail: Any) -> AbstractAsyncContextManager[Change]:
        """Open the administrative change of this action; actor, action, address and domain are filled in."""
        ...

    def reply(self, **members: Any) -> None:
        """Send one of several replies to this request now; a handler whose replies are all sent returns None."""
        ...

    def progress(self, done: int, total: int, label: str = "") -> None:
        """Tell the requester how far a long action is (an extra message with `progress`)."""
        ...


Handler = Callable[[ActionContext, Any], Awaitable[Mapping[str, Any] | None]]


@dataclass(frozen=True, slots=True)
class UserAction:
    """A control-channel action. The handler returns the members of the reply besides `action`, `responseid`, `tag`;
    None means that no reply is sent now (an agent will answer). MeshError becomes `result: <message>`."""

    name: str
    request: type[ActionRequest]
    permission: Permission
    handler: Handler
    audit: Audit
    summary: str
    events: tuple[str, ...] = ()
    """Actions of the events that it publishes."""


class SessionDirectory(Protocol):
    """The live control sessions of this process; offered by the `channel` plugin."""

    def get(self, session_id: str) -> UserSession | None: ...
    def of_user(self, user_id: str) -> Sequence[UserSession]: ...
    def all(self) -> Sequence[UserSession]: ...
