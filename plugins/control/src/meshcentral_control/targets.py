"""What a session hears of: the targets that it is subscribed to (control-protocol reference, 10.1)."""

from __future__ import annotations

from meshcentral.plugins import rights
from meshcentral.plugins.actions import UserSession
from meshcentral.plugins.documents import User
from meshcentral.plugins.events import ALL_USERS, EVERYTHING, USER_MANAGERS
from meshcentral.plugins.rights import Capability, SiteCapability


def heard_by(session: UserSession) -> list[str]:
    """The targets that a session is subscribed to, by its rights as they are now."""
    if session.local:
        return [EVERYTHING, ALL_USERS]
    user = session.user
    if user is None:
        return []
    targets = [user.id, ALL_USERS, *user.links]
    if session.may(SiteCapability.ALL_EVENTS):
        targets.append(EVERYTHING)
    elif session.may(SiteCapability.MANAGE_USERS):
        targets.append(USER_MANAGERS)
    return targets


def limited_for(user: User | None) -> frozenset[str]:
    """Groups and devices whose events about other accounts this account must not see (`LimitEvents`)."""
    if user is None:
        return frozenset()
    return frozenset(
        object_id
        for object_id, link in user.links.items()
        if Capability.ALL_EVENTS not in rights.capabilities_of(link.rights)
    )
