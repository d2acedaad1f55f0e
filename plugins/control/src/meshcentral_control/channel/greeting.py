"""What the server says first on a control socket (control-protocol reference, chapter 4)."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

from meshcentral.plugins import rights
from meshcentral.plugins.server import Server
from meshcentral.plugins.views import account_for_clients
from meshcentral_control.channel.session import LOCAL, LOCAL_NAME, ControlSession
from meshcentral_protocol.identifiers import encode_base64

if TYPE_CHECKING:
    from collections.abc import Iterator


class Features(enum.IntFlag):
    """Bits of `features`; only those that this server sets."""

    WAN_ONLY = 1
    NO_SERVER_FILES = 8
    NO_CIRA = 0x400
    NO_VNC_PAGE = 0x20000000
    NO_RDP_PAGE = 0x40000000
    OWN_CERTIFICATE = 0x80000000
    """Clients must not expect the web certificate to verify against public roots."""


class Features2(enum.IntFlag):
    """Bits of `features2`; only those that this server sets."""

    NO_AGENT_UPDATE = 0x10
    NO_LOCAL_RECORDING = 0x400
    NO_ONE_TIME_PASSWORD = 0x20000
    NO_BACKUP_CODES = 0x40000
    NO_STORED_CREDENTIALS = 0x400000
    NO_SFTP_BUTTON = 0x800000
    NO_SSH_BUTTON = 0x1000000


FEATURES = (
    Features.WAN_ONLY
    | Features.NO_SERVER_FILES
    | Features.NO_CIRA
    | Features.NO_VNC_PAGE
    | Features.NO_RDP_PAGE
    | Features.OWN_CERTIFICATE
)
FEATURES2 = (
    Features2.NO_AGENT_UPDATE
    | Features2.NO_LOCAL_RECORDING
    | Features2.NO_ONE_TIME_PASSWORD
    | Features2.NO_BACKUP_CODES
    | Features2.NO_STORED_CREDENTIALS
    | Features2.NO_SFTP_BUTTON
    | Features2.NO_SSH_BUTTON
)
"""Clients offer a button only for what the server can do; a feature takes its bit away when it arrives."""


def greeting(server: Server, session: ControlSession) -> Iterator[dict[str, Any]]:
    """The messages, in their order."""
    yield {"action": "serverinfo", "serverinfo": server_information(server, session.domain)}
    yield {"action": "userinfo", "userinfo": account_information(session)}


def server_information(server: Server, domain: str) -> dict[str, Any]:
    """What a client must know of the server."""
    address = server.address
    port = "" if address.port == 443 else f":{address.port}"
    body: dict[str, Any] = {
        "domain": domain,
        "domainsuffix": domain,
        "name": address.name,
        "port": address.port,
        "https": True,
        "mpsname": address.name,
        "mpsport": address.mps_port,
        "serverTime": server.clock.milliseconds(),
        "features": int(FEATURES),
        "features2": int(FEATURES2),
        "languages": ["en"],
        "tlshash": server.certificates.web_hashes[0].full.hex().upper(),
        "agentCertHash": encode_base64(server.certificates.agent_server_hash),
        "magenturl": f"mc://{address.name}{port}" + (f"/{domain}" if domain else ""),
        "emailcheck": False,
        "domainauth": False,
    }
    if address.redirect_port is not None:
        body["redirport"] = address.redirect_port
    return body


def account_information(session: ControlSession) -> dict[str, Any]:
    """The session's account; the local administrator has none, and is shown as one with all rights."""
    user = session.user
    if user is not None:
        return account_for_clients(user)
    return {"_id": LOCAL, "name": LOCAL_NAME, "siteadmin": rights.ALL, "links": {}}
