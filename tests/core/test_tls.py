from __future__ import annotations

import asyncio.sslproto
import socket
import ssl
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from meshcentral.core import tls
from meshcentral.core.tls import LiveContext, make_context
from meshcentral.plugins.errors import ConfigurationError

SEED_SUITES = {
    "ECDHE-RSA-AES256-GCM-SHA384": 0xC030,
    "ECDHE-RSA-AES256-SHA384": 0xC028,
    "ECDHE-RSA-AES256-SHA": 0xC014,
    "ECDHE-RSA-AES128-GCM-SHA256": 0xC02F,
    "ECDHE-RSA-AES128-SHA256": 0xC027,
    "ECDHE-RSA-AES128-SHA": 0xC013,
}


def handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[str | None, str, x509.Certificate]:
    """Version, suite and certificate that a client gets, over a socket pair."""
    here, there = socket.socketpair()

    def serve() -> None:
        try:
            server.wrap_socket(there, server_side=True).close()
        except (ssl.SSLError, OSError):
            there.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(here) as connection:
            suite = connection.cipher()
            der = connection.getpeercert(binary_form=True)
            assert suite is not None
            assert der is not None
            return connection.version(), suite[0], x509.load_der_x509_certificate(der)
    finally:
        here.close()
        thread.join()


def client(suites: str | None = None, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if suites is not None:
        context.set_ciphers(suites)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


def suite_ids(context: ssl.SSLContext) -> set[int]:
    return {suite["id"] & 0xFFFF for suite in context.get_ciphers()}


def test_the_seed_profile_is_exactly_the_documented_list(tls_files) -> None:
    context = make_context("seed", tls_files)
    usable = {suite["id"] & 0xFFFF for suite in context.get_ciphers() if suite["protocol"] != "TLSv1.3"}
    assert usable == set(SEED_SUITES.values())
    assert context.maximum_version is ssl.TLSVersion.TLSv1_2
    for suite in SEED_SUITES:
        assert handshake(context, client(f"{suite}:@SECLEVEL=0"))[:2] == ("TLSv1.2", suite)
    assert handshake(context, client())[0] == "TLSv1.2"


@pytest.mark.parametrize("suite", ["ECDHE-ECDSA-AES256-GCM-SHA384", "AES256-GCM-SHA384", "DHE-RSA-AES256-GCM-SHA384"])
def test_the_seed_profile_refuses_other_suites(tls_files, suite: str) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(make_context("seed", tls_files), client(suite))


def test_the_intermediate_profile(tls_files) -> None:
    context = make_context("intermediate", tls_files)
    assert handshake(context, client())[0] == "TLSv1.3"
    assert handshake(context, client(version=ssl.TLSVersion.TLSv1_2))[0] == "TLSv1.2"
    for suite in ("ECDHE-RSA-AES256-SHA", "AES256-GCM-SHA384", "ECDHE-RSA-AES128-SHA256"):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            handshake(context, client(suite))


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
@pytest.mark.parametrize("profile", ["intermediate", "seed"])
def test_old_versions_compression_and_renegotiation_are_off(tls_files, profile) -> None:
    context = make_context(profile, tls_files)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_NO_COMPRESSION


def test_one_context_has_a_certificate_for_each_kind_of_client(tls_files) -> None:
    context = make_context("intermediate", tls_files)
    rsa_certificate = handshake(context, client("ECDHE-RSA-AES256-GCM-SHA384"))[2]
    ecdsa_certificate = handshake(context, client("ECDHE-ECDSA-AES256-GCM-SHA384"))[2]
    assert isinstance(rsa_certificate.public_key(), rsa.RSAPublicKey)
    assert isinstance(ecdsa_certificate.public_key(), ec.EllipticCurvePublicKey)


def fingerprint(certificate: x509.Certificate) -> bytes:
    return certificate.fingerprint(hashes.SHA256())


def test_a_replacement_takes_effect_for_the_next_handshake(tls_files, write_certificate, tmp_path: Path) -> None:
    live = LiveContext("intermediate", tls_files[1:])
    before = handshake(live.listening, client())[2]
    live.replace([write_certificate(tmp_path, "renewed", ec.generate_private_key(ec.SECP256R1()))])
    after = handshake(live.listening, client())[2]
    assert fingerprint(after) != fingerprint(before)


def test_a_certificate_that_is_no_longer_served_is_shown_to_nobody(tls_files) -> None:
    live = LiveContext("intermediate", tls_files)
    assert isinstance(handshake(live.listening, client())[2].public_key(), ec.EllipticCurvePublicKey)
    live.replace(tls_files[:1])
    assert isinstance(handshake(live.listening, client())[2].public_key(), rsa.RSAPublicKey)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(live.listening, client("ECDHE-ECDSA-AES256-GCM-SHA384"))


def test_a_replacement_that_fails_changes_nothing(tls_files, tmp_path: Path) -> None:
    (rsa_chain, _), (_, ecdsa_key) = tls_files
    live = LiveContext("intermediate", tls_files)
    before = handshake(live.listening, client())[2]
    broken = tmp_path / "broken.crt"
    broken.write_text("not PEM")
    for files in ([(rsa_chain, ecdsa_key)], [(broken, ecdsa_key)], [(tmp_path / "absent", ecdsa_key)], []):
        with pytest.raises(ConfigurationError) as error:
            live.replace(files)
        assert error.value.hint
    assert fingerprint(handshake(live.listening, client())[2]) == fingerprint(before)


def test_an_unknown_profile(tls_files) -> None:
    with pytest.raises(ConfigurationError, match="tlsprofile"):
        make_context("modern", tls_files)  # type: ignore[arg-type]


def test_asyncio_buffers_can_be_shrunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio.sslproto.SSLProtocol, "max_size", 256 * 1024)
    tls.shrink_tls_buffers()
    assert asyncio.sslproto.SSLProtocol.max_size == 64 * 1024
    monkeypatch.delattr(asyncio.sslproto.SSLProtocol, "max_size")
    tls.shrink_tls_buffers()
