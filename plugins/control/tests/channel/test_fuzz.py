"""Every action against hostile members: nothing reaches the log as a defect, and the session goes on."""

from __future__ import annotations

import random

ODD = (
    None, True, False, 0, -1, 1, 2**31, -(2**63), 10**400, 1.5, "", " ", "x", "x" * 3000, "\x00", "\u202e", "node//",
    "mesh//" + "A" * 64, "node//" + "A" * 64, "user//", "../..", "<script>", "'; --", "{{7*7}}", [], [None], ["x"],
    [[]], {}, {"a": 1}, {"$ne": 1}, ["node//" + "A" * 64] * 3,
)  # fmt: skip
ROUNDS = 12


async def test_hostile_members_of_every_action(control, caplog):
    from meshcentral_control.channel.endpoint import ControlEndpoint

    registry = ControlEndpoint(control.server, None, None).build_registry()  # type: ignore[arg-type]
    alice = await control.user("alice")
    chance = random.Random(5)  # noqa: S311 (repeatable test data)
    harmless = [action for action in registry if action.name not in ("rotatecertificate", "agentsimport")]
    for action in harmless:
        names = [field.alias or name for name, field in action.request.model_fields.items()]
        for who in (alice, control.local):
            for _ in range(ROUNDS):
                members = {name: chance.choice(ODD) for name in names if chance.random() < 0.8}
                reply = await who.request(action.name, **members)
                assert reply.get("code") != "internal", (action.name, members)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    assert (await control.local.request("serverstatus"))["users"] >= 1
