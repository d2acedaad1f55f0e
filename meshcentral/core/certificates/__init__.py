"""The server's own certificates: made on first start, used as found, rotated without losing agents.

A data folder of the peer is taken over as it is (seed, "Server Certificates"; architecture, section 9).
"""

from __future__ import annotations

import warnings

from meshcentral.core.certificates.identity import AgentServerIdentity
from meshcentral.core.certificates.issue import CertificateSettings
from meshcentral.core.certificates.model import CertificateDescription, Purpose, ServerCertificate
from meshcentral.core.certificates.store import CertificateStore

__all__ = [
    "AgentServerIdentity",
    "CertificateDescription",
    "CertificateSettings",
    "CertificateStore",
    "Purpose",
    "ServerCertificate",
]

# The peer's certificates say C=unknown. The rule that a country has two letters is right, but they are used as found,
# and the operator could do nothing about the warning.
warnings.filterwarnings("ignore", message="Attribute's length must be", category=UserWarning)
