"""Running commands on devices (control-protocol reference, chapter 9: `runcommands`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from meshcentral.plugins import targets
from meshcentral.plugins.actions import ActionContext, Audit, UserAction, on_device
from meshcentral.plugins.agents import AgentSession
from meshcentral.plugins.documents import Device
from meshcentral.plugins.errors import MeshError, NotAuthorised, UsageError
from meshcentral.plugins.rights import Capability
from meshcentral_agents.api import Caller, RunAs, Shell, routed_message, run_commands_message
from meshcentral_control.devices.requests import RunCommands
from meshcentral_control.events import CommandsRun
from meshcentral_protocol.agent_types import AGENT_TYPES, Platform

if TYPE_CHECKING:
    from meshcentral_control.api import AgentReplies

KIND = "runcommands"
CONSOLE = 4
ONE_HOUR = 3600
"""Seconds that a command may take when the request says nothing; what our agent core takes, too."""
GRACE_SECONDS = 15
"""The agent, which stops the command itself, gets to speak before the requester is told of a time-out."""
_ON_WINDOWS = frozenset({Shell.CMD, Shell.POWERSHELL})


class CommandActions:
    """The handler of `runcommands`."""

    def __init__(self, replies: AgentReplies) -> None:
        self._replies = replies

    def actions(self) -> Iterable[UserAction]:
        """The descriptor. Console commands need two rights more, which the handler asks for on each device."""
        yield UserAction(
            KIND,
            RunCommands,
            on_device("node_ids", Capability.RUN_COMMANDS),
            self.run,
            Audit.COMMAND,
            "Run commands on devices; with `reply` each agent answers by itself.",
            events=(KIND,),
        )

    async def run(self, context: ActionContext, request: RunCommands) -> Mapping[str, Any] | None:
        """Send to every device that can take it; each of the others gets a reply that says why not."""
        for device in context.devices:
            if request.command_type == CONSOLE:
                _check_console(context, device)
        sent = 0
        for device in context.devices:
            try:
                self._send(context, device, request)
                sent += 1
            except MeshError as error:
                context.reply(result=str(error), code=error.code, nodeid=device.id)
        answers_later = request.reply and request.command_type != CONSOLE
        return None if answers_later or not sent else {"result": "OK"}

    def _send(self, context: ActionContext, device: Device, request: RunCommands) -> None:
        agent = context.server.agents.get(device.id)
        if agent is None:
            raise AgentAway("Agent not connected")
        caller = caller_of(context, device)
        if request.command_type == CONSOLE:
            message = routed_message({"action": "msg", "type": "console", "value": request.commands}, caller)
        else:
            check_shell(agent, Shell(request.command_type))
            message = run_commands_message(
                caller,
                request.commands,
                response_id=context.response_id,
                shell=Shell(request.command_type),
                run_as=RunAs(request.run_as_user),
                reply=request.reply,
                timeout=request.timeout,
            )
            if request.reply:
                self._replies.expect(context, device.id, KIND, (request.timeout or ONE_HOUR) + GRACE_SECONDS)
        agent.send_json(message)
        _announce(context, device, request)


class AgentAway(MeshError):
    """The device's agent is not connected."""

    code = "agent_away"


def caller_of(context: ActionContext, device: Device) -> Caller:
    """On whose behalf the agent acts, and with which rights and consent (control-protocol reference, 9.1)."""
    session, user = context.session, context.session.user
    group = context.server.store.groups.get(device.group_id)
    own = (user.model_extra or {}).get("consent") if user is not None else None
    return Caller(
        session_id=session.id,
        user_id=session.actor,
        user_name=session.actor_name,
        rights=session.mask_on(device),
        remote_address=session.remote_address,
        consent=device.consent | (group.consent if group is not None else 0) | (own if isinstance(own, int) else 0),
        real_name=user.real_name if user is not None else None,
    )


def check_shell(agent: AgentSession, shell: Shell) -> None:
    """Raises UsageError when the device's platform does not have this shell."""
    known = AGENT_TYPES.get(agent.type_id)
    if known is None or shell is Shell.DEFAULT:
        return
    if (shell in _ON_WINDOWS) != (known.platform is Platform.WINDOWS):
        raise UsageError("Invalid command type", hint=f"The device runs {known.platform.value}.")


def _check_console(context: ActionContext, device: Device) -> None:
    if not {Capability.REMOTE_CONTROL, Capability.AGENT_CONSOLE} <= context.session.capabilities_on(device):
        raise NotAuthorised(RunCommands.denied)


def _announce(context: ActionContext, device: Device, request: RunCommands) -> None:
    session = context.session
    event = CommandsRun(
        domain=device.domain,
        text="Running commands",
        actor_id=session.actor,
        actor_name=session.actor_name,
        node_id=device.id,
        commands=request.commands,
        command_type=request.command_type,
        run_as_user=request.run_as_user,
    )
    context.server.bus.publish(event, targets.of_device(context.server.store, device, session.actor))
