"""What a handler is given besides its request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from meshcentral.plugins.actions import Audit, UserAction, UserSession
from meshcentral.plugins.documents import Device, DeviceGroup
from meshcentral.plugins.store import AuditEntry, Change

if TYPE_CHECKING:
    from meshcentral.plugins.server import Server


@dataclass(frozen=True, slots=True)
class RequestContext:
    """One request of one session; implements `ActionContext`."""

    server: Server
    session: UserSession
    action: UserAction
    envelope: Mapping[str, Any]
    """`action`, and `responseid` and `tag` as far as the request has them: what every reply repeats."""
    devices: Sequence[Device] = field(default=())
    groups: Sequence[DeviceGroup] = field(default=())

    @property
    def response_id(self) -> Any:
        return self.envelope.get("responseid")

    def change(self, target: str = "", **detail: Any) -> AbstractAsyncContextManager[Change]:
        if self.action.audit is not Audit.CHANGE:
            raise RuntimeError(f"the action {self.action.name!r} is not declared as a change")
        return self.server.store.change(self.audit_entry(target, detail))

    def audit_entry(self, target: str, detail: Mapping[str, Any]) -> AuditEntry:
        """The audit row of this request."""
        return AuditEntry(
            actor=self.session.actor,
            action=self.action.name,
            target=target,
            address=self.session.remote_address,
            domain=self.session.domain,
            detail=detail,
        )

    def reply(self, **members: Any) -> None:
        self.session.send({**members, **self.envelope})

    def progress(self, done: int, total: int, label: str = "") -> None:
        self.reply(progress={"done": done, "total": total, "label": label})
