"""The Origin rule (security reference, threat 1): decided by the route's access alone, in every configuration."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from meshcentral.plugins.web import Access


def socket_origin_allowed(access: Access, origins: Sequence[str], own: AbstractSet[str]) -> bool:
    """May a WebSocket be opened? `origins` are all Origin headers of the request, `own` our `https://name[:port]`.

    Programs send no Origin. A browser always does, and it must be one of ours to the letter: another port, case or a
    trailing dot is another origin, and `null` is nobody's.
    """
    if not origins:
        return True
    return access is not Access.AGENT and len(origins) == 1 and origins[0] in own


def route_origin_allowed(access: Access, origins: Sequence[str], own: AbstractSet[str]) -> bool:
    """May an HTTP route be requested? As for sockets, but a public route may be fetched from anywhere."""
    return access is Access.PUBLIC or socket_origin_allowed(access, origins, own)
