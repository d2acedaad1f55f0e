"""Reading keys, and the hashes of their public halves."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from meshcentral.core.certificates.keys import (
    KeyKind,
    PrivateKey,
    belongs_to,
    generate_key,
    hash_key,
    key_to_pem,
    key_type,
    parse_private_key,
    public_key_bits,
)
from meshcentral.plugins.errors import ConfigurationError

from .conftest import Keys

FILE = Path("webserver-cert-private.key")


def spki_bit_string(key: PrivateKey) -> bytes:
    """Content of the BIT STRING, cut out of the DER by hand: it is the last element, after its unused-bits byte."""
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return spki[-len(public_key_bits(key.public_key())) :]


def test_hashes_cover_the_bit_string_and_not_the_whole_key_info(keys: Keys) -> None:
    for key in (keys.web, keys.curve):
        assert public_key_bits(key.public_key()) == spki_bit_string(key)
        assert hash_key(key.public_key()) == hashlib.sha384(spki_bit_string(key)).digest()
    assert public_key_bits(keys.web.public_key())[0] == 0x30  # RSAPublicKey ::= SEQUENCE
    assert public_key_bits(keys.curve.public_key())[0] == 0x04  # uncompressed point


def test_each_kind_is_what_it_says() -> None:
    made = {kind: key_type(generate_key(kind).public_key()) for kind in KeyKind}
    assert made == {
        KeyKind.RSA_2048: ("RSA", 2048),
        KeyKind.RSA_3072: ("RSA", 3072),
        KeyKind.ECDSA_P256: ("ECDSA", 256),
    }


@pytest.mark.parametrize("form", [PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8])
@pytest.mark.parametrize("label", ["web", "curve"])
def test_keys_of_other_tools_are_read(keys: Keys, label: str, form: PrivateFormat) -> None:
    key: PrivateKey = getattr(keys, label)
    read = parse_private_key(key.private_bytes(Encoding.PEM, form, NoEncryption()), FILE)
    assert read.private_numbers() == key.private_numbers()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl program")
def test_a_key_after_curve_parameters_is_read() -> None:
    command = ["openssl", "ecparam", "-name", "prime256v1", "-genkey"]
    pem = subprocess.run(command, capture_output=True, check=True).stdout
    assert key_type(parse_private_key(pem, FILE).public_key()) == ("ECDSA", 256)


def test_an_encrypted_key_is_named_as_such(keys: Keys) -> None:
    pem = keys.web.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    with pytest.raises(ConfigurationError, match=r"webserver-cert-private\.key: .*encrypted") as raised:
        parse_private_key(pem, FILE)
    assert "openssl pkey" in str(raised.value.hint)


@pytest.mark.parametrize("pem", [b"", b"\x00\xff", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_key_is_refused(pem: bytes) -> None:
    with pytest.raises(ConfigurationError, match="no readable PEM private key"):
        parse_private_key(pem, FILE)


def test_a_key_that_agents_and_browsers_cannot_use_is_refused() -> None:
    pem = ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(ConfigurationError, match="RSA or elliptic-curve"):
        parse_private_key(pem, FILE)


def test_a_key_belongs_to_its_own_public_half_only(keys: Keys) -> None:
    assert belongs_to(keys.web, keys.web.public_key())
    assert belongs_to(keys.curve, keys.curve.public_key())
    assert not belongs_to(keys.web, keys.agent.public_key())
    assert not belongs_to(keys.web, keys.curve.public_key())
    assert not belongs_to(keys.web, None)


def test_a_damaged_key_does_not_belong(keys: Keys) -> None:
    good = keys.web.private_numbers()
    wrong = rsa.RSAPrivateNumbers(
        good.p, good.q, good.d + 2, good.dmp1 + 2, good.dmq1 + 2, good.iqmp, good.public_numbers
    )
    key = wrong.private_key(unsafe_skip_rsa_key_validation=True)
    assert key.public_key() == keys.web.public_key()
    assert not belongs_to(key, keys.web.public_key())


def test_a_written_key_is_read_back(keys: Keys) -> None:
    assert parse_private_key(key_to_pem(keys.web), FILE).private_numbers() == keys.web.private_numbers()
