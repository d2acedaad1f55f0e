from __future__ import annotations

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from hypothesis import given
from hypothesis import strategies as st

from meshcentral_protocol.errors import HandshakeError
from meshcentral_protocol.keys import certificate_key, verify
from meshcentral_protocol.signed_data import first_signature

DATA = b"web hash, server nonce, agent nonce"


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="module")
def certificate(key) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "MeshNodeCertificate")])
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 4711, now, now + datetime.timedelta(days=1))
    return builder.sign(key, hashes.SHA384())


def structure(certificate, key, *options: pkcs7.PKCS7Options) -> bytes:
    builder = pkcs7.PKCS7SignatureBuilder().set_data(DATA).add_signer(certificate, key, hashes.SHA384())
    return builder.sign(Encoding.DER, [pkcs7.PKCS7Options.Binary, *options])


@pytest.fixture(scope="module")
def signed(certificate, key) -> bytes:
    return structure(certificate, key, pkcs7.PKCS7Options.NoAttributes, pkcs7.PKCS7Options.DetachedSignature)


def test_the_value_of_the_first_signer_is_found(signed, certificate, key):
    value = first_signature(signed)
    key.public_key().verify(value, DATA, padding.PKCS1v15(), hashes.SHA384())
    assert verify(certificate_key(certificate.public_bytes(Encoding.DER)), signed, DATA)


def test_an_embedded_content_does_not_count(certificate, key):
    """The value is verified over what we expect, never over what the structure says was signed."""
    public = certificate_key(certificate.public_bytes(Encoding.DER))
    embedded = structure(certificate, key, pkcs7.PKCS7Options.NoAttributes)
    assert verify(public, embedded, DATA)
    assert not verify(public, embedded, b"other data")


def test_signed_attributes_are_refused(certificate, key):
    with pytest.raises(HandshakeError, match="attributes"):
        first_signature(structure(certificate, key))


def test_every_truncation_is_refused(signed):
    for length in range(len(signed)):
        with pytest.raises(HandshakeError):
            first_signature(signed[:length])


@given(data=st.data())
def test_changed_bytes_never_raise_anything_else(signed, data):
    changed = bytearray(signed)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        first_signature(bytes(changed))
    except HandshakeError:
        pass


@pytest.mark.parametrize("junk", ["", "30", "3080", "3084ffffffff", "308500000000", "3003020100", "30050603550403"])
def test_junk(junk):
    with pytest.raises(HandshakeError):
        first_signature(bytes.fromhex(junk))


@given(st.binary(max_size=200))
def test_any_bytes(data):
    try:
        first_signature(data)
    except HandshakeError:
        pass
