"""The micro benchmarks measure what they say: each operation does its work before anything is timed."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import identities
from bench.scenarios import micro
from meshcentral.core.websocket.codec import MessageDecoder
from meshcentral_protocol.keys import certificate_key


@pytest.mark.parametrize("size", [0, 125, 126, 0xFFFF, 0x10000])
def test_client_frames_are_what_the_decoder_takes(size: int) -> None:
    assert MessageDecoder(1 << 20).feed(micro.client_frame(b"x" * size)) == [b"x" * size]


def test_identities_are_cached_distinct_and_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(identities, "PRIMES", 4)
    first = identities.load(0, 6)
    assert len({identity.key_hash for identity in first}) == 6
    assert [identity.key_hash for identity in identities.load(2, 2)] == [identity.key_hash for identity in first[2:4]]
    (kept,) = (tmp_path / "mesh-bench").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    for identity in first:
        key = certificate_key(identity.certificate_der)
        assert key.key_size == 2048


def test_more_identities_than_there_are_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(identities, "PRIMES", 4)
    with pytest.raises(ValueError):
        identities.load(5, 2)
