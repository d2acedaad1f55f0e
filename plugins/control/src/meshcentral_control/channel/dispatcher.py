"""From one request to its reply: look up, validate, authorise, audit, run. No exception leaves it."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from meshcentral.plugins.actions import ActionRequest, Audit, UserAction
from meshcentral.plugins.errors import MeshError, NotFound, UsageError
from meshcentral_control.channel.context import RequestContext
from meshcentral_control.channel.permissions import Permitted, check_objects, check_standing
from meshcentral_control.channel.registry import NAME_LENGTHS, ActionRegistry
from meshcentral_control.channel.session import ControlSession

if TYPE_CHECKING:
    from meshcentral.plugins.server import Server

log = logging.getLogger("meshcentral.control")

ECHOED = ("responseid", "tag")


class Dispatcher:
    """Runs requests against the registry."""

    def __init__(self, server: Server, registry: ActionRegistry) -> None:
        self._server = server
        self._registry = registry

    async def run(self, session: ControlSession, message: Mapping[str, Any]) -> None:
        """Run one request and send its reply. Bad and unknown actions are met with silence, as the peer does, unless
        a `responseid` asks for an answer."""
        name = message.get("action")
        if not isinstance(name, str) or len(name) not in NAME_LENGTHS:
            return
        envelope = {"action": name, **{key: message[key] for key in ECHOED if key in message}}
        action = self._registry.get(name)
        if action is None:
            if "responseid" in message:
                session.send({**_failure(NotFound("Unknown action")), **envelope})
            return
        try:
            reply = await self._answer(session, action, message, envelope)
            if reply is not None:
                session.send({**reply, **envelope})
        except Exception:
            session.send({**_defect(name), **envelope})

    async def _answer(
        self, session: ControlSession, action: UserAction, message: Mapping[str, Any], envelope: Mapping[str, Any]
    ) -> Mapping[str, Any] | None:
        try:
            check_standing(action.permission, session, action.request)
            request = parse(action.request, message)
            permitted = check_objects(action.permission, session, request, self._server.store)
            context = RequestContext(
                self._server, session, action, envelope, devices=permitted.devices, groups=permitted.groups
            )
            if action.audit is Audit.COMMAND:
                await self._audit_command(context, permitted)
            return await action.handler(context, request)
        except MeshError as error:
            return _failure(error, action.request.message_ids)

    async def _audit_command(self, context: RequestContext, permitted: Permitted) -> None:
        """What acts outside of the store is on record before it happens; if that fails it does not happen."""
        ids = [target.id for target in (*permitted.devices, *permitted.groups)]
        entry = context.audit_entry(ids[0] if len(ids) == 1 else "", {"targets": ids} if len(ids) > 1 else {})
        async with self._server.store.change(entry):
            pass


def parse(model: type[ActionRequest], message: Mapping[str, Any]) -> ActionRequest:
    """The validated request. Raises UsageError with the peer's text for the member that is wrong."""
    try:
        return model.model_validate(message)
    except (ValidationError, RecursionError) as error:
        raise _refusal(model, error) from None


def _refusal(model: type[ActionRequest], error: ValidationError | RecursionError) -> UsageError:
    if isinstance(error, RecursionError):
        return UsageError("Invalid request")
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    member = str(first["loc"][0]) if first["loc"] else ""
    text = model.refusals.get(member) or (f"Invalid {member}" if member else "Invalid request")
    return UsageError(text, hint=f"{'.'.join(map(str, first['loc']))}: {first['msg']}")


def _failure(error: MeshError, message_ids: Mapping[str, int] | None = None) -> dict[str, Any]:
    """The members of a reply that says what was refused; `code` and `hint` are ours, for programs and people."""
    text = str(error)
    body: dict[str, Any] = {"result": text, "code": error.code}
    if error.hint is not None:
        body["hint"] = error.hint
    if message_ids and (number := message_ids.get(text.partition(":")[0])) is not None:
        body["msgid"] = number
    return body


def _defect(action: str) -> dict[str, Any]:
    """Log an unexpected exception once, under a number that the requester is told."""
    reference = secrets.token_hex(4)
    log.exception("control action %s failed", action, extra={"reference": reference})
    return {"result": f"Internal error, reference {reference}", "code": "internal"}
