"""Pairs of files: checks when reading, and crashes at every step of writing."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding

from meshcentral.core.certificates import Purpose, pairs
from meshcentral.core.certificates.pairs import CertificateFolder, Pair, PairFiles
from meshcentral.plugins.errors import ConfigurationError

from .conftest import NAME, Keys, contents, peer_certificate, write_pem_pair


class Crash(BaseException):
    """The power is gone."""


@pytest.fixture
def files(tmp_path: Path) -> PairFiles:
    return CertificateFolder(tmp_path).files(Purpose.WEB)


@pytest.fixture(scope="module")
def old(keys: Keys) -> Pair:
    return Pair((peer_certificate(NAME, keys.web),), keys.web)


@pytest.fixture(scope="module")
def new(keys: Keys) -> Pair:
    return Pair((peer_certificate(NAME, keys.other),), keys.other)


def test_what_is_written_is_read_back(files: PairFiles, old: Pair) -> None:
    assert not files.exist()
    files.write(old)
    assert files.exist()
    read = files.read()
    assert read.chain == old.chain
    assert read.key.private_numbers() == old.key.private_numbers()
    assert set(contents(files.key.parent)) == {"webserver-cert-public.crt", "webserver-cert-private.key"}


STEPS = ("write_synced", "move", "sync_folder")


def crash_at(monkeypatch: pytest.MonkeyPatch, number: int, *, torn: bool) -> None:
    """Let the writing steps before `number` happen; at it, a torn half of a file may still reach the disk."""
    counter = itertools.count()

    def wrap(real: Callable[..., None]) -> Callable[..., None]:
        def step(*arguments: object) -> None:
            if next(counter) < number:
                return real(*arguments)
            path, *rest = arguments
            if torn and rest and isinstance(rest[0], bytes) and isinstance(path, Path):
                path.write_bytes(rest[0][: len(rest[0]) // 2])
            raise Crash

        return step

    for name in STEPS:
        monkeypatch.setattr(pairs, name, wrap(getattr(pairs, name)))


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("number", range(6))
def test_a_crash_while_replacing_leaves_a_whole_pair(
    files: PairFiles, old: Pair, new: Pair, monkeypatch: pytest.MonkeyPatch, number: int, torn: bool
) -> None:
    files.write(old)
    with monkeypatch.context() as patch:
        crash_at(patch, number, torn=torn)
        with pytest.raises(Crash):
            files.write(new)
    files.finish_pending()
    assert files.exist()
    assert files.read().chain == (new.chain if number >= 2 else old.chain)
    assert set(contents(files.key.parent)) == {"webserver-cert-public.crt", "webserver-cert-private.key"}


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("number", range(6))
def test_a_crash_on_first_start_leaves_a_whole_pair_or_none(
    files: PairFiles, new: Pair, monkeypatch: pytest.MonkeyPatch, number: int, torn: bool
) -> None:
    with monkeypatch.context() as patch:
        crash_at(patch, number, torn=torn)
        with pytest.raises(Crash):
            files.write(new)
    files.finish_pending()
    assert files.exist() is (number >= 2)
    if files.exist():
        assert files.read().chain == new.chain


def test_finishing_twice_is_finishing_once(files: PairFiles, old: Pair) -> None:
    files.write(old)
    before = contents(files.key.parent)
    files.finish_pending()
    assert contents(files.key.parent) == before


@pytest.mark.parametrize("missing", ["certificate", "key"])
def test_half_a_pair_is_refused_and_kept(files: PairFiles, old: Pair, missing: str) -> None:
    files.write(old)
    lost: Path = getattr(files, missing)
    lost.unlink()
    before = contents(lost.parent)
    with pytest.raises(ConfigurationError, match="is missing") as raised:
        files.exist()
    assert str(lost) in str(raised.value)
    assert "backup" in str(raised.value.hint)
    assert contents(lost.parent) == before


def test_a_link_that_leads_nowhere_counts_as_a_file(files: PairFiles) -> None:
    files.certificate.symlink_to("nowhere.crt")
    files.key.symlink_to("nowhere.key")
    assert files.exist()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        files.read()


def test_a_key_of_another_certificate_is_refused(files: PairFiles, old: Pair, new: Pair, keys: Keys) -> None:
    write_pem_pair(files.key.parent, "webserver-cert", old.certificate, keys.other)
    with pytest.raises(ConfigurationError, match=r"webserver-cert-private\.key: the private key does not belong"):
        files.read()


def test_a_chain_in_the_wrong_order_is_explained(files: PairFiles, keys: Keys) -> None:
    authority = peer_certificate("Example CA", keys.other, authority=True)
    leaf = peer_certificate(NAME, keys.web, issuer=authority, issuer_key=keys.other)
    write_pem_pair(files.key.parent, "webserver-cert", authority, keys.web, leaf)
    with pytest.raises(ConfigurationError, match="does not belong") as raised:
        files.read()
    assert "first" in str(raised.value.hint)


@pytest.mark.parametrize("content", [b"", b"hello", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_an_unreadable_certificate_is_named(files: PairFiles, old: Pair, content: bytes) -> None:
    files.write(old)
    files.certificate.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"webserver-cert-public\.crt: there is no readable PEM certificate"):
        files.read()


def test_a_certificate_with_an_unusable_key_is_refused(files: PairFiles, old: Pair) -> None:
    files.write(old)
    unusable = ed25519.Ed25519PrivateKey.generate()
    builder = x509.CertificateBuilder().subject_name(old.certificate.subject).issuer_name(old.certificate.subject)
    builder = builder.not_valid_before(old.certificate.not_valid_before_utc).serial_number(1)
    builder = builder.not_valid_after(old.certificate.not_valid_after_utc).public_key(unusable.public_key())
    files.certificate.write_bytes(builder.sign(unusable, None).public_bytes(Encoding.PEM))
    with pytest.raises(ConfigurationError, match="RSA or elliptic-curve"):
        files.read()


def test_numbered_agent_server_files_are_found_in_order(tmp_path: Path) -> None:
    folder = CertificateFolder(tmp_path)
    for name in ("public-10.crt", "private-2.key", "public-2.crt", "public-0.crt", "public-x.crt", "public-3.crt.bak",
                 "private-7.key.pending"):  # fmt: skip
        (tmp_path / f"agentserver-cert-{name}").touch()
    assert folder.additional_numbers() == [2, 7, 10]
