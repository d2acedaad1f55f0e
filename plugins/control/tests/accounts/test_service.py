"""Logins: schemes, rehashing, equal work, and the throttle."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from meshcentral.plugins import rights
from meshcentral.plugins.documents import User
from meshcentral.plugins.store import AuditEntry
from meshcentral_control.accounts import passwords, tables
from meshcentral_control.accounts.plugin import AccountsPlugin
from meshcentral_control.accounts.service import POLICY_KEY, Accounts
from meshcentral_control.accounts.throttle import MAX_FAILURES, LoginThrottled

PASSWORD = "correct horse battery"
HOME, ELSEWHERE = "192.0.2.1", "192.0.2.2"


@pytest.fixture
async def accounts(mesh_server, manual_clock) -> Accounts:
    """The service of a server with the account `anna`."""
    server = await mesh_server([AccountsPlugin], listen=False, clock=manual_clock)
    service = Accounts(server)
    await add(service, "anna", passwords.ARGON2ID)
    return service


async def add(service: Accounts, name: str, scheme: str, **fields: object) -> None:
    async with service._server.store.change(AuditEntry("server", "test")) as change:
        change.put(User(id=f"user//{name}", name=name, **fields))
        service.put(change, f"user//{name}", passwords.hash_password(PASSWORD, scheme))


async def scheme_of(service: Accounts, name: str) -> str:
    return str((await service._server.store.rows(tables.select_password(f"user//{name}")))[0]["scheme"])


async def test_right_wrong_and_unknown(accounts, manual_clock):
    user = await accounts.authenticate("", "Anna", PASSWORD, HOME)
    assert user is not None
    assert user.id == "user//anna"
    assert accounts._server.store.users.get("user//anna").last_login == manual_clock.milliseconds() // 1000
    assert await accounts.authenticate("", "anna", PASSWORD + "x", HOME) is None
    assert await accounts.authenticate("", "nobody", PASSWORD, HOME) is None
    assert await accounts.authenticate("other", "anna", PASSWORD, HOME) is None
    assert await accounts.authenticate("", "", PASSWORD, HOME) is None
    assert await accounts.authenticate("", "a/b", PASSWORD, HOME) is None


async def test_locked_accounts_look_like_a_wrong_password(accounts):
    await add(accounts, "locked", passwords.ARGON2ID, site_rights=rights.SITE_LOCKED)
    await add(accounts, "root", passwords.ARGON2ID, site_rights=rights.ALL)
    assert await accounts.authenticate("", "locked", PASSWORD, HOME) is None
    assert await accounts.authenticate("", "root", PASSWORD, HOME) is not None


async def test_every_attempt_costs_one_hash_whoever_is_named(accounts, monkeypatch):
    work: Counter[str] = Counter()
    verify = passwords.verify_password

    def counted(password, stored):
        work[stored.scheme] += 1
        return verify(password, stored)

    monkeypatch.setattr(passwords, "verify_password", counted)
    for name in ("anna", "nobody", "a/b", "~t:token"):
        await accounts.authenticate("", name, "wrong password here", HOME)
    await accounts.authenticate("", "anna", "x" * 100_000, HOME)
    assert work == {"argon2id": 5}


async def test_imported_hashes_verify_and_stay(accounts):
    await add(accounts, "old", passwords.PBKDF2_SHA384)
    assert await accounts.authenticate("", "old", PASSWORD, HOME) is not None
    assert await scheme_of(accounts, "old") == "pbkdf2-sha384"


async def test_rehashing_is_a_switch(accounts):
    await add(accounts, "old", passwords.PBKDF2_SHA384)
    await accounts._server.store.set_value(POLICY_KEY, {"scheme": "argon2id", "rehash": True})
    assert await accounts.authenticate("", "old", "wrong password here", HOME) is None
    assert await scheme_of(accounts, "old") == "pbkdf2-sha384"
    assert await accounts.authenticate("", "old", PASSWORD, HOME) is not None
    assert await scheme_of(accounts, "old") == "argon2id"
    assert await accounts.authenticate("", "old", PASSWORD, HOME) is not None


async def test_a_moved_in_installation_goes_on_writing_what_the_peer_reads(accounts):
    await accounts._server.store.set_value(POLICY_KEY, {"scheme": "pbkdf2-sha384"})
    assert (await accounts.hash(PASSWORD)).scheme == "pbkdf2-sha384"
    await accounts._server.store.set_value(POLICY_KEY, {"scheme": "md5"})
    assert (await accounts.hash(PASSWORD)).scheme == "argon2id"


async def test_who_guesses_is_stopped_and_nobody_else(accounts, manual_clock):
    for _ in range(MAX_FAILURES):
        assert await accounts.authenticate("", "anna", "wrong password here", HOME) is None
    assert accounts.is_throttled(HOME)
    with pytest.raises(LoginThrottled):
        await accounts.authenticate("", "anna", PASSWORD, HOME)
    assert not accounts.is_throttled(ELSEWHERE)
    assert await accounts.authenticate("", "anna", PASSWORD, ELSEWHERE) is not None
    manual_clock.advance(601)
    assert await accounts.authenticate("", "anna", PASSWORD, HOME) is not None


async def test_guessing_side_by_side_gains_nothing(accounts):
    outcomes = await asyncio.gather(
        *(accounts.authenticate("", "anna", f"wrong password {n}", HOME) for n in range(40)), return_exceptions=True
    )
    tried = sum(outcome is None for outcome in outcomes)
    assert MAX_FAILURES <= tried < MAX_FAILURES + 4
    assert sum(isinstance(outcome, LoginThrottled) for outcome in outcomes) == 40 - tried


async def test_many_good_logins_from_one_address_pass(accounts):
    users = await asyncio.gather(*(accounts.authenticate("", "anna", PASSWORD, HOME) for _ in range(30)))
    assert all(user is not None for user in users)


async def test_an_account_removed_while_its_password_is_checked_stays_out(accounts, monkeypatch):
    store = accounts._server.store
    verify = passwords.verify_password
    loop = asyncio.get_running_loop()

    def removed_meanwhile(password, stored):
        asyncio.run_coroutine_threadsafe(remove(), loop).result(5)
        return verify(password, stored)

    async def remove() -> None:
        store.note_deleted(store.users.get("user//anna"))

    monkeypatch.setattr(passwords, "verify_password", removed_meanwhile)
    assert await accounts.authenticate("", "anna", PASSWORD, HOME) is None
    assert store.users.get("user//anna") is None
