"""Joining modules into a core."""

import hashlib
import json

import pytest

from meshcentral.plugins import ConfigurationError, CoreModule
from meshcentral_agents.core_builder import PLATFORMS, build_core, build_cores, own_modules, platform_of
from meshcentral_protocol.agent_types import AGENT_TYPES


def test_a_core_has_four_zero_bytes_and_its_hash_covers_them() -> None:
    core = build_core([CoreModule("m", "module.exports = 1;")], "linux")
    assert core.data[:4] == bytes(4)
    assert core.hash == hashlib.sha384(core.data).digest()


def test_modules_are_registered_in_order_and_mains_follow_as_they_are() -> None:
    source = 'say("\\n\u2028 é");'
    modules = [CoreModule("main", "start();", main=True), CoreModule("b", source), CoreModule("a", "")]
    lines = build_core(modules, "linux").data[4:].decode("ascii").split("\n")
    assert lines[1] == f'addModule("b", {json.dumps(source)}); meshModules.push("b");'
    assert lines[2] == 'addModule("a", ""); meshModules.push("a");'
    assert lines[3] == "start();"


def test_modules_of_other_platforms_are_left_out() -> None:
    modules = [CoreModule("everywhere", "1"), CoreModule("windows-only", "2", frozenset({"windows"}))]
    cores = build_cores(modules)
    assert set(cores) == set(PLATFORMS)
    assert b"windows-only" in cores["windows"].data
    assert b"windows-only" not in cores["linux"].data


def test_two_modules_with_one_name_are_an_error() -> None:
    with pytest.raises(ConfigurationError, match="module named twice"):
        build_core([CoreModule("twice", "1"), CoreModule("twice", "2")], "linux")


def test_our_core_is_ascii_and_the_same_every_time() -> None:
    first, second = build_core(own_modules(), "linux"), build_core(own_modules(), "linux")
    assert first == second
    assert first.data.isascii()
    assert b"runcommands" in first.data


@pytest.mark.parametrize(
    ("type_id", "platform"),
    [(6, "linux"), (4, "windows"), (16, "macos"), (30, "bsd"), (14, "linux"), (17, "linux"), (34, None), (23, None)],
)
def test_which_core_an_agent_type_takes(type_id: int, platform: str | None) -> None:
    assert platform_of(AGENT_TYPES[type_id]) == platform
