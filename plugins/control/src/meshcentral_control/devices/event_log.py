"""Reading stored events (control-protocol reference, 10.3): only those that the session would have heard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from meshcentral.plugins.actions import ActionContext, Audit, UserAction, UserSession, signed_in
from meshcentral.plugins.errors import NotAuthorised, UsageError
from meshcentral.plugins.rights import Capability, SiteCapability
from meshcentral_control.channel.permissions import visible
from meshcentral_control.devices.requests import MAX_EVENTS, ListEvents
from meshcentral_control.targets import heard_by, limited_for
from meshcentral_protocol import identifiers
from meshcentral_protocol.errors import IdentifierError
from meshcentral_protocol.identifiers import Kind

if TYPE_CHECKING:
    from meshcentral.plugins.documents import Device

_HIDDEN = frozenset({"_id", "ids", "domain", "type"})


def actions() -> Iterable[UserAction]:
    """The descriptor."""
    yield UserAction(
        "events",
        ListEvents,
        signed_in(),
        list_events,
        Audit.READ,
        "Stored events, newest first: all that the session may see, of one device, or of one account.",
    )


async def list_events(context: ActionContext, request: ListEvents) -> Mapping[str, Any]:
    if request.node_id is not None:
        return await _of_device(context, request, request.node_id)
    if (user := request.user_id or request.user) is not None:
        return await _of_account(context, request, user)
    return {"events": await _read(context, request, _readable_targets(context.session))}


def _readable_targets(session: UserSession) -> list[str] | None:
    """What the session hears of, but for groups whose other accounts it must not see; None means all."""
    if session.local:
        return None
    limited = limited_for(session.user)
    return [target for target in heard_by(session) if target not in limited]


async def _of_device(context: ActionContext, request: ListEvents, text: str) -> Mapping[str, Any]:
    device = _device(context, text)
    if device is None:
        return {"events": [], "nodeid": text}
    found = await _read(context, request, [device.id])
    if Capability.ALL_EVENTS not in context.session.capabilities_on(device):
        found = [event for event in found if event.get("userid") in (None, context.session.actor)]
    short = [{name: value for name, value in event.items() if name not in ("etype", "nodeid")} for event in found]
    return {"events": short, "nodeid": device.id}


async def _of_account(context: ActionContext, request: ListEvents, text: str) -> Mapping[str, Any]:
    session = context.session
    try:
        user_id = identifiers.complete(text, Kind.USER, session.domain)
    except IdentifierError as error:
        raise UsageError("Invalid userid", hint=str(error)) from None
    if user_id != session.actor and not session.may(SiteCapability.MANAGE_USERS):
        raise NotAuthorised(request.denied)
    return {"events": await _read(context, request, [user_id]), "userid": user_id}


async def _read(context: ActionContext, request: ListEvents, targets: list[str] | None) -> list[dict[str, Any]]:
    """Events of the session's domain; what is filtered here is read in full and cut afterwards."""
    session = context.session
    plain = request.filter is None and session.local
    rows = await context.server.store.events(targets, limit=request.limit if plain else MAX_EVENTS)
    wanted = (
        event
        for event in rows
        if (session.local or event.get("domain", "") == session.domain)
        and request.filter in (None, event.get("action"))
    )
    cut = [event for event, _ in zip(wanted, range(request.limit), strict=False)]
    seen = (context.server.bus.redacted(event, session.sees) for event in cut)
    return [{name: value for name, value in event.items() if name not in _HIDDEN} for event in seen]


def _device(context: ActionContext, text: str) -> Device | None:
    try:
        node_id = identifiers.complete(text, Kind.NODE, context.session.domain)
    except IdentifierError:
        return None
    device = context.server.store.devices.get(node_id)
    return device if device is not None and visible(context.session, device) else None
