"""Managing accounts over the control channel."""

from __future__ import annotations

import json

import pytest

from meshcentral.plugins import rights
from meshcentral.plugins.documents import Link, User
from meshcentral.plugins.store import AuditEntry
from meshcentral.plugins.testing.users import LoginRefused
from meshcentral_control.accounts import tables

PASSWORD = "correct horse battery"
"""As in the fixtures."""


async def audit_rows(server) -> list[dict]:
    return [dict(row) async for row in server.store.audit_rows()]


async def test_an_added_account_logs_in_and_is_announced(control):
    reply = await control.local.request("adduser", username="Anna", **{"pass": PASSWORD}, email="a@example.org")
    assert reply["result"] == "ok"
    assert "password" not in reply
    event = await control.local.event("accountcreate")
    assert event["account"]["_id"] == "user//anna"
    assert event["msgid"] == 64
    anna = await control.login("anna")
    assert anna.account["email"] == "a@example.org"
    assert anna.account["login"]


async def test_no_hash_is_in_the_account_the_events_or_the_audit(control):
    await control.user("anna", admin=True)
    stored = (await control.server.store.rows(tables.select_password("user//anna")))[0]
    assert stored["scheme"] == "argon2id"
    assert stored["hash"].startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    seen = json.dumps(
        [
            control.server.store.users.get("user//anna").to_stored(),
            (await control.local.request("users")),
            (await control.local.request("events")),
            await audit_rows(control.server),
        ],
        default=str,
    )
    assert "argon2" not in seen
    assert PASSWORD not in seen


async def test_a_random_password_is_in_the_reply_once_and_works(control):
    reply = await control.local.request("adduser", username="anna", randompass=True)
    assert len(reply["password"]) >= 18
    await control.login("anna", reply["password"])
    second = await control.local.request("adduser", username="otto", randomPassword=True)
    assert second["password"] != reply["password"]


@pytest.mark.parametrize(
    ("members", "text", "number"),
    [
        ({"username": ""}, "Invalid username", 2),
        ({"username": "a b"}, "Invalid username", 2),
        ({"username": 'a"b'}, "Invalid username", 2),
        ({"username": "a,b"}, "Invalid username", 2),
        ({"username": "a/b"}, "Invalid username", 2),
        ({"username": "~t:abc"}, "Invalid username", 2),
        ({"username": "a\u202eb"}, "Invalid username", 2),
        ({"username": "a\x00b"}, "Invalid username", 2),
        ({"username": "x" * 129}, "Invalid username", 2),
        ({"username": 5}, "Invalid username", 2),
        ({}, "Invalid username", 2),
        ({"username": "anna", "pass": ""}, "Invalid password: 1 to 256 characters are possible", 3),
        ({"username": "anna", "pass": None}, "Invalid password: 1 to 256 characters are possible", 3),
        ({"username": "anna", "pass": "x" * 257}, "Invalid password", 3),
        ({"username": "anna", "pass": PASSWORD, "email": "nonsense"}, "Invalid email", 4),
        ({"username": "anna", "pass": PASSWORD, "domain": "nowhere"}, "Invalid domain", 5),
        ({"username": "anna", "pass": PASSWORD, "siteadmin": 2**32}, "Invalid site permissions", 6),
        ({"username": "anna", "pass": PASSWORD, "siteadmin": "all"}, "Invalid site permissions", 6),
    ],
)
async def test_what_is_wrong_is_named(control, members, text, number):
    reply = await control.local.request("adduser", **members)
    assert (reply["result"], reply["msgid"], reply["code"]) == (text, number, "usage")
    assert len(control.server.store.users) == 0


@pytest.mark.parametrize(
    ("password", "rule"),
    [
        ("short", "at least 12 characters are needed"),
        ("I am ANNA, hello", "it must not contain the user name"),
        ("Password1234", "it is one of the first that are tried"),
        ("aaaaaaaaaaaaaa", "it is one of the first that are tried"),
    ],
)
async def test_weak_passwords_are_refused_but_for_the_local_administrator_who_is_warned(control, password, rule):
    admin = await control.user("boss", admin=True)
    refused = await admin.request("adduser", username="anna", **{"pass": password})
    assert (refused["result"], refused["msgid"], refused["code"]) == (f"Invalid password: {rule}", 3, "usage")
    assert control.server.store.users.get("user//anna") is None
    taken = await control.local.request("adduser", username="anna", **{"pass": password})
    assert (taken["result"], taken["warning"]) == ("ok", f"The password is weak: {rule}")
    await control.login("anna", password)
    assert (await admin.request("changeuserpass", userid="user//anna", **{"pass": password}))["code"] == "usage"


async def test_the_same_name_in_another_case_exists_already(control):
    await control.user("anna")
    reply = await control.local.request("adduser", username="ANNA", **{"pass": PASSWORD})
    assert (reply["result"], reply["msgid"], reply["code"]) == ("User already exists", 7, "conflict")


async def test_negative_site_rights_are_the_highest_bits(control):
    await control.local.request("adduser", username="anna", **{"pass": PASSWORD}, siteadmin=-1)
    assert control.server.store.users.get("user//anna").site_rights == rights.ALL


async def test_a_manager_gives_only_restrictions(control):
    await control.user("root", admin=True)
    manager = await control.user("manager", site_rights=rights.SITE_MANAGE_USERS)
    refused = await manager.request("adduser", username="anna", **{"pass": PASSWORD}, siteadmin=1)
    assert (refused["result"], refused["msgid"]) == ("Invalid site permissions", 6)
    added = await manager.request("adduser", username="anna", **{"pass": PASSWORD}, siteadmin=rights.SITE_NO_TOOLS)
    assert added["result"] == "ok"
    for action, members in (("deleteuser", {}), ("changeuserpass", {"pass": "another long password"})):
        reply = await manager.request(action, userid="user//root", **members)
        assert reply["result"] == "Permission denied", action
    await control.login("root")


async def test_an_ordinary_account_manages_nobody(control):
    anna = await control.user("anna")
    assert (await anna.request("users"))["result"] == "Access denied"
    refused = await anna.request("adduser", username="otto", **{"pass": PASSWORD})
    assert (refused["result"], refused["msgid"], refused["code"]) == ("Permission denied", 1, "not_authorised")


async def test_removing_an_account_ends_its_sessions_and_links_on_both_sides(control):
    await control.user("root", admin=True)
    anna = await control.user("anna")
    group_id = await control.group(anna)
    device = await control.device(group_id)
    user = control.server.store.users.get("user//anna")
    async with control.server.store.change(AuditEntry("server", "test")) as change:
        change.update(user, links={**user.links, device.id: Link(rights=8)})
        change.update(device, links={user.id: Link(rights=8)})
    assert (await control.local.request("deleteuser", userid="anna"))["result"] == "ok"
    await anna.until_closed()
    assert control.server.store.users.get("user//anna") is None
    assert control.server.store.groups.get(group_id).links == {}
    assert control.server.store.devices.get(device.id).links == {}
    assert await control.server.store.rows(tables.select_password("user//anna")) == []
    assert (await control.local.event("accountremove"))["removed"] == "user//anna"
    assert (await control.local.event("meshchange"))["links"] == {}
    with pytest.raises(LoginRefused):
        await control.login("anna")


async def test_the_last_site_administrator_stays(control):
    root = await control.user("root", admin=True)
    reply = await root.request("deleteuser", userid="user//root")
    assert reply["result"] == "The last site administrator cannot be removed"
    second = await control.user("second", admin=True)
    assert (await second.request("deleteuser", userid="user//root"))["result"] == "ok"


@pytest.mark.parametrize("user_id", ["user//nobody", "nobody", "user/other/anna"])
async def test_unknown_accounts(control, user_id):
    await control.user("anna")
    for action in ("deleteuser", "changeuserpass"):
        reply = await control.local.request(action, userid=user_id)
        assert (reply["result"], reply["code"]) == ("User does not exists", "not_found")


@pytest.mark.parametrize("user_id", ["", "mesh//anna", "a/b", 5, None, "user//\x00"])
async def test_malformed_account_ids(control, user_id):
    reply = await control.local.request("deleteuser", userid=user_id)
    assert (reply["result"], reply["code"]) == ("Invalid userid", "usage")


async def test_a_new_password_replaces_the_old_and_ends_sessions(control):
    anna = await control.user("anna")
    reply = await control.local.request(
        "changeuserpass", userid="user//anna", **{"pass": "another long password"}, removeMultiFactor=False
    )
    assert reply["result"] == "ok"
    await anna.until_closed()
    await control.login("anna", "another long password")
    with pytest.raises(LoginRefused):
        await control.login("anna", PASSWORD)
    event = await control.local.event("accountchange")
    assert event["msgid"] == 75


async def test_an_empty_password_keeps_the_old_one(control):
    await control.user("anna")
    before = control.server.store.users.get("user//anna").password_changed
    await control.local.request("changeuserpass", userid="user//anna", **{"pass": ""}, removeMultiFactor=False)
    assert control.server.store.users.get("user//anna").password_changed == before
    await control.local.request("changeuserpass", userid="user//anna", resetNextLogin=True)
    assert control.server.store.users.get("user//anna").password_changed == -1
    await control.login("anna")


async def test_a_first_administrator_adopts_groups_that_nobody_has(control):
    orphan = await control.group(name="Before anybody")
    admin = await control.user("root", admin=True)
    assert [group["_id"] for group in (await admin.request("meshes"))["meshes"]] == [orphan]
    assert control.server.store.groups.get(orphan).links["user//root"].rights == rights.ALL
    second = await control.user("second", admin=True)
    assert (await second.request("meshes"))["meshes"] == []


async def test_every_change_leaves_one_audit_row(control):
    await control.user("anna")
    await control.local.request("changeuserpass", userid="user//anna", **{"pass": "another long password"})
    await control.local.request("adduser", username="anna", **{"pass": PASSWORD})
    await control.local.request("deleteuser", userid="user//anna")
    rows = [(row["actor"], row["action"], row["target"]) for row in await audit_rows(control.server)]
    assert rows == [
        ("local", "adduser", "user//anna"),
        ("local", "changeuserpass", "user//anna"),
        ("local", "deleteuser", "user//anna"),
    ]
    assert (await control.server.store.verify_audit()).broken_at is None


async def test_accounts_of_another_domain_are_not_listed(start_control):
    control = await start_control(domains=["other"])
    await control.local.request("adduser", username="far", **{"pass": PASSWORD}, domain="other")
    anna = await control.user("anna", admin=True)
    assert [user["_id"] for user in (await anna.request("users"))["users"]] == ["user//anna"]
    assert (await anna.request("deleteuser", userid="user/other/far"))["result"] == "User does not exists"
    refused = await anna.request("adduser", username="x", **{"pass": PASSWORD}, domain="other")
    assert refused["result"] == "Invalid domain"
    assert len((await control.local.request("users"))["users"]) == 2


async def test_secrets_of_imported_accounts_never_leave(control):
    async with control.server.store.change(AuditEntry("server", "test")) as change:
        change.put(
            User.from_stored(
                {
                    "_id": "user//old",
                    "name": "old",
                    "hash": "HHH-SECRET",
                    "salt": "SSS-SECRET",
                    "otpsecret": "OOO-SECRET",
                    "otphkeys": [{"k": "KKK-SECRET"}],
                    "otpkeys": {"keys": [{"p": 12345678, "u": True}]},
                    "oldpasswords": ["PPP-SECRET"],
                    "passhint": "III-SECRET",
                    "webpush": ["WWW-SECRET"],
                }
            )
        )
    reply = (await control.local.request("users"))["users"][0]
    assert "SECRET" not in json.dumps(reply)
    assert (reply["otpsecret"], reply["otphkeys"], reply["otpkeys"], reply["webpush"]) == (1, 1, 1, 1)
