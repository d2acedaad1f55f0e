"""Profiles of the certificates that we issue, checked by the openssl program where there is one."""

from __future__ import annotations

import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meshcentral.core.certificates import CertificateSettings, Purpose
from meshcentral.core.certificates.issue import is_issued_by, issue_leaf, issue_root
from meshcentral.core.certificates.keys import KeyKind, PrivateKey
from meshcentral.core.certificates.pairs import Pair
from meshcentral.plugins.errors import ConfigurationError

from .conftest import NAME, NOW, Keys, peer_certificate

SETTINGS = CertificateSettings(NAME, organization="Example Ltd", country="de")


@pytest.fixture
def root(keys: Keys) -> Pair:
    return Pair((issue_root(keys.root, SETTINGS, NOW),), keys.root)


def leaf(root: Pair, key: PrivateKey, purpose: Purpose = Purpose.WEB, *names: str) -> x509.Certificate:
    return issue_leaf(purpose, key.public_key(), root, names, SETTINGS, NOW)


def usage_names(certificate: x509.Certificate) -> set[str]:
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    flags = ("digital_signature", "key_encipherment", "key_cert_sign", "crl_sign", "content_commitment",
             "data_encipherment", "key_agreement")  # fmt: skip
    return {flag for flag in flags if getattr(usage.value, flag)}


def test_the_root_may_issue_leaves_and_nothing_else(root: Pair) -> None:
    certificate = root.certificate
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=0)
    assert usage_names(certificate) == {"key_cert_sign", "crl_sign"}
    assert certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    (common_name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert str(common_name.value).startswith("MeshRoot-")
    assert certificate.subject.get_attributes_for_oid(NameOID.COUNTRY_NAME)[0].value == "DE"
    assert certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value == "Example Ltd"


def test_two_roots_have_different_names(keys: Keys) -> None:
    assert issue_root(keys.root, SETTINGS, NOW).subject != issue_root(keys.root, SETTINGS, NOW).subject


def test_a_web_certificate_is_for_tls_servers_of_its_names(root: Pair, keys: Keys) -> None:
    certificate = leaf(root, keys.web, Purpose.WEB, NAME, "192.0.2.7")
    assert usage_names(certificate) == {"digital_signature", "key_encipherment"}
    extended = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(extended) == [ExtendedKeyUsageOID.SERVER_AUTH]
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [NAME]
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.7"]
    authority = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    own = root.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert authority.key_identifier == own.digest
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False


def test_an_ecdsa_key_only_signs(root: Pair, keys: Keys) -> None:
    assert usage_names(leaf(root, keys.curve, Purpose.WEB_ECDSA, NAME)) == {"digital_signature"}


def test_the_agent_server_certificate_is_valid_for_no_host(root: Pair, keys: Keys) -> None:
    certificate = leaf(root, keys.agent, Purpose.AGENT_SERVER)
    assert usage_names(certificate) == {"digital_signature"}
    with pytest.raises(x509.ExtensionNotFound):
        certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert b"MeshAgentServer-" in certificate.public_bytes(Encoding.DER)


@pytest.mark.parametrize("purpose", [purpose for purpose in Purpose if purpose is not Purpose.ROOT])
def test_lives_serials_and_signatures(root: Pair, keys: Keys, purpose: Purpose) -> None:
    first, second = (leaf(root, keys.web, purpose, NAME) for _ in range(2))
    assert first.serial_number != second.serial_number
    assert first.serial_number.bit_length() <= 128
    for certificate in (first, root.certificate):
        assert isinstance(certificate.signature_hash_algorithm, hashes.SHA384)
        assert timedelta(hours=12) <= NOW - certificate.not_valid_before_utc <= timedelta(days=7)
    life = first.not_valid_after_utc - NOW
    if purpose in (Purpose.WEB, Purpose.WEB_ECDSA):
        assert life == timedelta(days=365)
        assert first.not_valid_after_utc - first.not_valid_before_utc < timedelta(days=398)
    else:
        assert life > timedelta(days=20 * 365)


def test_a_name_too_long_for_a_common_name_is_an_alternative_name_only(keys: Keys) -> None:
    long_name = "a" * 60 + ".example.com"
    plain = CertificateSettings(long_name)
    root = Pair((issue_root(keys.root, plain, NOW),), keys.root)
    certificate = issue_leaf(Purpose.WEB, keys.web.public_key(), root, plain.names(Purpose.WEB), plain, NOW)
    assert not list(certificate.subject)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.critical  # RFC 5280, 4.1.2.6: an empty subject demands it
    assert names.value.get_values_for_type(x509.DNSName) == [long_name]


def test_a_root_of_the_peer_issues_too(keys: Keys) -> None:
    root = Pair((peer_certificate("MeshCentralRoot-ab12cd", keys.root, authority=True),), keys.root)
    certificate = leaf(root, keys.web, Purpose.WEB, NAME)
    assert is_issued_by(certificate, root.certificate)
    identifier = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert identifier == x509.SubjectKeyIdentifier.from_public_key(keys.root.public_key()).digest


def test_issued_by_means_the_key_and_not_the_name(root: Pair, keys: Keys) -> None:
    certificate = leaf(root, keys.web, Purpose.WEB, NAME)
    name = str(root.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
    same_name = peer_certificate(name, keys.other, authority=True)
    assert is_issued_by(certificate, root.certificate)
    assert is_issued_by(root.certificate, root.certificate)
    assert not is_issued_by(certificate, same_name)
    assert not is_issued_by(peer_certificate(NAME, keys.web), root.certificate)


def test_key_kinds_follow_purpose_and_speed() -> None:
    strong, fast = CertificateSettings(NAME), CertificateSettings(NAME, fast=True)
    for purpose in (Purpose.ROOT, Purpose.WEB, Purpose.AGENT_SERVER):
        assert strong.key_kind(purpose) is KeyKind.RSA_3072
        assert fast.key_kind(purpose) is KeyKind.RSA_2048
    for settings in (strong, fast):
        assert settings.key_kind(Purpose.MPS) is KeyKind.RSA_2048
        assert settings.key_kind(Purpose.WEB_ECDSA) is KeyKind.ECDSA_P256


def test_settings_are_checked_and_normalised() -> None:
    settings = CertificateSettings("Bücher.Example", mps_name="AMT.Example.com")
    assert settings.names(Purpose.WEB) == ("xn--bcher-kva.example",)
    assert settings.names(Purpose.MPS) == ("amt.example.com",)
    with pytest.raises(ConfigurationError, match=r"settings\.mpsaliashost"):
        CertificateSettings(NAME, mps_name="not a name")
    with pytest.raises(ConfigurationError, match="country"):
        CertificateSettings(NAME, country="Germany")
    with pytest.raises(ConfigurationError, match="organization"):
        CertificateSettings(NAME, organization="x" * 65)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl program")
def test_openssl_accepts_the_chain_strictly(root: Pair, keys: Keys, tmp_path: Path) -> None:
    (tmp_path / "root.pem").write_bytes(root.certificate.public_bytes(Encoding.PEM))
    cases = {
        "web": (leaf(root, keys.web, Purpose.WEB, NAME), ["-purpose", "sslserver", "-verify_hostname", NAME]),
        "ecdsa": (leaf(root, keys.curve, Purpose.WEB_ECDSA, NAME), ["-purpose", "sslserver"]),
        "mps": (leaf(root, keys.other, Purpose.MPS, "192.0.2.7"), ["-purpose", "sslserver", "-verify_ip", "192.0.2.7"]),
        "agent": (leaf(root, keys.agent, Purpose.AGENT_SERVER), []),
    }
    for label, (certificate, options) in cases.items():
        file = tmp_path / f"{label}.pem"
        file.write_bytes(certificate.public_bytes(Encoding.PEM))
        command = ["openssl", "verify", "-x509_strict", "-attime", str(int(NOW.timestamp())), *options]
        done = subprocess.run([*command, "-CAfile", tmp_path / "root.pem", file], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl program")
def test_openssl_refuses_a_leaf_as_authority(root: Pair, keys: Keys, tmp_path: Path) -> None:
    web = Pair((leaf(root, keys.web, Purpose.WEB, NAME),), keys.web)
    forged = issue_leaf(Purpose.WEB, keys.other.public_key(), web, ["bank.example"], SETTINGS, NOW)
    for label, certificate in {"root": root.certificate, "web": web.certificate, "forged": forged}.items():
        (tmp_path / label).write_bytes(certificate.public_bytes(Encoding.PEM))
    command = [
        "openssl",
        "verify",
        "-attime",
        str(int(NOW.timestamp())),
        "-CAfile",
        "root",
        "-untrusted",
        "web",
        "forged",
    ]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode != 0
