"""The authorisation table: roles x actions x objects, generated from the action registry."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from meshcentral.core.websocket.memory import memory_pair
from meshcentral.plugins import rights
from meshcentral.plugins.actions import Scope
from meshcentral.plugins.documents import Device, DeviceGroup, Link, User
from meshcentral.plugins.errors import MeshError, NotAuthorised, NotFound
from meshcentral.plugins.store import AuditEntry
from meshcentral.plugins.web import Connection
from meshcentral_control.channel.dispatcher import parse
from meshcentral_control.channel.endpoint import ControlEndpoint
from meshcentral_control.channel.permissions import Permitted, check_objects, check_standing
from meshcentral_control.channel.registry import ActionRegistry
from meshcentral_control.channel.session import ControlSession
from meshcentral_control.devices.plugin import DevicesPlugin

TABLE = tomllib.loads(Path(__file__).with_name("permissions.toml").read_text("utf-8"))
ROLES = ("local", "admin", "owner", "operator", "viewer", "manager", "stranger")
LINKS = {
    "owner": rights.ALL,
    "operator": rights.RUN_COMMANDS | rights.REMOTE_CONTROL,
    "viewer": 0,
}
SITE = {"admin": rights.ALL, "manager": rights.SITE_MANAGE_USERS}
SHORT = "A" * 64
GROUP = f"mesh//{SHORT}"
DEVICE = f"node//{SHORT}"
ABSENT = "B" * 64
DELETED = f"mesh//{'C' * 64}"
FOREIGN_GROUP = f"mesh//{'D' * 64}"
FOREIGN_DEVICE = f"node//{'D' * 64}"
OTHER_DOMAIN_GROUP = f"mesh/other/{SHORT}"
OTHER_DOMAIN_DEVICE = f"node/other/{SHORT}"


class World:
    """One server with an account for each role, and objects of every kind."""

    def __init__(self, server: Any, registry: ActionRegistry) -> None:
        self.server = server
        self.registry = registry

    def session(self, role: str) -> ControlSession:
        connection = Connection("GET", "/control.ashx", {}, {}, "192.0.2.1", 1, True)
        _, socket = memory_pair(connection)
        return ControlSession(self.server, socket, self.server.store.users.get(f"user//{role}"))

    def decide(self, role: str, action: str, request: dict[str, Any]) -> Permitted:
        """What the dispatcher does before it runs a handler."""
        descriptor = self.registry.get(action)
        assert descriptor is not None
        session = self.session(role)
        check_standing(descriptor.permission, session, descriptor.request)
        parsed = parse(descriptor.request, request)
        return check_objects(descriptor.permission, session, parsed, self.server.store)

    def refusal(self, role: str, action: str, request: dict[str, Any]) -> MeshError:
        with pytest.raises(MeshError) as refused:
            self.decide(role, action, request)
        return refused.value


@pytest.fixture
async def world(mesh_server) -> World:
    server = await mesh_server([DevicesPlugin], listen=False, domains=["other"])
    everybody = {f"user//{role}": Link(rights=mask) for role, mask in LINKS.items()}
    async with server.store.change(AuditEntry("server", "test")) as change:
        for role in ROLES[1:]:
            links = {GROUP: Link(rights=LINKS[role]), DELETED: Link(rights=LINKS[role])} if role in LINKS else {}
            change.put(User(id=f"user//{role}", name=role, site_rights=SITE.get(role, 0), links=links))
        change.put(DeviceGroup(id=GROUP, name="Lab", links=everybody))
        change.put(DeviceGroup(id=DELETED, name="Gone", links=everybody, deleted="2026-01-01T00:00:00+00:00"))
        change.put(DeviceGroup(id=FOREIGN_GROUP, name="Foreign"))
        change.put(DeviceGroup(id=OTHER_DOMAIN_GROUP, domain="other", name="Other"))
        change.put(Device(id=DEVICE, group_id=GROUP, name="pc"))
        change.put(Device(id=FOREIGN_DEVICE, group_id=FOREIGN_GROUP, name="foreign"))
        change.put(Device(id=OTHER_DOMAIN_DEVICE, domain="other", group_id=OTHER_DOMAIN_GROUP, name="other"))
    endpoint = ControlEndpoint(server, None, None)  # type: ignore[arg-type]  # only its registry is wanted
    return World(server, endpoint.build_registry())


def filled(value: Any, group: str = GROUP, device: str = DEVICE) -> Any:
    """A request of the table with its objects put in."""
    if isinstance(value, dict):
        return {name: filled(member, group, device) for name, member in value.items()}
    if isinstance(value, list):
        return [filled(member, group, device) for member in value]
    return {"@group": group, "@device": device}.get(value, value) if isinstance(value, str) else value


async def test_every_action_has_rows_and_every_row_an_action(world):
    assert sorted(action.name for action in world.registry) == sorted(TABLE)


async def test_allow_and_deny(world):
    for action, row in TABLE.items():
        assert set(row["allow"]) <= set(ROLES), action
        request = filled(row.get("request", {}))
        for role in ROLES:
            if role in row["allow"]:
                world.decide(role, action, request)
            else:
                refused = world.refusal(role, action, request)
                assert isinstance(refused, NotAuthorised | NotFound), (action, role)


async def test_absent_deleted_foreign_and_other_domain_look_alike(world):
    for action in world.registry:
        if action.permission.scope not in (Scope.GROUP, Scope.DEVICE):
            continue
        template = TABLE[action.name]["request"]
        for role in ("owner", "stranger", "admin"):
            refusals = {
                (type(refused), str(refused), refused.hint)
                for group, device in (
                    (f"mesh//{ABSENT}", f"node//{ABSENT}"),
                    (DELETED, f"node//{ABSENT}"),
                    (FOREIGN_GROUP, FOREIGN_DEVICE),
                    (OTHER_DOMAIN_GROUP, OTHER_DOMAIN_DEVICE),
                    ("nonsense", "nonsense"),
                    ("user//owner", "user//owner"),
                    ("../../etc/passwd", "node//" + "A" * 63 + "/"),
                )
                for refused in [world.refusal(role, action.name, filled(template, group, device))]
            }
            assert refusals == {(NotFound, action.request.unknown, None)}, (action.name, role)


async def test_one_forbidden_object_among_several_refuses_all(world):
    request = {"nodeids": [DEVICE, FOREIGN_DEVICE], "type": 0, "cmds": "true"}
    assert isinstance(world.refusal("owner", "runcommands", request), NotFound)
    assert isinstance(world.refusal("owner", "removedevices", request), NotFound)


async def test_short_ids_are_completed_and_repeated_ones_count_once(world):
    permitted = world.decide("owner", "removedevices", {"nodeids": [SHORT, SHORT]})
    assert [device.id for device in permitted.devices] == [DEVICE]


async def test_groups_by_name_are_looked_up_among_the_visible_ones(world):
    named = {"meshname": "Lab"}
    assert [group.id for group in world.decide("owner", "deletemesh", named).groups] == [GROUP]
    assert str(world.refusal("stranger", "deletemesh", named)) == "Invalid group identifier"
    assert str(world.refusal("owner", "deletemesh", {"meshname": "Foreign"})) == "Invalid group identifier"
    assert str(world.refusal("owner", "deletemesh", {"meshname": "Gone"})) == "Invalid group identifier"
    assert str(world.refusal("owner", "deletemesh", {})) == "Invalid group identifier"
    twin = DeviceGroup(id=f"mesh//{'E' * 64}", name="Lab")
    world.server.store.note(twin)
    assert [group.id for group in world.decide("owner", "deletemesh", named).groups] == [GROUP]
    owner = world.server.store.users.get("user//owner")
    world.server.store.note(owner.with_(links={**owner.links, twin.id: Link(rights=rights.ALL)}))
    assert str(world.refusal("owner", "deletemesh", named)) == "Duplicate device groups found"


async def test_an_account_that_is_gone_may_nothing(world):
    session = world.session("admin")
    world.server.store.note_deleted(world.server.store.users.get("user//admin"))
    for action in world.registry:
        with pytest.raises(NotAuthorised):
            check_standing(action.permission, session, action.request)
    assert session.capabilities_on(world.server.store.devices.get(DEVICE)) == frozenset()
