"""Issuing certificates into the folder: keys in threads, then the root, then what it signs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from cryptography import x509

from meshcentral.core.certificates.issue import CertificateSettings, issue_leaf, issue_root
from meshcentral.core.certificates.keys import generate_keys
from meshcentral.core.certificates.model import Purpose
from meshcentral.core.certificates.names import certificate_names, covers
from meshcentral.core.certificates.pairs import CertificateFolder, Pair


def names_for(purpose: Purpose, current: x509.Certificate | None, settings: CertificateSettings) -> tuple[str, ...]:
    """Names of the next certificate: those of the current one, unless the configured name is not among them."""
    configured = settings.names(purpose)
    kept = certificate_names(current) if current is not None else ()
    if configured and covers(kept, configured[0]):
        return tuple(dict.fromkeys((*configured, *kept)))
    return configured


def issue_pairs(
    folder: CertificateFolder,
    wanted: Mapping[Purpose, Sequence[str]],
    settings: CertificateSettings,
    now: datetime,
) -> None:
    """Make the wanted pairs (purpose to names) with new keys and write them, replacing what is there.

    The root comes first, so that whatever an interruption leaves was issued by the root in the folder.
    """
    keys = generate_keys({purpose: settings.key_kind(purpose) for purpose in wanted})
    root_files = folder.files(Purpose.ROOT)
    if (root_key := keys.pop(Purpose.ROOT, None)) is None:
        root = root_files.read()
    else:
        root = Pair((issue_root(root_key, settings, now),), root_key)
        root_files.write(root)
    for purpose, key in keys.items():
        certificate = issue_leaf(purpose, key.public_key(), root, wanted[purpose], settings, now)
        folder.files(purpose).write(Pair((certificate,), key))


def add_agent_server(folder: CertificateFolder, settings: CertificateSettings, now: datetime) -> None:
    """Make a new first agent-server identity; the one that was first gets the next number and goes on answering."""
    number = max(folder.additional_numbers(), default=0) + 1
    folder.additional_agent_server(number).write(folder.files(Purpose.AGENT_SERVER).read())
    issue_pairs(folder, {Purpose.AGENT_SERVER: ()}, settings, now)
