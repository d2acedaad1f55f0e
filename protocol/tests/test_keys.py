from __future__ import annotations

import datetime
import hashlib
import os
import stat

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from meshcentral_protocol.errors import HandshakeError
from meshcentral_protocol.identifiers import rsa_key_bytes
from meshcentral_protocol.keys import MAX_CERTIFICATE, AgentKey, certificate_key, has_key_hash, verify


def self_signed(key) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def test_recorded_signatures_verify_in_both_directions(recording, agent_identity, server_identity):
    web, agent, server = (recording.bytes(name) for name in ("web_full_cert_hash", "agent_nonce", "server_nonce"))
    server_key = certificate_key(server_identity.certificate_der)
    agent_key = certificate_key(agent_identity.certificate_der)
    assert verify(server_key, server_identity.signature, web + agent + server)
    assert verify(agent_key, agent_identity.signature, web + server + agent)
    assert not verify(server_key, server_identity.signature, web + server + agent)
    assert not verify(agent_key, agent_identity.signature, web + agent + server)


def test_key_hashes_of_both_eras(server_key):
    key = certificate_key(server_key.certificate_der)
    assert has_key_hash(key, server_key.key_hash)
    assert has_key_hash(key, hashlib.sha256(rsa_key_bytes(key)).digest())
    assert not has_key_hash(key, bytes(48))
    assert not has_key_hash(key, bytes(32))
    assert not has_key_hash(key, b"")


def test_a_signature_of_another_length_must_be_pkcs7(server_key):
    key = certificate_key(server_key.certificate_der)
    with pytest.raises(HandshakeError):
        verify(key, bytes(255), b"data")
    assert not verify(key, bytes(256), b"data")
    assert not verify(key, b"\xff" * 256, b"data")


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: ec.generate_private_key(ec.SECP256R1()), "not RSA"),
        (lambda: rsa.generate_private_key(public_exponent=65537, key_size=1024), "2048 to 8192 bits"),
    ],
)
def test_keys_that_are_no_use(make, rule):
    with pytest.raises(HandshakeError, match=rule):
        certificate_key(self_signed(make()))


def test_an_exponent_made_to_cost_time(agent_identity):
    """The recorded certificate, with an exponent of 65 bits in place of 65537 and part of the modulus."""
    der = agent_identity.certificate_der
    modulus = der.index(bytes.fromhex("0282018100"))
    end = der.index(bytes.fromhex("0203010001"))
    exponent = bytes.fromhex("0209010000000000000001")
    shorter = bytes.fromhex("0282017b00") + der[modulus + 5 : end - 6]
    changed = der[:modulus] + shorter + exponent + der[end + 5 :]
    assert len(changed) == len(der)
    with pytest.raises(HandshakeError, match="exponent"):
        certificate_key(changed)


def test_a_huge_certificate_is_not_even_parsed():
    with pytest.raises(HandshakeError, match="over"):
        certificate_key(bytes(MAX_CERTIFICATE + 1))


@settings(max_examples=300)
@given(data=st.data())
def test_changed_certificates_never_raise_anything_else(agent_identity, data):
    changed = bytearray(agent_identity.certificate_der)
    for _ in range(data.draw(st.integers(1, 6))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        verify(certificate_key(bytes(changed)), agent_identity.signature, b"data")
    except HandshakeError:
        pass


def test_an_identity_is_made_once_and_kept_private(tmp_path):
    path = tmp_path / "agent.pem"
    first = AgentKey.load_or_create(path, bits=2048)
    second = AgentKey.load_or_create(path)
    assert first.certificate_der == second.certificate_der
    assert first.key_hash == second.key_hash
    assert verify(certificate_key(first.certificate_der), second.sign(b"data"), b"data")
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_no_identity_is_left_alone(tmp_path):
    path = tmp_path / "agent.pem"
    path.write_text("not a key")
    with pytest.raises(ValueError):
        AgentKey.load_or_create(path)
    assert path.read_text() == "not a key"
