"""The settings, their ranges and their descriptions; the manual is made from this.

Python names are ours, wire keys are the peer's and are aliases. Keys that no field has are kept, so a file of a newer
version still works; `loading` reports them.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from meshcentral.core.config.unknown import unknown_keys
from meshcentral.plugins.server import PublicAddress

_HOST_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_DOMAIN_ID = re.compile(r"[a-z0-9_-]{1,64}")
_PLUGIN_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")


def host_name(text: str) -> str:
    """A DNS name or IP address, in lower case without brackets. Raises ValueError."""
    name = text.strip().lower().removesuffix(".")
    bare = name[1:-1] if name.startswith("[") and name.endswith("]") else name
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        pass
    labels = name.split(".")
    if len(name) > 253 or not all(_HOST_LABEL.fullmatch(label) for label in labels) or labels[-1].isdigit():
        raise ValueError("must be a host name such as mesh.example.com, or an IP address")
    return name


def ip_address(text: str) -> str:
    """An IP address in its usual form. Raises ValueError."""
    try:
        return str(ipaddress.ip_address(text.strip().strip("[]")))
    except ValueError:
        raise ValueError("must be an IP address of this machine, such as 127.0.0.1") from None


def plugin_name(text: str) -> str:
    """Raises ValueError when no plugin can have that name."""
    if not _PLUGIN_NAME.fullmatch(text):
        raise ValueError("must be a plugin name: lower-case letters, digits, - and _")
    return text


def _not_a_switch(value: Any) -> Any:
    """true is 1 to Python, but as a port or a number of days it is a mistake."""
    if isinstance(value, bool):
        raise ValueError("must be a whole number")
    return value


def _split(value: Any) -> Any:
    """`a, b` from the environment or the command line."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Whole = Annotated[int, BeforeValidator(_not_a_switch)]
Port = Annotated[Whole, Field(ge=0, le=65535)]
Days = Annotated[Whole, Field(ge=1, le=36500)]
HostName = Annotated[str, AfterValidator(host_name)]
PluginNames = Annotated[tuple[Annotated[str, AfterValidator(plugin_name)], ...], BeforeValidator(_split)]


class Section(BaseModel):
    """Base of the tables in the file."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)


class Settings(Section):
    """`[settings]`: names, ports and limits of the server."""

    cert: HostName = Field(
        default="localhost", description="Host name or IP address at which browsers and agents reach this server."
    )
    port: Port = Field(default=443, description="Port for browsers and agents (HTTPS). 0 takes any free one.")
    alias_port: Port | None = Field(
        default=None,
        alias="aliasport",
        examples=[443],
        description="Port that clients use when a proxy or router forwards another one to `port`.",
    )
    redirect_port: Port | None = Field(
        default=80,
        alias="redirport",
        description="Port for plain HTTP, which only redirects to HTTPS. false opens none; 0 takes any free one.",
    )
    mps_port: Port = Field(
        default=4433, alias="mpsport", description="Port for Intel AMT devices that call in (CIRA). 0 opens none."
    )
    bind: Annotated[str, AfterValidator(ip_address)] | None = Field(
        default=None,
        alias="portbind",
        examples=["127.0.0.1"],
        description="IP address to listen at; all of this machine when absent.",
    )
    mode: Literal["hybrid", "wan", "lan"] = Field(
        default="hybrid",
        description="`wan`: agents connect to `cert` only; `lan`: agents search the local network; `hybrid`: both.",
    )
    tls_profile: Literal["intermediate", "seed"] = Field(
        default="intermediate",
        alias="tlsprofile",
        description="Cipher suites: `intermediate` for current clients, `seed` for exactly the peer's six suites.",
    )
    fast_cert: bool = Field(
        default=False, alias="fastcert", description="Make RSA-2048 keys instead of RSA-3072, for small machines."
    )
    agent_idle_timeout: Annotated[Whole, Field(ge=30, le=86400)] = Field(
        default=150,
        alias="agentidletimeout",
        description="Seconds without traffic after which an agent's connection is closed. Agents ping after 120 s.",
    )

    @field_validator("redirect_port", mode="before")
    @classmethod
    def _no_redirect(cls, value: Any) -> Any:
        """`false`, or `none` where only text can be written, opens no port."""
        return None if value is False or value in ("none", "false") else value


class Domain(Section):
    """`[domains.NAME]`: one tenant, below `/NAME/`; `[domains.""]` is the default one."""

    title: Annotated[str, Field(max_length=100)] = Field(
        default="", description="Title of this domain's pages; the server's own when empty."
    )


class Plugins(Section):
    """`[plugins]`: which plugins may run."""

    disabled: PluginNames = Field(default=(), description="Plugins that are installed but must not be loaded.")
    required: PluginNames = Field(default=(), description="Plugins without which the server does not start.")


class Retention(Section):
    """`[retention]`: how many days records are kept. The audit log is kept for ever."""

    events: Days = Field(default=20, description="Days for which events are kept.")
    power: Days = Field(default=10, description="Days for which power states of devices are kept.")


class Configuration(Section):
    """The whole configuration of one server."""

    settings: Settings = Field(default_factory=Settings, description="Names, ports and limits of the server.")
    domains: dict[str, Domain] = Field(
        default_factory=lambda: {"": Domain()}, description="Tenants by name; the default one is always there."
    )
    plugins: Plugins = Field(default_factory=Plugins, description="Which plugins may run.")
    retention: Retention = Field(default_factory=Retention, description="How long records are kept.")

    @field_validator("domains")
    @classmethod
    def _domain_ids(cls, domains: dict[str, Domain]) -> dict[str, Domain]:
        for name in domains:
            if name and not _DOMAIN_ID.fullmatch(name):
                raise ValueError(
                    f"contains the name {name[:70]!r}, but names are 1 to 64 lower-case letters, digits, - or _ "
                    '(or "" for the default domain)'
                )
        return {"": Domain(), **domains}

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is odd but does no harm: unknown keys, with the nearest known one."""
        return tuple(unknown_keys(self))

    @property
    def domain_ids(self) -> tuple[str, ...]:
        """Ids of the domains, the default one first."""
        return tuple(sorted(self.domains))

    @property
    def address(self) -> PublicAddress:
        """How clients reach the server, before port 0 is replaced by what the system gave."""
        settings = self.settings
        return PublicAddress(
            name=settings.cert,
            port=settings.port if settings.alias_port is None else settings.alias_port,
            redirect_port=settings.redirect_port,
            mps_port=settings.mps_port,
        )
