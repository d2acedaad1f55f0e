"""Field names of accounts, groups and devices are an API: these lists may only grow."""

from __future__ import annotations

import pytest

from meshcentral.plugins.errors import Conflict, NotFound
from meshcentral_cli.records import device_records, find, group_record, user_record

NODE = {
    "_id": "node//" + "a" * 64,
    "name": "pc",
    "rname": "pc.local",
    "conn": 1,
    "pwr": 1,
    "agct": 1700000000000,
    "agent": {"ver": 0, "id": 6, "caps": 29, "core": "Jul 2026"},
    "osdesc": "Debian GNU/Linux 12",
    "ip": "192.0.2.7",
    "firstconnect": 1600000000000,
    "tags": ["a"],
}


def test_user_fields() -> None:
    record = user_record(
        {"_id": "user//ann", "name": "Ann", "siteadmin": 4294967295, "creation": 1700000000, "email": "a@example.org"}
    )
    assert record == {
        "id": "user//ann",
        "name": "Ann",
        "email": "a@example.org",
        "real_name": None,
        "site_admin": True,
        "site_rights": 4294967295,
        "locked": False,
        "created": "2023-11-14T22:13:20.000Z",
        "last_login": None,
    }
    assert user_record({"_id": "user//bob", "name": "bob", "siteadmin": 34})["locked"]
    assert not user_record({"_id": "user//bob", "name": "bob"})["site_admin"]


def test_group_fields() -> None:
    assert group_record({"_id": "mesh//x", "name": "office", "mtype": 2, "creation": 1700000000000}) == {
        "id": "mesh//x",
        "name": "office",
        "description": None,
        "type": "agent",
        "created": "2023-11-14T22:13:20.000Z",
    }


def test_device_fields() -> None:
    other = {"_id": "node//b", "name": "away"}
    records = device_records(
        {"mesh//x": [NODE, other]}, [{"_id": "mesh//x", "name": "office"}], {"node//b": 1500000000000}
    )
    assert [record["name"] for record in records] == ["away", "pc"]
    assert records[1] == {
        "id": NODE["_id"],
        "name": "pc",
        "host_name": "pc.local",
        "group": "office",
        "group_id": "mesh//x",
        "connected": True,
        "agent": {"type_id": 6, "version": 0, "capabilities": 29, "core": "Jul 2026"},
        "os": "Debian GNU/Linux 12",
        "address": "192.0.2.7",
        "description": None,
        "tags": ["a"],
        "users": [],
        "first_connect": "2020-09-13T12:26:40.000Z",
        "last_connect": "2023-11-14T22:13:20.000Z",
        "last_boot": None,
    }
    assert records[0]["connected"] is False
    assert records[0]["agent"] is None
    assert records[0]["last_connect"] == "2017-07-14T02:40:00.000Z"


@pytest.mark.parametrize("moment", [1e300, -1e300, float("nan"), "soon", None])
def test_a_device_cannot_break_the_list_with_its_clock(moment: object) -> None:
    assert device_records({"g": [{**NODE, "lastbootuptime": moment}]}, [], {})[0]["last_boot"] is None


def test_objects_are_found_by_id_short_id_and_unique_name() -> None:
    records = device_records({"g": [NODE, {"_id": "node//b", "name": "x"}, {"_id": "node//c", "name": "x"}]}, [], {})
    for wanted in (NODE["_id"], "a" * 64, "pc"):
        assert find(records, str(wanted), "device")["id"] == NODE["_id"]
    with pytest.raises(NotFound, match="no device 'nobody'"):
        find(records, "nobody", "device")
    with pytest.raises(Conflict) as caught:
        find(records, "x", "device")
    assert "node//b, node//c" in str(caught.value.hint)
