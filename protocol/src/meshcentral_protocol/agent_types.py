"""Agent types and capability flags.

Source: agent-protocol reference, 8.1 and 8.2. A type says which executable an agent runs, hence which core fits it and
whether the server can update it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType


class Platform(enum.StrEnum):
    """Operating system family; the value is what `CoreModule.platforms` names."""

    WINDOWS = "windows"
    LINUX = "linux"
    MACOS = "macos"
    BSD = "bsd"
    ANDROID = "android"
    CHROMEOS = "chromeos"
    NODEJS = "nodejs"


class CoreVariant(enum.StrEnum):
    """Which core is sent. AMT variants may also be asked about Intel AMT."""

    WINDOWS_AMT = "windows-amt"
    LINUX_AMT = "linux-amt"
    LINUX_NO_AMT = "linux-noamt"
    NODEJS = "nodejs"


class AgentCapability(enum.IntFlag):
    """Bits of message 3 and of `coreinfo.caps`."""

    DESKTOP = 0x1
    TERMINAL = 0x2
    FILES = 0x4
    CONSOLE = 0x8
    JAVASCRIPT = 0x10
    TEMPORARY = 0x20
    """The device is removed when the agent disconnects."""
    RECOVERY = 0x40
    """A diagnostic agent beside the real one; it needs no device group."""
    COMPRESSION = 0x100
    """Takes compressed cores and zipped updates."""


NATIVE_CAPABILITIES = AgentCapability.CONSOLE | AgentCapability.JAVASCRIPT
"""Bits of the executable itself: a core cannot change them."""


@dataclass(frozen=True, slots=True)
class AgentType:
    """One row of the table."""

    id: int
    file: str
    """Name of the executable as released."""
    platform: Platform
    core: CoreVariant | None
    """None for programs that take no core."""
    updates: bool = True
    """Whether the server may replace the executable."""


def _table() -> Iterator[AgentType]:
    for number, file in {
        1: "MeshConsole.exe",
        2: "MeshConsole64.exe",
        3: "MeshService.exe",
        4: "MeshService64.exe",
        21: "MeshAgent-WinMinCore-Console-x86-32.exe",
        22: "MeshAgent-WinMinCore-Service-x86-64.exe",
        42: "MeshConsoleARM64.exe",
        43: "MeshServiceARM64.exe",
    }.items():
        yield AgentType(number, file, Platform.WINDOWS, CoreVariant.WINDOWS_AMT)
    for number, file in {
        5: "meshagent_x86",
        6: "meshagent_x86-64",
        8: "MeshAgent-Linux-XEN-x86-32",
        19: "meshagent_x86_nokvm",
        20: "meshagent_x86-64_nokvm",
    }.items():
        yield AgentType(number, file, Platform.LINUX, CoreVariant.LINUX_AMT)
    for number, file in {
        7: "meshagent_mips",
        9: "meshagent_arm",
        10: "MeshAgent-Linux-ARM-PlugPC",
        13: "meshagent_pogo",
        15: "meshagent_poky",
        18: "meshagent_poky64",
        24: "meshagent_arm-linaro",
        25: "meshagent_armhf",
        26: "meshagent_aarch64",
        27: "meshagent_armhf2",
        28: "meshagent_mips24kc",
        32: "meshagent_aarch64",
        33: "meshagent_openwrt_x86_64",
        35: "meshagent_linux-armada370-hf",
        36: "meshagent_openwrt_x86_64",
        40: "meshagent_mipsel24kc",
        41: "meshagent_aarch64-cortex-a53",
        45: "meshagent_riscv64",
    }.items():
        yield AgentType(number, file, Platform.LINUX, CoreVariant.LINUX_NO_AMT)
    for number, file in {
        11: "meshagent_osx-x86-32",
        16: "meshagent_osx-x86-64",
        29: "meshagent_osx-arm-64",
        10005: "meshagent_osx-universal-64",
    }.items():
        yield AgentType(number, file, Platform.MACOS, CoreVariant.LINUX_NO_AMT)
    for number, file in {30: "meshagent_freebsd_x86-64", 37: "meshagent_openbsd_x86-64"}.items():
        yield AgentType(number, file, Platform.BSD, CoreVariant.LINUX_NO_AMT)
    yield AgentType(12, "MeshAgent-Android-x86", Platform.ANDROID, CoreVariant.LINUX_NO_AMT)
    yield AgentType(14, "meshagent_android.apk", Platform.ANDROID, CoreVariant.LINUX_NO_AMT, updates=False)
    yield AgentType(17, "MeshAgent-ChromeOS", Platform.CHROMEOS, CoreVariant.LINUX_NO_AMT, updates=False)
    yield AgentType(23, "MeshAgent-NodeJS", Platform.NODEJS, CoreVariant.NODEJS, updates=False)
    # The assistant connects as type 34 and answers commands by itself: it must get neither core nor update.
    yield AgentType(34, "assistant_windows", Platform.WINDOWS, None, updates=False)
    yield AgentType(10006, "MeshCentralAssistant.exe", Platform.WINDOWS, None, updates=False)
    for number, file in {11000: "MeshCmd.exe", 11001: "MeshCmd64.exe", 11002: "MeshCmdARM64.exe"}.items():
        yield AgentType(number, file, Platform.WINDOWS, None, updates=False)


AGENT_TYPES: Mapping[int, AgentType] = MappingProxyType(
    {row.id: row for row in sorted(_table(), key=lambda row: row.id)}
)
"""All known types by id. An agent of an unknown one gets its core cleared and no update."""
