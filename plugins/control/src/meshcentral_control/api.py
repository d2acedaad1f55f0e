"""What other plugins may import: the services of these plugins, found through the server that they run in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

from pydantic import Field

from meshcentral.plugins.actions import ActionContext, ActionRequest, SessionDirectory
from meshcentral.plugins.errors import NotReady

if TYPE_CHECKING:
    from meshcentral.plugins.server import Server
    from meshcentral_control.accounts.service import Accounts

__all__ = ["AgentReplies", "GroupRequest", "accounts", "agent_replies", "sessions"]


class GroupRequest(ActionRequest):
    """A request about one device group, named by `meshid` or, instead, by `meshname`.

    A name is looked up among the visible groups for agents (control-protocol reference, 3.5); a subclass that uses
    `meshname` for something else gives `group_name` another alias.
    """

    unknown: ClassVar[str] = "Invalid group identifier"
    refusals: ClassVar[Mapping[str, str]] = {"meshid": "Invalid group identifier"}

    group_id: str | None = Field(default=None, alias="meshid", min_length=1, max_length=134)
    group_name: str | None = Field(default=None, alias="meshname", min_length=1, max_length=128)


class AgentReplies(Protocol):
    """Requests that an agent answers later, with `{"action":"msg","type":...}` (control-protocol reference, 9.1)."""

    def expect(self, context: ActionContext, node_id: str, kind: str, seconds: float) -> None:
        """Promise the requester an answer: when the agent leaves or the time passes, it is told so.

        Raises Conflict when the session waits for too many answers already.
        """
        ...


def sessions(server: Server) -> SessionDirectory:
    """The live control sessions of the server. Needs `requires = ("channel",)`."""
    return cast(SessionDirectory, _plugin(server, "channel").directory)


def agent_replies(server: Server) -> AgentReplies:
    """Bookkeeping of what agents still have to answer. Needs `requires = ("channel",)`."""
    return cast(AgentReplies, _plugin(server, "channel").agent_messages)


def accounts(server: Server) -> Accounts:
    """Logins and passwords. Needs `requires = ("accounts",)`."""
    return cast("Accounts", _plugin(server, "accounts").service(server))


def _plugin(server: Server, name: str) -> Any:
    for record in server.plugins:
        if record.name == name and record.plugin is not None:
            return record.plugin
    raise NotReady(f"the plugin {name} is not loaded", hint=f"`mesh plugins show {name}` says why.")
