"""When certificates are made anew: pure decisions over what is there and the time."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from meshcentral.core.certificates.issue import CertificateSettings, is_issued_by
from meshcentral.core.certificates.model import Purpose
from meshcentral.core.certificates.names import certificate_names, covers

EXPIRY_NOTICE = timedelta(days=30)

_ALWAYS_NEEDED = (Purpose.ROOT, Purpose.WEB, Purpose.MPS, Purpose.AGENT_SERVER)


class Renewal(enum.Enum):
    """What to do about the end of a certificate."""

    KEEP = "keep"
    RENEW = "renew"
    WARN = "warn"
    """It ends soon and is not ours to renew."""


def decide_renewal(not_before: datetime, not_after: datetime, now: datetime, *, managed: bool) -> Renewal:
    """Renew our own in the last third of its life or its last 30 days; warn of others in their last 30 days."""
    left = not_after - now
    if managed:
        due = left < EXPIRY_NOTICE or left < (not_after - not_before) / 3
        return Renewal.RENEW if due else Renewal.KEEP
    return Renewal.WARN if left < EXPIRY_NOTICE else Renewal.KEEP


def plan_issues(
    current: Mapping[Purpose, x509.Certificate], settings: CertificateSettings, now: datetime
) -> dict[Purpose, str]:
    """Which certificates have to be issued, each with the reason to log.

    Root, MPS and agent server are made when missing and never replaced: Intel AMT devices and agents trust them. The
    web certificate is replaced when it is ours (issued by the root in the folder) and ends soon or lacks the
    configured name. Its ECDSA twin goes with it; an administrator's certificate is served alone, and files that an
    administrator put in the twin's place stay.
    """
    root, web, twin = (current.get(purpose) for purpose in (Purpose.ROOT, Purpose.WEB, Purpose.WEB_ECDSA))
    reasons = {purpose: "there is none yet" for purpose in _ALWAYS_NEEDED if purpose not in current}
    twin_is_ours = twin is None or (root is not None and is_issued_by(twin, root))
    reason: str | None = None
    if web is None:
        reason = reasons[Purpose.WEB]
    elif root is None or not is_issued_by(web, root):
        return reasons
    elif reason := _replacement_reason(web, settings, now):
        reasons[Purpose.WEB] = reason
    elif isinstance(web.public_key(), rsa.RSAPublicKey):
        reason = "there is none yet" if twin is None else _replacement_reason(twin, settings, now)
    if reason and twin_is_ours:
        reasons[Purpose.WEB_ECDSA] = reason
    return reasons


def _replacement_reason(certificate: x509.Certificate, settings: CertificateSettings, now: datetime) -> str | None:
    names = certificate_names(certificate)
    if not covers(names, settings.name):
        return f"the server's name is {settings.name}, the certificate is for {', '.join(names) or 'no name'}"
    not_before, not_after = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if decide_renewal(not_before, not_after, now, managed=True) is Renewal.RENEW:
        return f"it ends on {not_after:%Y-%m-%d}"
    return None
