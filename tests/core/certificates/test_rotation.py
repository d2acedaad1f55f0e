"""Rotation, changed files and renewal while the store is in use."""

from __future__ import annotations

import hashlib
import os
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from meshcentral.core.certificates import CertificateSettings, CertificateStore, Purpose
from meshcentral.core.certificates.previous import OVERLAP
from meshcentral.core.certificates.store import RENEWAL_RETRY
from meshcentral.core.paths import DataPaths
from meshcentral.plugins.errors import ConfigurationError, UsageError
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


def test_rotating_the_agent_server_keeps_the_old_identity(
    store: CertificateStore, data: Path, settings: CertificateSettings, clock: SetClock
) -> None:
    (old,) = store.agent_servers
    rotated = store.rotate("agentserver")
    assert rotated.hashes.key == store.agent_server_hash != old.key_hash
    again = load(data, settings, clock)
    for each in (store, again):
        assert each.identity_for(old.key_hash) == each.agent_servers[1]
        assert each.agent_servers[1].certificate_der == old.certificate_der
    store.rotate("agentserver")
    assert len(store.agent_servers) == 3


def test_a_copy_left_by_an_interrupted_rotation_is_one_identity(
    data: Path, settings: CertificateSettings, clock: SetClock
) -> None:
    shutil.copy(data / "agentserver-cert-public.crt", data / "agentserver-cert-public-1.crt")
    shutil.copy(data / "agentserver-cert-private.key", data / "agentserver-cert-private-1.key")
    store = load(data, settings, clock)
    assert len(store.agent_servers) == 1
    assert [row["purpose"] for row in store.describe()].count("agentserver") == 1


# -- rotation and recognition ---------------------------------------------------------------------------------------


def test_rotation_makes_new_keys_and_keeps_names(store: CertificateStore) -> None:
    web, twin, root, agent = store.web, store.web_ecdsa, store.root, store.agent_server_hash
    rotated = store.rotate("web")
    assert rotated is store.web
    assert rotated.names == web.names
    assert rotated.hashes.key != web.hashes.key
    assert twin is not None
    assert store.web_ecdsa is not None
    assert store.web_ecdsa.hashes.key != twin.hashes.key
    assert (store.root, store.agent_server_hash) == (root, agent)
    assert store.changed_files() == []


def test_old_hashes_are_recognised_while_the_overlap_lasts(
    store: CertificateStore, data: Path, settings: CertificateSettings, clock: SetClock
) -> None:
    old = list(store.web_hashes)
    store.rotate("web")
    assert list(store.web_hashes)[2:] == old
    assert store.web_hashes[0] == store.web.hashes
    restarted = load(data, settings, clock)
    for each in (store, restarted):
        for served in old:
            assert each.recognise(served.full) == served
            assert each.recognise(served.key) == served
        assert each.recognise(b"\0" * 48) is None
        assert each.recognise(b"") is None
    clock.forward(days=1)
    for each in (store, restarted):
        assert each.recognise(old[0].full) is None
        assert len(each.web_hashes) == 2
        assert each.recognise(each.web.hashes.full) == each.web.hashes


def test_no_overlap_forgets_all_earlier_certificates(store: CertificateStore, data: Path) -> None:
    first = store.web.hashes
    store.rotate("web")
    assert store.recognise(first.full) == first
    store.rotate("web", overlap=timedelta(0))
    assert store.recognise(first.full) is None
    assert len(store.web_hashes) == 2
    assert not (data / "webserver-previous.json").exists()


def test_rotating_the_mps_certificate_takes_the_configured_name(data: Path, clock: SetClock) -> None:
    store = load(data, CertificateSettings(NAME, fast=True, mps_name="amt.example.com"), clock)
    assert store.mps.names == (NAME,)
    hashes_before = store.web_hashes
    assert store.rotate("mps").names == ("amt.example.com",)
    assert store.web_hashes == hashes_before


@pytest.mark.parametrize("purpose", ["root", "web-ecdsa", "codesign", ""])
def test_other_purposes_cannot_be_rotated(store: CertificateStore, purpose: str) -> None:
    with pytest.raises(UsageError, match="cannot be rotated"):
        store.rotate(purpose)


def test_changed_files_are_taken_into_use(store: CertificateStore, data: Path, keys: Keys) -> None:
    old = store.web.hashes
    assert (store.changed_files(), store.reload()) == ([], [])
    own = peer_certificate(NAME, keys.web)
    write_pem_pair(data, "webserver-cert", own, keys.web)
    assert store.changed_files() == [data / "webserver-cert-private.key", data / "webserver-cert-public.crt"]
    assert store.reload() == [Purpose.WEB]
    assert store.web.certificate == own
    assert store.web_ecdsa is None
    assert store.recognise(old.full) == old
    assert (store.changed_files(), store.refresh()) == ([], [])


def test_a_touched_file_is_read_and_changes_nothing(store: CertificateStore, data: Path) -> None:
    os.utime(data / "webserver-cert-public.crt", ns=(1, 1))
    assert store.changed_files() == [data / "webserver-cert-public.crt"]
    assert store.reload() == []
    assert store.changed_files() == []


def test_bad_files_are_reported_once_and_the_old_pair_stays(
    store: CertificateStore, data: Path, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    old = (store.web, store.web_ecdsa)
    write_pem_pair(data, "webserver-cert", peer_certificate(NAME, keys.web), keys.other)
    write_pem_pair(data, "mpsserver-cert", peer_certificate(NAME, keys.agent), keys.agent)
    assert store.reload() == [Purpose.MPS]
    assert (store.web, store.web_ecdsa) == old
    assert (
        store.mps.hashes.key
        == hashlib.sha384(keys.agent.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)).digest()
    )
    (problem,) = store.problems
    assert "webserver-cert-private.key: the private key does not belong" in problem
    assert caplog.text.count("does not belong") == 1
    assert store.refresh() == []
    write_pem_pair(data, "webserver-cert", peer_certificate(NAME, keys.web), keys.web)
    assert store.refresh() == [Purpose.WEB]
    assert store.problems == ()


def test_removed_files_stay_in_use(store: CertificateStore, data: Path) -> None:
    web, agent = store.web, store.agent_server_hash
    for path in (*data.glob("webserver-cert-*"), *data.glob("agentserver-cert-*")):
        path.unlink()
    assert store.reload() == []
    assert (store.web, store.agent_server_hash) == (web, agent)
    assert len(store.problems) == 2


def test_a_removed_additional_identity_is_given_up(store: CertificateStore, data: Path) -> None:
    old = store.agent_server_hash
    store.rotate("agentserver")
    for path in data.glob("agentserver-cert-*-1.*"):
        path.unlink()
    assert store.reload() == [Purpose.AGENT_SERVER]
    assert store.identity_for(old) is None


def test_unread_files_are_never_written_over(store: CertificateStore, data: Path, keys: Keys, clock: SetClock) -> None:
    write_pem_pair(data, "webserver-cert", peer_certificate(NAME, keys.web), keys.other)
    before = contents(data)
    clock.forward(days=300)
    with pytest.raises(ConfigurationError, match="changed a moment ago"):
        store.rotate("web")
    assert store.renew() == []
    store.reload()
    with pytest.raises(ConfigurationError, match="does not belong"):
        store.rotate("web")
    assert store.refresh() == []
    assert contents(data) == before


# -- renewal --------------------------------------------------------------------------------------------------------


def test_our_web_certificates_renew_themselves(store: CertificateStore, clock: SetClock) -> None:
    old = store.web.hashes
    clock.forward(days=200)
    assert store.renew() == []
    clock.forward(days=60)
    assert store.refresh() == [Purpose.WEB, Purpose.WEB_ECDSA]
    assert store.web.not_after - clock.now() == timedelta(days=365)
    assert store.recognise(old.full) == old
    assert store.refresh() == []


def test_renewal_keeps_further_names(peer_data: Path, settings: CertificateSettings, clock: SetClock) -> None:
    store = load(peer_data, settings, clock)
    clock.forward(days=20 * 365)
    assert store.renew() == [Purpose.WEB, Purpose.WEB_ECDSA]
    assert store.web.names == (NAME,)
    assert store.web_ecdsa is not None
    assert store.web_ecdsa.names == (NAME,)


def test_an_ended_certificate_of_ours_is_replaced_at_start(
    data: Path, settings: CertificateSettings, clock: SetClock
) -> None:
    clock.forward(days=400)
    assert load(data, settings, clock).web.not_after > clock.now() + OVERLAP


def test_a_failed_renewal_is_tried_again_later(
    store: CertificateStore,
    data: Path,
    clock: SetClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    web = store.web
    clock.forward(days=300)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert store.refresh() == []
        assert store.refresh() == []
    assert caplog.text.count("certificates cannot be renewed") == 1
    assert store.web == web
    assert set(contents(data)) == OUR_FILES
    clock.moment += RENEWAL_RETRY
    assert store.refresh() == [Purpose.WEB, Purpose.WEB_ECDSA]
    assert set(contents(data)) == OUR_FILES | {"webserver-previous.json"}


def test_an_administrators_certificate_is_warned_of_once_a_day(
    data: Path, settings: CertificateSettings, clock: SetClock, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    own = peer_certificate(NAME, keys.web)
    write_pem_pair(data, "webserver-cert", own, keys.web)
    clock.moment = own.not_valid_after_utc - timedelta(days=29)
    store = load(data, settings, clock)
    before = contents(data)

    def warnings() -> int:
        return caplog.text.count("webserver-cert-public.crt: the certificate ends on 2049-12-31")

    assert warnings() == 1
    for _ in range(3):
        assert store.refresh() == []
    assert warnings() == 1
    clock.forward(days=1)
    store.refresh()
    assert warnings() == 2
    clock.forward(days=40)
    store.refresh()
    assert "webserver-cert-public.crt: the certificate ended on" in caplog.text
    assert contents(data) == before
