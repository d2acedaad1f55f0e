"""Stored documents as clients may see them: nothing secret leaves the server (control-protocol reference, 5.1 to 5.3).

These are the only functions that turn an account, group or device into something for a client or an event.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshcentral.plugins.agents import AgentSession
from meshcentral.plugins.documents import Device, DeviceGroup, User

AGENT_CONNECTED = 1
"""Bit of `conn` for the agent."""
POWERED_ON = 1
POWER_UNKNOWN = 0

_ACCOUNT_HIDDEN = frozenset(
    {
        "hash",
        "salt",
        "passhint",
        "type",
        "domain",
        "subscriptions",
        "passtype",
        "otpsms",
        "otpmsg",
        "oldpasswords",
    }
)
_SECOND_FACTORS = ("otpsecret", "otphkeys", "otpekey", "otpdev", "otpduo")
_ACCOUNT_FLAGS = ("otpsecret", "otpekey", "otpdev", "otpduo")
_ACCOUNT_COUNTS = ("otphkeys", "webpush")

_AMT_SECRETS = ("pass", "mpspass")
_STORED_LOGINS = ("ssh", "rdp")
_DEVICE_HIDDEN = frozenset({"type", "iploc", "wifiloc", "gpsloc", "userloc"})
"""Locations are hidden because this server does not offer geolocation."""


def account_for_clients(user: User) -> dict[str, Any]:
    """The *safe* form of an account: no hash, no key, only whether there is one."""
    body = {name: value for name, value in user.to_stored().items() if name not in _ACCOUNT_HIDDEN}
    for name in _ACCOUNT_FLAGS:
        if body.get(name):
            body[name] = 1
    for name in _ACCOUNT_COUNTS:
        if name in body:
            body[name] = len(body[name]) if isinstance(body[name], list) else 0
    if "otpkeys" in body:
        body["otpkeys"] = 1 if _codes_left(body["otpkeys"]) else 0
    return body


def has_second_factor(user: User) -> bool:
    """Whether a password alone must not let this account in."""
    extra = user.model_extra or {}
    return any(extra.get(name) for name in _SECOND_FACTORS)


def group_for_clients(group: DeviceGroup) -> dict[str, Any]:
    """A device group, its stored passwords replaced by 1."""
    body = group.to_stored()
    for holder, secrets in (("amt", ("password",)), ("kvm", ("pass",))):
        if isinstance(body.get(holder), Mapping):
            body[holder] = _masked(body[holder], secrets)
    return body


def device_for_clients(device: Device, user_id: str | None = None) -> dict[str, Any]:
    """A device without live values; of stored logins only which kind the asking account has."""
    body = {name: value for name, value in device.to_stored().items() if name not in _DEVICE_HIDDEN}
    if isinstance(body.get("intelamt"), Mapping):
        body["intelamt"] = _masked(body["intelamt"], _AMT_SECRETS)
    if "pmt" in body:
        body["pmt"] = 1
    for name in _STORED_LOGINS:
        kind = _login_kind(name, body.pop(name, None), user_id)
        if kind:
            body[name] = kind
    return body


def live_members(agent: AgentSession) -> dict[str, Any]:
    """What is true of a connected device now and never stored (control-protocol reference, 5.3)."""
    return {
        "conn": AGENT_CONNECTED,
        "pwr": POWERED_ON,
        "agct": int(agent.connected_at.timestamp() * 1000),
    }


def device_for_everyone(device: Device, agent: AgentSession | None) -> dict[str, Any]:
    """A device for an event: stored members as everybody may see them, and live ones while its agent is connected."""
    return {**device_for_clients(device), **(live_members(agent) if agent is not None else {})}


def is_same_for_everyone(device: Device) -> bool:
    """Whether the form for clients depends on nobody, so that it can be made once for all."""
    return not any(name in (device.model_extra or {}) for name in _STORED_LOGINS)


def _masked(body: Mapping[str, Any], secrets: tuple[str, ...]) -> dict[str, Any]:
    return {name: 1 if name in secrets and value else value for name, value in body.items()}


def _codes_left(codes: Any) -> bool:
    keys = codes.get("keys") if isinstance(codes, Mapping) else None
    return isinstance(keys, list) and any(isinstance(key, Mapping) and key.get("u") for key in keys)


def _login_kind(name: str, logins: Any, user_id: str | None) -> int:
    """1 password, 2 user, key and its password, 3 user and key; 0 none of the asking account's."""
    login = logins.get(user_id) if isinstance(logins, Mapping) else None
    if not isinstance(login, Mapping):
        return 0
    if name == "rdp" or not login.get("k"):
        return 1
    return 2 if login.get("kp") else 3
