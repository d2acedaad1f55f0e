"""When certificates are issued, decided without files."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from cryptography import x509

from meshcentral.core.certificates import CertificateSettings, Purpose
from meshcentral.core.certificates.issue import issue_leaf, issue_root
from meshcentral.core.certificates.pairs import Pair
from meshcentral.core.certificates.renewal import Renewal, decide_renewal, plan_issues

from .conftest import NAME, NOW, Keys, peer_certificate

SETTINGS = CertificateSettings(NAME)
WEB_PAIR = {Purpose.WEB, Purpose.WEB_ECDSA}


@pytest.mark.parametrize(
    ("life_days", "days_left", "managed", "expected"),
    [
        (365, 365, True, Renewal.KEEP),
        (365, 122, True, Renewal.KEEP),
        (365, 121, True, Renewal.RENEW),
        (365, 0, True, Renewal.RENEW),
        (365, -50, True, Renewal.RENEW),
        (60, 31, True, Renewal.KEEP),
        (60, 29, True, Renewal.RENEW),
        (7000, 2400, True, Renewal.KEEP),
        (7000, 2300, True, Renewal.RENEW),
        (365, 31, False, Renewal.KEEP),
        (365, 29, False, Renewal.WARN),
        (365, -1, False, Renewal.WARN),
        (7000, 31, False, Renewal.KEEP),
    ],
)
def test_what_is_done_about_the_end(life_days: int, days_left: int, managed: bool, expected: Renewal) -> None:
    end = NOW + timedelta(days=days_left)
    assert decide_renewal(end - timedelta(days=life_days), end, NOW, managed=managed) is expected


@pytest.fixture(scope="module")
def current(keys: Keys) -> dict[Purpose, x509.Certificate]:
    """A complete set of ours."""
    root = Pair((issue_root(keys.root, SETTINGS, NOW),), keys.root)

    def leaf(purpose: Purpose, key: object = keys.web) -> x509.Certificate:
        chosen = keys.curve if purpose is Purpose.WEB_ECDSA else keys.web
        return issue_leaf(purpose, chosen.public_key(), root, SETTINGS.names(purpose), SETTINGS, NOW)

    return {purpose: root.certificate if purpose is Purpose.ROOT else leaf(purpose) for purpose in Purpose}


def plan(current: dict[Purpose, x509.Certificate], name: str = NAME, now: datetime = NOW) -> set[Purpose]:
    return set(plan_issues(current, CertificateSettings(name), now))


def without(current: dict[Purpose, x509.Certificate], *purposes: Purpose) -> dict[Purpose, x509.Certificate]:
    return {purpose: certificate for purpose, certificate in current.items() if purpose not in purposes}


def test_an_empty_folder_needs_everything() -> None:
    assert plan({}) == set(Purpose)


def test_a_complete_folder_needs_nothing(current: dict[Purpose, x509.Certificate]) -> None:
    assert plan(current) == set()


@pytest.mark.parametrize("missing", [Purpose.MPS, Purpose.AGENT_SERVER, Purpose.WEB_ECDSA])
def test_one_missing_certificate_is_added(current: dict[Purpose, x509.Certificate], missing: Purpose) -> None:
    assert plan(without(current, missing)) == {missing}


def test_a_missing_web_certificate_is_made_with_its_twin(current: dict[Purpose, x509.Certificate]) -> None:
    assert plan(without(current, Purpose.WEB)) == WEB_PAIR


def test_another_name_or_the_end_replaces_the_web_pair_only(current: dict[Purpose, x509.Certificate]) -> None:
    assert plan(current, name="new.example.com") == WEB_PAIR
    assert plan(current, now=NOW + timedelta(days=300)) == WEB_PAIR
    assert plan(current, now=NOW + timedelta(days=366)) == WEB_PAIR


def test_a_clock_that_is_behind_renews_nothing(current: dict[Purpose, x509.Certificate]) -> None:
    assert plan(current, now=NOW - timedelta(days=3000)) == set()


def test_an_administrators_web_certificate_stays_alone(current: dict[Purpose, x509.Certificate], keys: Keys) -> None:
    own = without(current, Purpose.WEB_ECDSA) | {Purpose.WEB: peer_certificate("other.example", keys.other)}
    assert plan(own) == set()
    assert plan(own, now=NOW + timedelta(days=20000)) == set()


def test_an_administrators_twin_is_never_replaced(current: dict[Purpose, x509.Certificate], keys: Keys) -> None:
    own = current | {Purpose.WEB_ECDSA: peer_certificate(NAME, keys.curve)}
    assert plan(own) == set()
    assert plan(own, now=NOW + timedelta(days=300)) == {Purpose.WEB}


def test_an_ecdsa_web_certificate_needs_no_twin(current: dict[Purpose, x509.Certificate]) -> None:
    assert plan(without(current, Purpose.WEB_ECDSA) | {Purpose.WEB: current[Purpose.WEB_ECDSA]}) == set()


def test_a_lost_root_is_made_anew_and_nothing_else(current: dict[Purpose, x509.Certificate]) -> None:
    assert plan(without(current, Purpose.ROOT)) == {Purpose.ROOT}
