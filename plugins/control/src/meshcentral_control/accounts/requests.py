"""Requests about accounts (control-protocol reference, chapter 7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AliasChoices, BeforeValidator, Field

from meshcentral.plugins.actions import ActionRequest
from meshcentral_control.accounts.passwords import MAX_PASSWORD
from meshcentral_control.accounts.rules import INVALID_NAME, INVALID_PASSWORD

PERMISSION_DENIED = "Permission denied"
INVALID_RIGHTS = "Invalid site permissions"


def _as_unsigned(value: Any) -> Any:
    """JavaScript's bit operations give negative numbers for the highest bit."""
    return value & 0xFFFFFFFF if isinstance(value, int) and -0x80000000 <= value < 0 else value


SiteRights = Annotated[int, BeforeValidator(_as_unsigned), Field(ge=0, le=0xFFFFFFFF)]


class NoMembers(ActionRequest):
    """A request without members of its own."""


class AddUser(ActionRequest):
    """A new account."""

    denied: ClassVar[str] = PERMISSION_DENIED
    refusals: ClassVar[Mapping[str, str]] = {
        "username": INVALID_NAME,
        "pass": INVALID_PASSWORD,
        "email": "Invalid email",
        "domain": "Invalid domain",
        "siteadmin": INVALID_RIGHTS,
    }
    message_ids: ClassVar[Mapping[str, int]] = {
        PERMISSION_DENIED: 1,
        INVALID_NAME: 2,
        INVALID_PASSWORD: 3,
        "Invalid email": 4,
        "Invalid domain": 5,
        INVALID_RIGHTS: 6,
        "User already exists": 7,
    }

    name: str = Field(alias="username", max_length=256)
    password: str | None = Field(default=None, alias="pass", max_length=MAX_PASSWORD)
    email: str | None = Field(default=None, max_length=256, pattern=r"^[^@\s]+@[^@\s]+$")
    email_verified: bool = Field(default=False, alias="emailVerified")
    site_rights: SiteRights = Field(default=0, alias="siteadmin")
    must_change: bool = Field(default=False, alias="resetNextLogin")
    real_name: str | None = Field(default=None, alias="realname", max_length=256)
    random_password: bool = Field(
        default=False,
        validation_alias=AliasChoices("randompass", "randomPassword"),
        description="make a password; it is in the reply, once",
    )
    domain: str | None = Field(default=None, max_length=64)


class NamedUser(ActionRequest):
    """A request about one account."""

    denied: ClassVar[str] = PERMISSION_DENIED
    refusals: ClassVar[Mapping[str, str]] = {"userid": "Invalid userid"}

    user_id: str = Field(alias="userid", min_length=1, max_length=2048)


class ChangeUserPassword(NamedUser):
    """A new password for somebody else's account; an empty one keeps the old."""

    refusals: ClassVar[Mapping[str, str]] = {"userid": "Invalid userid", "pass": INVALID_PASSWORD}

    password: str = Field(default="", alias="pass", max_length=MAX_PASSWORD)
    must_change: bool = Field(default=False, alias="resetNextLogin")
    random_password: bool = Field(default=False, validation_alias=AliasChoices("randompass", "randomPassword"))
