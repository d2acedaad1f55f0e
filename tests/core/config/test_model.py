"""Settings: every field is documented, and derived facts are right."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ValidationError

from meshcentral.core.config import Configuration, Domain, Plugins, Retention, Settings


@pytest.mark.parametrize("section", [Configuration, Settings, Domain, Plugins, Retention])
def test_every_setting_is_described_and_has_a_default(section: type[BaseModel]) -> None:
    section()
    for name, field in section.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name
        alias = field.alias or name
        assert alias == alias.lower()
        assert "_" not in alias


def test_the_address_is_what_clients_use() -> None:
    settings = Settings(cert="mesh.example.com", port=8443, redirect_port=None, mps_port=4434)
    address = Configuration(settings=settings).address
    assert (address.name, address.port, address.redirect_port, address.mps_port) == (
        "mesh.example.com",
        8443,
        None,
        4434,
    )
    behind = Configuration(settings=settings.model_copy(update={"alias_port": 443})).address
    assert behind.https() == "https://mesh.example.com/"


def test_the_default_domain_is_always_there_and_first() -> None:
    assert Configuration().domain_ids == ("",)
    assert Configuration(domains={"b": Domain(), "a": Domain()}).domain_ids == ("", "a", "b")


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("Mesh.Example.COM", "mesh.example.com"),
        ("mesh.example.com.", "mesh.example.com"),
        ("server1", "server1"),
        ("192.0.2.7", "192.0.2.7"),
        ("[2001:DB8::0001]", "2001:db8::1"),
        ("a" * 63 + ".example", "a" * 63 + ".example"),
    ],
)
def test_host_names(given: str, name: str) -> None:
    assert Settings(cert=given).cert == name


@pytest.mark.parametrize(
    "given",
    ["", " ", "a b", "https://x", "x:443", "a..b", "-a", "a-", "192.0.2.777", "a" * 64, "é.example", "a\n", "x/../y"],
)
def test_what_is_not_a_host_name(given: str) -> None:
    if given == "a\n":
        assert Settings(cert=given).cert == "a"
        return
    with pytest.raises(ValidationError):
        Settings(cert=given)
