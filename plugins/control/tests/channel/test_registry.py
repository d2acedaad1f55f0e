"""Nothing gets into the registry that cannot be authorised."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from pydantic import Field

from meshcentral.plugins.actions import (
    ActionRequest,
    Audit,
    Permission,
    Scope,
    UserAction,
    local_only,
    on_device,
    on_group,
    on_site,
    signed_in,
)
from meshcentral.plugins.errors import ConfigurationError
from meshcentral.plugins.rights import Capability, SiteCapability
from meshcentral_control.channel.registry import ActionRegistry


class OneDevice(ActionRequest):
    node_id: str = Field(alias="nodeid")


async def handler(context: Any, request: Any) -> None:
    return None


def blocking(context: Any, request: Any) -> None:
    return None


GOOD = UserAction("wake", OneDevice, on_device("node_id", Capability.WAKE), handler, Audit.COMMAND, "Wake it.")


@pytest.mark.parametrize(
    "permission",
    [signed_in(), local_only(), on_site(SiteCapability.FULL), on_group("node_id", Capability.VIEW), GOOD.permission],
)
def test_sound_declarations_are_taken(permission):
    registry = ActionRegistry([dataclasses.replace(GOOD, permission=permission)])
    assert registry.get("wake") is not None
    assert registry.get("sleep") is None
    assert len(registry) == len(list(registry)) == 1


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"name": "ab"}, "3 to 32"),
        ({"name": "a" * 33}, "3 to 32"),
        ({"name": None}, "3 to 32"),
        ({"name": "ping"}, "word of the channel"),
        ({"permission": None}, "no permission"),
        ({"permission": Permission(Scope.SITE)}, "site capability"),
        ({"permission": Permission(Scope.DEVICE, field="node_id")}, "capability"),
        ({"permission": Permission(Scope.GROUP, capability=Capability.VIEW)}, "field"),
        ({"permission": on_device("nodeid", Capability.WAKE)}, "'nodeid', which the request does not have"),
        ({"request": dict}, "subclass of ActionRequest"),
        ({"handler": blocking}, "coroutine"),
        ({"audit": None}, "audit"),
        ({"summary": " "}, "summary"),
    ],
)
def test_others_are_refused_with_the_reason(changes, problem):
    with pytest.raises(ConfigurationError, match=problem):
        ActionRegistry([dataclasses.replace(GOOD, **changes)])


def test_two_claims_to_one_name_are_refused():
    with pytest.raises(ConfigurationError, match="'wake': two plugins claim this name"):
        ActionRegistry([GOOD, GOOD])


def test_an_action_cannot_be_written_without_a_permission():
    with pytest.raises(TypeError, match="permission"):
        UserAction("wake", OneDevice, handler=handler, audit=Audit.READ, summary="Wake it.")  # type: ignore[call-arg]
