"""Web certificates that were served until recently.

An agent reports the certificate of its TLS session, which may be one that was replaced a moment ago, or a resumed
session that began under the old certificate. For a while the server therefore goes on recognising the old hashes.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from meshcentral.core.certificates.files import KEY_MODE, read_file, remove, replace_file
from meshcentral.plugins.errors import MeshError
from meshcentral.plugins.web import CertificateHashes

log = logging.getLogger("meshcentral.certificates")

OVERLAP = timedelta(days=1)
"""Far more than a TLS ticket lives (2 hours): resuming clients may be handed a new one each time."""

_HASH_BYTES = 48
_MAX_ENTRIES = 16


@dataclass(frozen=True, slots=True)
class PreviousCertificate:
    """A web certificate that is no longer served but still recognised."""

    hashes: CertificateHashes
    until: datetime


def retire(
    previous: Iterable[PreviousCertificate],
    before: Sequence[CertificateHashes],
    after: Sequence[CertificateHashes],
    now: datetime,
    overlap: timedelta,
) -> tuple[PreviousCertificate, ...]:
    """The previous certificates, newest first, once `before` is replaced by `after`. No overlap forgets all of them."""
    if not overlap:
        return ()
    gone = [PreviousCertificate(hashes, now + overlap) for hashes in before if hashes not in after]
    known = {entry.hashes for entry in gone}
    kept = [
        entry for entry in previous if entry.until > now and entry.hashes not in known and entry.hashes not in after
    ]
    return tuple([*gone, *kept][:_MAX_ENTRIES])


def read_previous(path: Path) -> tuple[PreviousCertificate, ...]:
    """Read the file; a damaged one costs slow reconnections only, so it is reported and skipped."""
    if not path.exists():
        return ()
    try:
        rows = json.loads(read_file(path))["certificates"]
        return tuple(_from_row(row) for row in rows[:_MAX_ENTRIES])
    except (MeshError, ValueError, TypeError, KeyError, RecursionError) as error:
        log.warning("%s: recently served web certificates are forgotten, the file is damaged: %s", path, error)
        return ()


def write_previous(path: Path, previous: Sequence[PreviousCertificate]) -> None:
    """Replace the file; without entries it is removed. Raises ConfigurationError."""
    if not previous:
        remove(path)
        return
    rows = [
        {"full": entry.hashes.full.hex(), "key": entry.hashes.key.hex(), "until": entry.until.isoformat()}
        for entry in previous
    ]
    replace_file(path, json.dumps({"certificates": rows}, indent=1).encode() + b"\n", KEY_MODE)


def _from_row(row: dict[str, str]) -> PreviousCertificate:
    full, key, until = bytes.fromhex(row["full"]), bytes.fromhex(row["key"]), datetime.fromisoformat(row["until"])
    if len(full) != _HASH_BYTES or len(key) != _HASH_BYTES or until.tzinfo is None:
        raise ValueError("an entry needs two SHA-384 hashes and a time with its zone")
    return PreviousCertificate(CertificateHashes(full, key), until)
