from __future__ import annotations

import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from hypothesis import given
from hypothesis import strategies as st

from meshcentral_protocol import identifiers as ids
from meshcentral_protocol.errors import IdentifierError

hashes = st.binary(min_size=48, max_size=48)
domains = st.from_regex(r"[a-z0-9._-]{0,20}", fullmatch=True)


def rsa_key(der: bytes) -> RSAPublicKey:
    key = x509.load_der_x509_certificate(der).public_key()
    assert isinstance(key, RSAPublicKey)
    return key


def test_recorded_ids(recording, agent_identity, server_identity):
    assert ids.rsa_key_hash(rsa_key(agent_identity.certificate_der)).hex() == recording.values["node_id_hex"]
    assert ids.rsa_key_hash(rsa_key(server_identity.certificate_der)).hex() == recording.values["server_id_hex"]
    assert ids.node_id(recording.bytes("node_id_hex")) == f"node//{recording.values['node_id']}"
    assert ids.group_id(recording.bytes("mesh_id_hex")) == f"mesh//{recording.values['mesh_id']}"
    web = recording.bytes("web_certificate_der")
    assert ids.certificate_hash(web).hex() == recording.values["web_full_cert_hash"]
    assert ids.rsa_key_hash(rsa_key(web)).hex() == recording.values["web_key_hash"]


def test_the_key_hash_is_not_that_of_the_subject_public_key_info(agent_identity):
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = rsa_key(agent_identity.certificate_der)
    info = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert ids.rsa_key_hash(key) != hashlib.sha384(info).digest()
    assert ids.rsa_key_bytes(key) in info


@given(hashes, domains)
def test_ids_round_trip(raw, domain):
    node = ids.node_id(raw, domain)
    assert len(node.rsplit("/", 1)[1]) == 64
    assert ids.decode_base64(node.rsplit("/", 1)[1]) == raw
    assert str(ids.parse(node, ids.Kind.NODE)) == node
    assert ids.domain_of(node) == domain
    group = ids.group_id(raw, domain)
    assert ids.raw_group_id(group) == raw
    assert ids.group_id_from_hex(ids.group_id_hex(group), domain) == group


@given(st.binary(min_size=32, max_size=32).filter(any))
def test_ids_of_the_sha256_era_are_hexadecimal(raw):
    group = ids.group_id(raw + bytes(16))
    assert group == f"mesh//{raw.hex()}"
    assert ids.raw_group_id(group) == raw + bytes(16)
    assert ids.group_id_hex(group) == f"0x{raw.hex().upper()}"
    assert ids.group_id_from_hex(ids.group_id_hex(group)) == group


def test_new_group_ids_differ_and_have_the_wire_form():
    first, second = ids.new_group_id("tenant"), ids.new_group_id("tenant")
    assert first != second
    assert ids.parse(first) == ids.Identifier(ids.Kind.GROUP, "tenant", first.rsplit("/", 1)[1])
    assert len(ids.group_id_hex(first)) == 98


def test_user_ids_are_lower_case():
    assert ids.user_id("Ada", "tenant") == "user/tenant/ada"
    assert ids.parse("user//ada lovelace").name == "ada lovelace"


@pytest.mark.parametrize("name", ["", "a/b", " ada", "ada ", "a\nb", "a\x7f", "x" * 2001])
def test_unusable_user_names(name):
    with pytest.raises(IdentifierError):
        ids.user_id(name)


def test_short_forms_are_completed_with_the_domain():
    name = ids.encode_base64(bytes(range(48)))
    assert ids.complete(name, ids.Kind.NODE, "tenant") == f"node/tenant/{name}"
    assert ids.complete(f"node//{name}", ids.Kind.NODE, "tenant") == f"node//{name}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "node",
        "node/",
        "node//",
        "node//short",
        "node//" + "A" * 63,
        "node//" + "A" * 65,
        "node//" + "A" * 63 + "+",
        "node//" + "A" * 63 + "\n",
        "node/do main/" + "A" * 64,
        "node/" + "d" * 65 + "/" + "A" * 64,
        "node//" + "A" * 64 + "/",
        "mesh//" + "A" * 64 + "\n",
        "other//" + "A" * 64,
        "NODE//" + "A" * 64,
        "node//" + "Ａ" * 64,
    ],
)
def test_malformed_ids(text):
    with pytest.raises(IdentifierError):
        ids.parse(text)


def test_the_wanted_kind_is_demanded():
    with pytest.raises(IdentifierError, match="expected a mesh/ id"):
        ids.raw_group_id("node//" + "A" * 64)


@pytest.mark.parametrize("text", ["", "0x", "0x12", "12" * 48, "0x" + "g" * 96, "0X" + "a" * 96, "0x" + "a" * 97])
def test_malformed_hex_ids(text):
    with pytest.raises(IdentifierError):
        ids.group_id_from_hex(text)


@given(st.text())
def test_any_text_parses_or_is_refused(text):
    for function in (ids.parse, ids.decode_base64, ids.group_id_from_hex, ids.domain_of, ids.user_id):
        try:
            function(text)
        except IdentifierError:
            pass


@given(st.binary().filter(lambda raw: len(raw) != 48))
def test_hashes_of_another_size_are_refused(raw):
    with pytest.raises(IdentifierError):
        ids.node_id(raw)
