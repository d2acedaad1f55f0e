"""The control socket as a whole: login, greeting, hostile input, many requests at once."""

from __future__ import annotations

import base64
import json

import pytest

from meshcentral.plugins import rights
from meshcentral.plugins.actions import ActionRequest, Audit, UserAction, signed_in
from meshcentral.plugins.documents import User
from meshcentral.plugins.events import EVERYTHING, SessionControl, WireEvent
from meshcentral.plugins.hookspecs import hookimpl
from meshcentral.plugins.plugin import Plugin
from meshcentral.plugins.records import State
from meshcentral.plugins.store import AuditEntry
from meshcentral.plugins.testing.carriers import any_certificate
from meshcentral.plugins.testing.users import FakeUser, LoginRefused

PASSWORD = "correct horse battery"
"""As in the fixtures."""


async def refusal(url: str, header: str | None) -> tuple[dict, int | None]:
    """What a socket with this header is told, and the close code that the client sees."""
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed

    headers = {} if header is None else {"x-meshauth": header}
    async with connect(url, ssl=any_certificate(), additional_headers=headers, proxy=None) as connection:
        message = json.loads(await connection.recv())
        with pytest.raises(ConnectionClosed):
            await connection.recv()
        return message, connection.close_code


def encoded(*parts: str) -> str:
    return ",".join(base64.b64encode(part.encode()).decode() for part in parts)


async def test_greeting_says_what_the_server_is(control):
    alice = await control.user("Alice", admin=True)
    information = alice.server_information
    assert information["tlshash"] == control.server.certificates.web_hashes[0].full.hex().upper()
    assert len(information["agentCertHash"]) == 64
    assert information["port"] == control.server.port
    assert information["features"] & 1
    assert 0 < information["features"] <= 0xFFFFFFFF
    assert alice.account["_id"] == "user//alice"
    assert alice.account["name"] == "Alice"
    assert not {"hash", "salt", "type", "domain"} & alice.account.keys()


async def test_local_administrator_needs_no_password(control):
    assert control.local.account == {
        "_id": "local",
        "name": "local administrator",
        "siteadmin": rights.ALL,
        "links": {},
    }


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (None, "noauth"),
        (encoded("alice"), "noauth-2c"),
        (encoded("alice", "b", "c", "d"), "noauth-2c"),
        (encoded("alice", "wrong password"), "noauth-2d"),
        (encoded("nobody", PASSWORD), "noauth-2d"),
        (encoded("locked", PASSWORD), "noauth-2d"),
        (encoded("alice", "x" * 5000), "noauth-2d"),
        ("!!!,???", "noauth-2d"),
        (encoded("user//alice", PASSWORD), "noauth-2d"),
        (base64.b64encode(b"\xff\xfe").decode() + ",eA==", "noauth-2d"),
    ],
)
async def test_refusals_close_without_a_code(control, header, message):
    await control.user("alice")
    await control.local.request("adduser", username="locked", **{"pass": PASSWORD}, siteadmin=rights.SITE_LOCKED)
    assert await refusal(control.url, header) == ({"action": "close", "cause": "noauth", "msg": message}, 1005)


async def test_accounts_without_tools_are_told_so(control):
    with pytest.raises(LoginRefused) as refused:
        await control.user("bob", site_rights=rights.SITE_NO_TOOLS)
    assert refused.value.message == {"action": "close", "cause": "notools", "msg": "notools"}


async def test_an_account_with_a_second_factor_is_kept_out(control):
    await control.user("carol")
    user = control.server.store.users.get("user//carol")
    async with control.server.store.change(AuditEntry("server", "test")) as change:
        change.put(User.from_stored({**user.to_stored(), "otpsecret": "BASE32"}))
    with pytest.raises(LoginRefused) as refused:
        await control.login("carol")
    assert refused.value.message["msg"] == "tokenrequired"


async def test_names_are_compared_without_case(control):
    await control.user("Alice")
    again = await control.login("ALICE")
    assert again.account["_id"] == "user//alice"


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "[]",
        '"text"',
        "7",
        "{",
        "",
        b"\x00\x01",
        '{"action":null}',
        '{"action":7,"responseid":"x"}',
        '{"action":"ab","responseid":"x"}',
        json.dumps({"action": "x" * 33, "responseid": "x"}),
        '{"action":"nodes","id":NaN,"responseid":"x"}',
        '{"action":"nodes","id":"\\ud800","responseid":"x"}',
        '{"action":"nodes","responseid":"x","a":' + "[" * 100 + "]" * 100 + "}",
        '{"action":"nodes","responseid":"x","a":' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"action":"nodes","responseid":' + "9" * 10_000 + "}",
        '{"action":"nosuchaction"}',
    ],
)
async def test_bad_input_is_met_with_silence_and_the_session_goes_on(control, text):
    await control.local.send(text)
    assert await control.local.settle() == []
    assert (await control.local.request("users"))["users"] == []


async def test_unknown_action_with_responseid_is_answered(control):
    reply = await control.local.request("nosuchaction")
    assert reply["result"] == "Unknown action"


@pytest.mark.parametrize("response_id", ["x", 7, None, ["a", {"b": 1}], True])
async def test_responseid_and_tag_are_echoed_as_they_are(control, response_id):
    await control.local.send({"action": "users", "responseid": response_id, "tag": {"t": 1}})
    await control.local.send({"action": "changedevice", "responseid": response_id, "tag": 5})
    replies = sorted(
        [await control.local.wait_for(lambda message: "tag" in message) for _ in range(2)],
        key=lambda message: message["action"],
    )
    assert [reply["responseid"] for reply in replies] == [response_id, response_id]
    assert replies[0]["tag"] == 5
    assert replies[0]["result"] == "Invalid nodeid"
    assert replies[1]["tag"] == {"t": 1}


async def test_a_defect_in_a_handler_is_answered_once_and_logged(control, caplog, monkeypatch):
    def broken(*arguments):
        raise ZeroDivisionError("a secret inside")

    monkeypatch.setattr("meshcentral_control.accounts.actions.account_for_clients", broken)
    async with control.server.store.change(AuditEntry("server", "test")) as change:
        change.put(User(id="user//zoe", name="zoe"))
    reply = await control.local.request("users")
    assert reply["result"].startswith("Internal error, reference ")
    assert "secret" not in json.dumps(reply)
    assert [record.message for record in caplog.records].count("control action users failed") == 1
    assert (await control.local.request("meshes"))["meshes"] == []


async def test_many_requests_at_once_are_all_answered(control):
    for number in range(500):
        await control.local.send({"action": "meshes", "responseid": number})
    seen = {(await control.local.wait_for(lambda message: "responseid" in message))["responseid"] for _ in range(500)}
    assert seen == set(range(500))


async def test_close_message_ends_the_session(control):
    alice = await control.user("alice")
    await alice.send({"action": "close"})
    await alice.until_closed()


async def test_an_order_given_just_before_leaving_is_carried_out(control):
    alice = await control.user("alice")
    await alice.send({"action": "createmesh", "meshname": "Last words", "meshtype": 2})
    await alice.close()
    event = await control.local.event("createmesh")
    assert event["mesh"]["name"] == "Last words"


async def test_sessions_end_when_they_are_told_to(control):
    alice = await control.user("alice")
    control.server.bus.signal(SessionControl.CLOSE, ["user//alice"])
    await alice.until_closed()


async def test_locking_an_account_closes_its_sessions(control):
    alice = await control.user("alice")
    user = control.server.store.users.get("user//alice")
    async with control.server.store.change(AuditEntry("server", "test")) as change:
        change.update(user, site_rights=rights.SITE_LOCKED)
    control.server.bus.signal(SessionControl.RESUBSCRIBE, ["user//alice"])
    await alice.until_closed()


async def test_a_session_that_does_not_read_is_told_to_start_anew(control):
    """Its events wait in the bus up to its bound; the others go on."""
    socket = await control.server.open_local("/control.ashx")
    slow = await FakeUser.over(socket)
    text = "x" * 60_000
    watcher = await FakeUser.over(await control.server.open_local("/control.ashx"))
    for number in range(1500):
        control.server.bus.publish(
            WireEvent({"etype": "server", "action": "test", "number": number, "text": text, "nolog": 1}), [EVERYTHING]
        )
        if number % 10 == 9:
            for _ in range(10):
                await watcher.event("test")
    last = (await slow.until_closed())[-1]
    assert last == {"action": "stopped", "msg": "resync"}
    assert (await watcher.request("meshes"))["meshes"] == []
    await watcher.close()


async def test_the_socket_is_for_people_only_from_our_own_origin(control):
    from websockets.exceptions import InvalidStatus

    await control.user("alice")
    with pytest.raises(InvalidStatus) as refused:
        await FakeUser.connect(control.url, "alice", PASSWORD, headers={"Origin": "https://evil.example"})
    assert refused.value.response.status_code == 403


class ClashingPlugin(Plugin):
    """Claims an action that is somebody else's."""

    name = "clashing"
    requires = ("devices",)

    @hookimpl
    def register_user_actions(self):
        yield UserAction("users", ActionRequest, signed_in(), self.handle, Audit.READ, "Not ours.")

    async def handle(self, context, request):
        return {}


async def test_who_claims_an_action_of_another_is_unloaded_and_the_others_work(mesh_server):
    server = await mesh_server([ClashingPlugin])
    local = await FakeUser.over(await server.open_local("/control.ashx"))
    assert (await local.request("users"))["users"] == []
    records = {record.name: record for record in server.plugins}
    assert records["clashing"].state is State.FAILED
    assert "'users': two plugins claim this name" in records["clashing"].problem
    assert all(record.state is State.LOADED for name, record in records.items() if name != "clashing")
    await local.close()
