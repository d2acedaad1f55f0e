"""One event on its way to its recipients: encoded once for each class of recipients that sees the same."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from meshcentral.plugins.events import Redaction, Subscriber


class Publication:
    """An event and its encodings. A redaction class is the set of redactions that a recipient is subject to."""

    __slots__ = ("_encodings", "_redactions", "body", "domain")

    def __init__(self, body: dict[str, Any], redactions: Sequence[Redaction] = ()) -> None:
        """`redactions` are those of the event's action; only those whose member it really has count.

        Raises ValueError or TypeError for a body that is not JSON.
        """
        self.body = body
        self.domain: str | None = body.get("domain")
        self._redactions = tuple(redaction for redaction in redactions if redaction.concerns(body))
        # Encoded at once: an event that cannot be is its publisher's fault and no recipient's.
        full = (False,) * len(self._redactions)
        self._encodings = {full: self._encode(full)}

    def for_domain(self, domain: str) -> bool:
        """Whether recipients of a domain may have it. An event that names no domain concerns all."""
        return self.domain is None or self.domain == domain

    def encoded_for(self, subscriber: Subscriber) -> bytes:
        """The `{"action":"event",...}` text that this recipient may see."""
        if not self._redactions:
            return self._encodings[()]
        denied = tuple(not subscriber.sees(redaction, self.body) for redaction in self._redactions)
        message = self._encodings.get(denied)
        if message is None:
            message = self._encodings[denied] = self._encode(denied)
        return message

    def _encode(self, denied: tuple[bool, ...]) -> bytes:
        event: Mapping[str, Any] = self.body
        for redaction, hidden in zip(self._redactions, denied, strict=True):
            if hidden:
                event = redaction.applied_to(event)
        # ASCII: text from devices may hold lone surrogates, which have no UTF-8 form. NaN is not JSON.
        return json.dumps({"action": "event", "event": event}, separators=(",", ":"), allow_nan=False).encode()
