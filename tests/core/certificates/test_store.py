"""The store: first start, folders found as they are, identities."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import ssl
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from meshcentral.core.certificates import CertificateSettings, CertificateStore, Purpose
from meshcentral.core.paths import DataPaths
from meshcentral.plugins.errors import ConfigurationError, Conflict, NotFound
from meshcentral.plugins.server import Certificates

from .conftest import NAME, Keys, SetClock, contents, peer_certificate, write_pem_pair

BASES = ("root-cert", "webserver-cert", "webserver-ecdsa-cert", "mpsserver-cert", "agentserver-cert")
OUR_FILES = {f"{base}-{end}" for base in BASES for end in ("public.crt", "private.key")}


def load(folder: Path, settings: CertificateSettings, clock: SetClock) -> CertificateStore:
    return CertificateStore.load(DataPaths.at(folder), settings, clock)


@pytest.fixture
def certificates(store: CertificateStore) -> Certificates:
    """As plugins see it; the type checker proves that the store has the interface."""
    return store


@pytest.fixture
def store(data: Path, settings: CertificateSettings, clock: SetClock) -> CertificateStore:
    return load(data, settings, clock)


# -- first start ----------------------------------------------------------------------------------------------------


def test_first_start_makes_everything_under_the_peers_names(tmp_path: Path, clock: SetClock) -> None:
    store = load(tmp_path, CertificateSettings(NAME), clock)
    assert set(contents(tmp_path)) == OUR_FILES
    rows = {row["purpose"]: row for row in store.describe()}
    assert {purpose: (row["key_type"], row["key_bits"]) for purpose, row in rows.items()} == {
        "root": ("RSA", 3072),
        "web": ("RSA", 3072),
        "web-ecdsa": ("ECDSA", 256),
        "mps": ("RSA", 2048),
        "agentserver": ("RSA", 3072),
    }
    if os.name == "posix":
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        assert {mode for name, mode in modes.items() if name.endswith(".key")} == {0o600}
        assert {mode & ~0o644 for name, mode in modes.items() if name.endswith(".crt")} == {0}


def test_a_second_start_changes_nothing(data: Path, settings: CertificateSettings, clock: SetClock) -> None:
    before = contents(data)
    load(data, settings, clock)
    assert contents(data) == before


def test_rows_are_made_of_plain_json(store: CertificateStore, data: Path) -> None:
    rows = json.loads(json.dumps(store.describe()))
    web = next(row for row in rows if row["purpose"] == "web")
    der = x509.load_pem_x509_certificate((data / "webserver-cert-public.crt").read_bytes()).public_bytes(Encoding.DER)
    assert web["sha384"] == hashlib.sha384(der).hexdigest()
    assert web["names"] == [NAME]
    assert web["issuer"].startswith("CN=MeshRoot-")
    assert web["not_after"].endswith("+00:00")
    assert web["days_left"] == 365
    assert web["file"] == str(data / "webserver-cert-public.crt")
    assert (web["self_issued"], web["managed"]) == (True, True)
    assert {row["purpose"]: row["managed"] for row in rows} == {
        "root": False, "web": True, "web-ecdsa": True, "mps": False, "agentserver": False,
    }  # fmt: skip


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl program")
def test_openssl_verifies_what_first_start_made(data: Path) -> None:
    for base in BASES:
        command = ["openssl", "verify", "-no_check_time", "-CAfile", "root-cert-public.crt", f"{base}-public.crt"]
        done = subprocess.run(command, cwd=data, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_both_web_certificates_load_into_one_tls_context(store: CertificateStore) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    files = store.web_files()
    assert len(files) == 2
    for chain_file, key_file in files:
        context.load_cert_chain(chain_file, key_file)


def test_an_interrupted_first_start_goes_on(data: Path, settings: CertificateSettings, clock: SetClock) -> None:
    kept = contents(data)
    for name in ("webserver-ecdsa-cert-public.crt", "webserver-ecdsa-cert-private.key", "agentserver-cert-public.crt"):
        (data / name).unlink()
    (data / "agentserver-cert-private.key").rename(data / "agentserver-cert-private.key.pending")
    load(data, settings, clock)
    assert set(contents(data)) == OUR_FILES
    for base in ("root-cert", "webserver-cert", "mpsserver-cert"):
        assert contents(data)[f"{base}-public.crt"] == kept[f"{base}-public.crt"]


def test_a_new_agent_server_key_in_an_old_folder_is_warned_of(
    data: Path, settings: CertificateSettings, clock: SetClock, caplog: pytest.LogCaptureFixture
) -> None:
    for path in data.glob("agentserver-cert-*"):
        path.unlink()
    load(data, settings, clock)
    assert "cannot connect until its files are restored" in caplog.text


def test_half_a_pair_stops_the_start_and_is_kept(data: Path, settings: CertificateSettings, clock: SetClock) -> None:
    (data / "agentserver-cert-public.crt").unlink()
    before = contents(data)
    with pytest.raises(ConfigurationError, match=r"agentserver-cert-public\.crt: the file is missing"):
        load(data, settings, clock)
    assert contents(data) == before


def test_a_missing_folder_is_one_clear_error(tmp_path: Path, settings: CertificateSettings, clock: SetClock) -> None:
    with pytest.raises(ConfigurationError, match="nowhere: cannot be listed"):
        load(tmp_path / "nowhere", settings, clock)


# -- a folder of the peer, certificates of an administrator ---------------------------------------------------------


def test_a_folder_of_the_peer_is_used_as_it_is(
    peer_data: Path, settings: CertificateSettings, clock: SetClock, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    before = contents(peer_data)
    store = load(peer_data, settings, clock)
    after = contents(peer_data)
    assert {name: after[name] for name in before} == before
    assert set(after) == OUR_FILES
    pkcs1 = keys.agent.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    assert store.agent_server_hash == hashlib.sha384(pkcs1).digest()
    assert store.web.managed
    assert store.web_ecdsa is not None
    assert store.web_ecdsa.self_issued
    if os.name == "posix":
        assert {stat.S_IMODE(path.stat().st_mode) for path in peer_data.glob("*.key")} == {0o600}
        assert caplog.text.count("repaired to 0600") == 4
        assert str(peer_data / "agentserver-cert-private.key") in caplog.text


def test_another_name_reissues_the_web_certificate_only(
    peer_data: Path, clock: SetClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    before = contents(peer_data)
    store = load(peer_data, CertificateSettings("new.example.com", fast=True), clock)
    changed = {name for name, content in contents(peer_data).items() if before.get(name, content) != content}
    assert changed == {"webserver-cert-public.crt", "webserver-cert-private.key"}
    assert store.web.names == ("new.example.com",)
    assert "the server's name is new.example.com" in caplog.text
    assert "mpsserver-cert-public.crt: the certificate is for mesh.example.com" in caplog.text


def test_an_administrators_web_certificate_is_served_alone(
    data: Path, settings: CertificateSettings, clock: SetClock, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    authority = peer_certificate("Example CA", keys.root, authority=True)
    own = peer_certificate(NAME, keys.web, issuer=authority, issuer_key=keys.root)
    write_pem_pair(data, "webserver-cert", own, keys.web, authority)
    before = contents(data)
    store = load(data, settings, clock)
    assert contents(data) == before
    assert store.web.chain == (own, authority)
    assert not store.web.managed
    assert store.web_ecdsa is None
    assert store.web_files() == [(data / "webserver-cert-public.crt", data / "webserver-cert-private.key")]
    assert len(store.web_hashes) == 1
    assert "webserver-ecdsa-cert-public.crt: not served" in caplog.text
    with pytest.raises(Conflict, match=r"webserver-cert-public\.crt"):
        store.rotate("web")
    assert contents(data) == before


def test_an_administrators_ecdsa_certificate_is_served(
    data: Path, settings: CertificateSettings, clock: SetClock, keys: Keys
) -> None:
    own = peer_certificate(NAME, keys.curve)
    write_pem_pair(data, "webserver-cert", own, keys.curve)
    store = load(data, settings, clock)
    assert store.web.certificate == own
    assert store.web_ecdsa is None
    assert store.recognise(hashlib.sha384(own.public_bytes(Encoding.DER)).digest()) == store.web.hashes


def test_an_administrator_may_bring_both_kinds(
    data: Path, settings: CertificateSettings, clock: SetClock, keys: Keys
) -> None:
    write_pem_pair(data, "webserver-cert", peer_certificate(NAME, keys.web), keys.web)
    write_pem_pair(data, "webserver-ecdsa-cert", peer_certificate(NAME, keys.curve), keys.curve)
    store = load(data, settings, clock)
    assert len(store.web_files()) == 2


def test_intermediate_certificates_in_files_of_their_own_are_sent(
    peer_data: Path, settings: CertificateSettings, clock: SetClock, keys: Keys
) -> None:
    authority = peer_certificate("Example CA", keys.curve, authority=True)
    own = peer_certificate(NAME, keys.web, issuer=authority, issuer_key=keys.curve)
    write_pem_pair(peer_data, "webserver-cert", own, keys.web)
    part = peer_data / "webserver-cert-chain1.crt"
    part.write_bytes(authority.public_bytes(Encoding.PEM))
    store = load(peer_data, settings, clock)
    ((chain_file, key_file),) = store.web_files()
    assert x509.load_pem_x509_certificates(chain_file.read_bytes()) == [own, authority]
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(chain_file, key_file)
    part.write_bytes(peer_certificate("Other CA", keys.other, authority=True).public_bytes(Encoding.PEM))
    assert store.reload() == [Purpose.WEB]
    assert store.web.chain == (own,)
    assert store.web_files() == [(peer_data / "webserver-cert-public.crt", key_file)]


def test_an_agent_server_certificate_must_be_rsa(
    data: Path, settings: CertificateSettings, clock: SetClock, keys: Keys
) -> None:
    write_pem_pair(data, "agentserver-cert", peer_certificate(NAME, keys.curve), keys.curve)
    with pytest.raises(ConfigurationError, match=r"agentserver-cert-public\.crt.*RSA"):
        load(data, settings, clock)


# -- identities -----------------------------------------------------------------------------------------------------


def test_an_identity_signs_as_agents_verify(store: CertificateStore) -> None:
    (identity,) = store.agent_servers
    key = x509.load_der_x509_certificate(identity.certificate_der).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    signature = identity.sign(b"W" * 48 + b"a" * 48 + b"s" * 48)
    assert len(signature) == key.key_size // 8
    key.verify(signature, b"W" * 48 + b"a" * 48 + b"s" * 48, padding.PKCS1v15(), hashes.SHA384())
    assert "RSAPrivateKey" not in repr(identity)


def test_one_identity_signs_in_many_threads(store: CertificateStore) -> None:
    (identity,) = store.agent_servers
    with ThreadPoolExecutor(8) as pool:
        signatures = set(pool.map(identity.sign, [b"same data"] * 64))
    assert signatures == {identity.sign(b"same data")}


def test_agents_pick_one_of_several_identities(
    data: Path, settings: CertificateSettings, clock: SetClock, keys: Keys
) -> None:
    for number, key in ((2, keys.agent), (10, keys.other)):
        write_pem_pair(data, "numbered", peer_certificate("Agents", key), key)
        (data / "numbered-public.crt").rename(data / f"agentserver-cert-public-{number}.crt")
        (data / "numbered-private.key").rename(data / f"agentserver-cert-private-{number}.key")
    store = load(data, settings, clock)
    first, second, tenth = store.agent_servers
    pkcs1 = keys.agent.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    assert store.identity_for(None) is first
    assert store.identity_for(first.key_hash) is first
    assert store.identity_for(hashlib.sha384(pkcs1).digest()) is second
    assert store.identity_for(hashlib.sha256(pkcs1).digest()) is second
    assert store.identity_for(tenth.key_hash) is tenth
    for unknown in (b"", b"\0" * 48, b"\0" * 32, hashlib.sha384(pkcs1).digest()[:32]):
        assert store.identity_for(unknown) is None
    assert store.agent_server_hash == first.key_hash
    assert [row["purpose"] for row in store.describe()].count("agentserver") == 3


def test_plugins_see_hashes(certificates: Certificates) -> None:
    assert len(certificates.agent_server_hash) == 48
    assert [len(part) for each in certificates.web_hashes for part in (each.full, each.key)] == [48] * 4


def test_one_certificate_is_asked_for_by_purpose(store: CertificateStore) -> None:
    assert store.of("web") is store.web
    assert store.of(Purpose.MPS) is store.mps
    with pytest.raises(NotFound):
        store.of("codesign")


# -- changes on disk ------------------------------------------------------------------------------------------------
