"""Host names in certificates."""

from __future__ import annotations

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from meshcentral.core.certificates.names import covers, general_name, host_name
from meshcentral.plugins.errors import ConfigurationError


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("Mesh.Example.COM.", "mesh.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("un-configured", "un-configured"),
        ("192.0.2.7", "192.0.2.7"),
        ("[2001:DB8::0:1]", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
    ],
)
def test_a_name_has_one_written_form(written: str, expected: str) -> None:
    assert host_name(written) == expected


@pytest.mark.parametrize(
    "bad",
    ["", ".", "a..b", "-a.example", "a-.example", "999.1.1.1", "a b", "a\nb", "https://a.example",
     "a" * 64 + ".example",      "*.example.com", "a.example:443", "x." * 130 + "example", "straße.example", "\x00"],
)  # fmt: skip
def test_what_is_no_host_name_is_refused_by_its_setting(bad: str) -> None:
    with pytest.raises(ConfigurationError, match=r"settings\.cert"):
        host_name(bad)


@given(st.text())
def test_any_text_is_a_stable_name_or_one_clear_error(text: str) -> None:
    try:
        name = host_name(text)
    except ConfigurationError:
        return
    assert host_name(name) == name
    assert name.isascii()
    assert general_name(name)


def test_addresses_and_names_become_different_entries() -> None:
    assert isinstance(general_name("2001:db8::1"), x509.IPAddress)
    assert general_name("mesh.example.com") == x509.DNSName("mesh.example.com")


@pytest.mark.parametrize(
    ("names", "name", "expected"),
    [
        (["a.example"], "a.example", True),
        (["b.example", "a.example"], "a.example", True),
        (["*.example"], "a.example", True),
        (["*.example"], "a.b.example", False),
        (["*.example"], "example", False),
        (["*"], "un-configured", False),
        ([], "a.example", False),
    ],
)
def test_a_wildcard_stands_for_one_label(names: list[str], name: str, expected: bool) -> None:
    assert covers(names, name) is expected
