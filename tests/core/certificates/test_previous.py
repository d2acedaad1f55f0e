"""Hashes of web certificates that were served until recently."""

from __future__ import annotations

import json
import os
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from meshcentral.core.certificates.previous import (
    OVERLAP,
    PreviousCertificate,
    read_previous,
    retire,
    write_previous,
)
from meshcentral.plugins.web import CertificateHashes

from .conftest import NOW


def hashes(number: int) -> CertificateHashes:
    return CertificateHashes(full=bytes([number]) * 48, key=bytes([number, 255]) * 24)


A, B, C = hashes(1), hashes(2), hashes(3)


def test_replaced_certificates_come_first_and_served_ones_are_left_out() -> None:
    earlier = (PreviousCertificate(C, NOW + timedelta(hours=1)),)
    kept = retire(earlier, [A, B], [B], NOW, OVERLAP)
    assert kept == (PreviousCertificate(A, NOW + OVERLAP), *earlier)
    assert retire(kept, [B], [A], NOW, OVERLAP) == (PreviousCertificate(B, NOW + OVERLAP), *earlier)


def test_ended_entries_are_dropped() -> None:
    assert retire([PreviousCertificate(C, NOW)], [A], [A], NOW, OVERLAP) == ()


def test_no_overlap_forgets_everything() -> None:
    earlier = [PreviousCertificate(C, NOW + timedelta(hours=1))]
    assert retire(earlier, [A], [B], NOW, timedelta(0)) == ()


def test_the_list_is_bounded() -> None:
    kept: tuple[PreviousCertificate, ...] = ()
    for number in range(1, 101):
        kept = retire(kept, [hashes(number)], [hashes(number + 1)], NOW, OVERLAP)
    assert len(kept) == 16
    assert kept[0].hashes == hashes(100)


def test_entries_survive_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "webserver-previous.json"
    entries = (PreviousCertificate(A, NOW), PreviousCertificate(B, NOW + OVERLAP))
    write_previous(file, entries)
    assert read_previous(file) == entries
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    write_previous(file, ())
    assert not file.exists()
    assert read_previous(file) == ()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"certificates": 5}',
        b'{"certificates": [5]}',
        b'{"certificates": [{"full": "00", "key": "00", "until": "2026-01-01T00:00:00+00:00"}]}',
        json.dumps({"certificates": [{"full": "zz", "key": "00" * 48, "until": "2026-01-01T00:00:00Z"}]}).encode(),
        json.dumps({"certificates": [{"full": "00" * 48, "key": "00" * 48, "until": "2026-01-01"}]}).encode(),
        json.dumps({"certificates": [{"full": 5, "key": "00" * 48, "until": "2026-01-01T00:00:00Z"}]}).encode(),
        b"[" * 100_000,
    ],
)
def test_a_damaged_file_is_reported_and_skipped(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "webserver-previous.json"
    file.write_bytes(content)
    assert read_previous(file) == ()
    assert str(file) in caplog.text
