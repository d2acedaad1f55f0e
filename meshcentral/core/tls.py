"""TLS contexts of the web and agent ports.

Profiles:

- `intermediate`: Mozilla's intermediate recommendation, TLS 1.2 and 1.3.
- `seed`: exactly the six suites that MeshCentral documents for its HTTPS port. They are TLS 1.2 suites, and TLS 1.3 has
  suites of its own that cannot be among them, so TLS 1.3 is off in this profile.
"""

from __future__ import annotations

import asyncio.sslproto
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from meshcentral.plugins.errors import ConfigurationError

Profile = Literal["intermediate", "seed"]

CertificateFiles = tuple[Path, Path]
"""Chain file (leaf first) and key file, both PEM."""

_TLS12_SUITES: dict[str, tuple[str, ...]] = {
    "intermediate": (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
    ),
    "seed": (
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-SHA384",
        "ECDHE-RSA-AES256-SHA",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-SHA256",
        "ECDHE-RSA-AES128-SHA",
    ),
}

_ASYNCIO_BUFFER = 64 * 1024


def make_context(profile: Profile, certificates: Sequence[CertificateFiles]) -> ssl.SSLContext:
    """A server context that offers `http/1.1` only; OpenSSL picks the certificate by the client's algorithms.

    HTTP/2 is not offered on purpose: it has WebSockets of its own, which would go past our codec. Raises
    ConfigurationError naming the setting or the file.
    """
    if profile not in _TLS12_SUITES:
        raise ConfigurationError(
            f"settings.tlsprofile: {profile!r} is not a TLS profile", hint="Use `intermediate` or `seed`."
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if profile == "seed":
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    else:
        # With clients that prefer ChaCha20 the difference is theirs to know: all six suites are equally good.
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_ciphers(":".join(_TLS12_SUITES[profile]))
    context.set_alpn_protocols(["http/1.1"])
    if not certificates:
        raise ConfigurationError("there is no web certificate", hint="Run `mesh cert rotate web`.")
    for chain_file, key_file in certificates:
        try:
            context.load_cert_chain(chain_file, key_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(
                f"the certificate {chain_file} with the key {key_file} cannot be used: {error}",
                hint="Both must be PEM files that belong together; `mesh cert list` shows which are in use.",
            ) from error
    return context


class LiveContext:
    """The TLS side of a listener whose certificates can be replaced while it listens.

    `listening` is given to the listener once; every handshake then moves to the newest context. Loading new files into
    the listening context would not do: it holds one certificate per key type and cannot forget one, so a client that
    prefers ECDSA would go on seeing a twin that is no longer ours.
    """

    def __init__(self, profile: Profile, certificates: Sequence[CertificateFiles]) -> None:
        self._profile = profile
        self.listening = make_context(profile, certificates)
        self._current = self.listening
        # Called for every handshake, also when the client names no server.
        self.listening.sni_callback = self._move

    def replace(self, certificates: Sequence[CertificateFiles]) -> None:
        """Show these certificates from the next handshake on; open connections are not touched.

        Raises ConfigurationError for files that cannot be used; the ones in use stay.
        """
        self._current = make_context(self._profile, certificates)

    def _move(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, context: ssl.SSLContext) -> None:
        if self._current is not context:
            connection.context = self._current


def shrink_tls_buffers() -> None:
    """Let asyncio's TLS use 64 KiB instead of 256 KiB per connection (295 against 54 KiB of memory per idle agent).

    `max_size` is internal to asyncio; without it nothing is changed. uvloop has a buffer of its own.
    """
    protocol = getattr(asyncio.sslproto, "SSLProtocol", None)
    if getattr(protocol, "max_size", 0) > _ASYNCIO_BUFFER:
        protocol.max_size = _ASYNCIO_BUFFER  # type: ignore[union-attr]
