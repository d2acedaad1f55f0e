"""Joins JavaScript modules into the agent core that is pushed to devices (agent-protocol reference, 4.1).

A core is four zero bytes and UTF-8 JavaScript; its SHA-384 hash covers the four bytes too. The script registers each
module under its name with the agent's `addModule`, then holds the main modules as they are: they find the names in
`meshModules`, in the order of joining.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files

from meshcentral.plugins import ConfigurationError, CoreModule
from meshcentral_protocol.agent_commands import core_hash, make_core
from meshcentral_protocol.agent_types import AgentType, Platform

PLATFORMS = ("linux", "windows", "macos", "bsd")
_LINUX_LIKE = frozenset({Platform.ANDROID, Platform.CHROMEOS})
"""Agents that take the Linux core (agent-protocol reference, 8.1)."""
MODULE_PREFIX = "mesh-"
"""Keeps our names apart from the modules that are built into the agent."""

_LIBRARIES = ("text", "dispatch")
_FEATURES = ("coreinfo", "netinfo", "sessions", "runcommands", "ping")


@dataclass(frozen=True, slots=True)
class Core:
    """A finished core: its bytes with the four in front, and the SHA-384 hash over all of them."""

    platform: str
    data: bytes
    hash: bytes


def own_modules() -> Iterable[CoreModule]:
    """Our own JavaScript, in the order in which it is to be joined."""
    folder = files("meshcentral_agents") / "js"
    for name in (*_LIBRARIES, *_FEATURES):
        yield CoreModule(MODULE_PREFIX + name, (folder / f"{name}.js").read_text("utf-8"))
    yield CoreModule("main", (folder / "main.js").read_text("utf-8"), main=True)


def build_core(modules: Iterable[CoreModule], platform: str) -> Core:
    """Join the modules meant for one platform. Raises ConfigurationError when two have the same name."""
    parts: list[str] = ["var meshModules = [];"]
    mains: list[str] = []
    seen: set[str] = set()
    for module in modules:
        if platform not in module.platforms:
            continue
        if module.name in seen:
            raise ConfigurationError(
                f"two plugins give the agent core a module named {module.name}",
                hint="disable one of them with plugins.disabled",
            )
        seen.add(module.name)
        if module.main:
            mains.append(module.source)
        else:
            name = json.dumps(module.name)
            parts.append(f"addModule({name}, {json.dumps(module.source)}); meshModules.push({name});")
    data = make_core("\n".join([*parts, *mains, ""]))
    return Core(platform, data, core_hash(data))


def platform_of(agent_type: AgentType) -> str | None:
    """Which core an agent of this type takes; None when it takes none of ours."""
    if agent_type.core is None:
        return None
    platform = Platform.LINUX if agent_type.platform in _LINUX_LIKE else agent_type.platform
    return platform.value if platform.value in PLATFORMS else None


def build_cores(modules: Iterable[CoreModule]) -> Mapping[str, Core]:
    """One core for every platform."""
    joined = tuple(modules)
    return {platform: build_core(joined, platform) for platform in PLATFORMS}
