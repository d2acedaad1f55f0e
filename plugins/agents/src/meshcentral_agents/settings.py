"""The settings file (`.msh`) that brings an agent into a device group (agent-protocol reference, section 9)."""

from __future__ import annotations

import re

from meshcentral.plugins import DeviceGroup, Server, UsageError
from meshcentral_protocol.identifiers import domain_of
from meshcentral_protocol.msh import AgentSettings

AGENT_PATH = "agent.ashx"

_TAG = re.compile(r"[A-Za-z0-9]{1,64}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


def compose_settings(server: Server, group: DeviceGroup, *, tag: str | None = None, install_flags: int = 0) -> str:
    """The text for a group, with CRLF line ends. `install_flags`: 0 all, 1 interactive only, 2 background only.

    Raises UsageError for a tag or flags that the peer's installers would not take.
    """
    if tag is not None and not _TAG.fullmatch(tag):
        raise UsageError("tag: 1 to 64 letters and digits")
    if not 0 <= install_flags <= 3:
        raise UsageError("installflags: a number from 0 to 3")
    settings = AgentSettings(
        group_name=_CONTROL.sub(" ", group.name),
        group_id=group.id,
        server_id=server.certificates.agent_server_hash,
        server_url=server.address.wss(domain_of(group.id), AGENT_PATH),
        group_type=group.group_type,
        tag=tag,
        install_flags=install_flags,
    )
    return settings.to_text()
