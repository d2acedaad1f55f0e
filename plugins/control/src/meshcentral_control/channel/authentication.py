"""Who opens a control socket: the order of checks of the control-protocol reference, 2.1, as far as ways exist."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from meshcentral.plugins import rights
from meshcentral.plugins.documents import User
from meshcentral.plugins.rights import SiteCapability
from meshcentral.plugins.views import has_second_factor
from meshcentral.plugins.web import Connection
from meshcentral_control.accounts.service import LoginThrottled

if TYPE_CHECKING:
    from meshcentral_control.accounts.service import Accounts

HEADER = "x-meshauth"


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a socket is closed before any request is read."""

    cause: str
    message: str
    members: Mapping[str, Any] = field(default_factory=dict)

    def to_wire(self) -> dict[str, Any]:
        return {"action": "close", "cause": self.cause, "msg": self.message, **self.members}


@dataclass(frozen=True, slots=True)
class Admitted:
    """Who it is; `user` None is the local administrator."""

    user: User | None


NO_LOGIN = Refused("noauth", "noauth")
WRONG_PARTS = Refused("noauth", "noauth-2c")
WRONG_PASSWORD = Refused("noauth", "noauth-2d")
BANNED = Refused("banned", "banned-1")
NO_TOOLS = Refused("notools", "notools")
TOKEN_REQUIRED = Refused(
    "noauth", "tokenrequired", {"email2fa": False, "sms2fa": False, "msg2fa": False, "twoFactorCookieDays": 30}
)
"""No second factor can be given over this header yet, so an account that has one is kept out, never let in."""


@dataclass(frozen=True, slots=True)
class HeaderLogin:
    """What the header says, unchecked. A third part, the second factor, is not looked at."""

    name: str
    password: str


def read_header(value: str) -> HeaderLogin | Refused:
    """Read `b64(user),b64(password)[,b64(token)]`."""
    parts = value.split(",")
    if len(parts) not in (2, 3):
        return WRONG_PARTS
    try:
        name, password, *_ = (base64.b64decode(part.strip(), validate=True).decode("utf-8") for part in parts)
    except (binascii.Error, ValueError):
        return WRONG_PASSWORD
    return HeaderLogin(name, password)


async def authenticate(connection: Connection, accounts: Accounts) -> Admitted | Refused:
    """Decide who this is. A locked account looks like a wrong password."""
    if connection.local:
        return Admitted(None)
    if accounts.is_throttled(connection.remote_address):
        return BANNED
    header = connection.headers.get(HEADER)
    if header is None:
        return NO_LOGIN
    login = read_header(header)
    if isinstance(login, Refused):
        return login
    try:
        user = await accounts.authenticate(connection.domain, login.name, login.password, connection.remote_address)
    except LoginThrottled:
        return BANNED
    return WRONG_PASSWORD if user is None else _standing(user)


def _standing(user: User) -> Admitted | Refused:
    """What keeps an account out whose password was right."""
    if has_second_factor(user):
        return TOKEN_REQUIRED
    if SiteCapability.TOOLS not in rights.site_capabilities_of(user.site_rights):
        return NO_TOOLS
    return Admitted(user)
