from __future__ import annotations

import pytest

from meshcentral_protocol.agent_types import AGENT_TYPES, AgentCapability, CoreVariant, Platform


def test_the_table_is_complete_and_cannot_be_changed():
    assert set(AGENT_TYPES) == {*range(1, 31), *range(32, 38), 40, 41, 42, 43, 45, 10005, 10006, 11000, 11001, 11002}
    assert all(row.id == number for number, row in AGENT_TYPES.items())
    with pytest.raises(TypeError):
        AGENT_TYPES[99] = AGENT_TYPES[6]  # type: ignore[index]


@pytest.mark.parametrize(
    ("number", "file", "platform", "core"),
    [
        (4, "MeshService64.exe", Platform.WINDOWS, CoreVariant.WINDOWS_AMT),
        (6, "meshagent_x86-64", Platform.LINUX, CoreVariant.LINUX_AMT),
        (26, "meshagent_aarch64", Platform.LINUX, CoreVariant.LINUX_NO_AMT),
        (29, "meshagent_osx-arm-64", Platform.MACOS, CoreVariant.LINUX_NO_AMT),
        (30, "meshagent_freebsd_x86-64", Platform.BSD, CoreVariant.LINUX_NO_AMT),
        (34, "assistant_windows", Platform.WINDOWS, None),
    ],
)
def test_rows(number, file, platform, core):
    row = AGENT_TYPES[number]
    assert (row.file, row.platform, row.core) == (file, platform, core)


def test_types_that_must_not_be_updated():
    assert {row.id for row in AGENT_TYPES.values() if not row.updates} == {14, 17, 23, 34, 10006, 11000, 11001, 11002}


def test_seen_capabilities():
    temporary = AgentCapability(0x138)
    assert temporary == (
        AgentCapability.COMPRESSION | AgentCapability.TEMPORARY | AgentCapability.JAVASCRIPT | AgentCapability.CONSOLE
    )
