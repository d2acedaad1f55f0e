"""Certificate and key as a pair of files: names, reading, and writing that survives a crash at any point.

A pair is written as two `.pending` files which are then renamed, the key first. Whatever moment a crash picks,
`finish_pending` can tell from the pending certificate which key it belongs to, and completes or drops the change.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from meshcentral.core.certificates.files import (
    KEY_MODE,
    PUBLIC_MODE,
    Mark,
    is_there,
    list_names,
    mark,
    move,
    read_file,
    remove,
    repair_key_mode,
    sync_folder,
    write_synced,
)
from meshcentral.core.certificates.keys import PrivateKey, belongs_to, key_to_pem, parse_private_key, public_key_of
from meshcentral.core.certificates.model import Purpose
from meshcentral.plugins.errors import ConfigurationError

log = logging.getLogger("meshcentral.certificates")

_BASE_NAMES = {
    Purpose.ROOT: "root-cert",
    Purpose.WEB: "webserver-cert",
    Purpose.WEB_ECDSA: "webserver-ecdsa-cert",
    Purpose.MPS: "mpsserver-cert",
    Purpose.AGENT_SERVER: "agentserver-cert",
}
_NUMBERED = re.compile(r"agentserver-cert-(?:public-([1-9]\d{0,5})\.crt|private-([1-9]\d{0,5})\.key)")


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate chain, leaf first, and the private key of the leaf."""

    chain: tuple[x509.Certificate, ...]
    key: PrivateKey

    @property
    def certificate(self) -> x509.Certificate:
        """The leaf."""
        return self.chain[0]


@dataclass(frozen=True, slots=True)
class PairFiles:
    """Where one pair lives."""

    certificate: Path
    key: Path

    def exist(self) -> bool:
        """Both files exist. Raises ConfigurationError when only one does: making a new pair would destroy it."""
        certificate, key = is_there(self.certificate), is_there(self.key)
        if certificate != key:
            found, missing = (self.certificate, self.key) if certificate else (self.key, self.certificate)
            raise ConfigurationError(
                f"{missing}: the file is missing, but {found.name} is there; a new pair would replace it for good",
                hint=f"restore {missing.name} from a backup; only if it is lost, move {found.name} away to have "
                "both made anew: whatever trusts the old one (every agent, for agentserver) has to be set up again",
            )
        return certificate

    def read(self) -> Pair:
        """Read and check both files; loose modes of the key file are repaired. Raises ConfigurationError."""
        chain = parse_chain(read_file(self.certificate), self.certificate)
        repair_key_mode(self.key)
        key = parse_private_key(read_file(self.key), self.key)
        if not belongs_to(key, public_key_of(chain[0])):
            raise ConfigurationError(
                f"{self.key}: the private key does not belong to the first certificate in {self.certificate.name}",
                hint="put certificate and key from the same request into the two files; the server's own certificate "
                "comes first in its file, then the intermediate ones",
            )
        return Pair(chain, key)

    def write(self, pair: Pair) -> None:
        """Replace both files, the new pair or the old one surviving a crash. Raises ConfigurationError."""
        try:
            write_synced(_pending(self.key), key_to_pem(pair.key), KEY_MODE)
            write_synced(_pending(self.certificate), chain_to_pem(pair.chain), PUBLIC_MODE)
            sync_folder(self.key.parent)
        except ConfigurationError:
            self._drop_pending()
            raise
        move(_pending(self.key), self.key)
        move(_pending(self.certificate), self.certificate)
        sync_folder(self.key.parent)

    def finish_pending(self) -> None:
        """Complete or drop a `write` that was interrupted."""
        new_key, new_certificate = _pending(self.key), _pending(self.certificate)
        if not new_key.exists() and not new_certificate.exists():
            return
        if _matches(new_certificate, new_key):
            move(new_key, self.key)
            move(new_certificate, self.certificate)
            log.warning("%s: finished an interrupted change of certificate and key", self.certificate)
        elif _matches(new_certificate, self.key):
            move(new_certificate, self.certificate)
            remove(new_key)
            log.warning("%s: finished an interrupted change of certificate and key", self.certificate)
        else:
            self._drop_pending()
            log.warning("%s: dropped an interrupted change of certificate and key", self.certificate)
        sync_folder(self.key.parent)

    def _drop_pending(self) -> None:
        remove(_pending(self.key))
        remove(_pending(self.certificate))


@dataclass(frozen=True, slots=True)
class CertificateFolder:
    """The certificate files in the data folder, under the peer's names where it has them."""

    path: Path

    def files(self, purpose: Purpose) -> PairFiles:
        """The pair for `purpose`; for the agent server the first of its pairs."""
        base = _BASE_NAMES[purpose]
        return PairFiles(self.path / f"{base}-public.crt", self.path / f"{base}-private.key")

    def additional_agent_server(self, number: int) -> PairFiles:
        """The pair of a further agent-server identity, counted from 1."""
        base = _BASE_NAMES[Purpose.AGENT_SERVER]
        return PairFiles(self.path / f"{base}-public-{number}.crt", self.path / f"{base}-private-{number}.key")

    def additional_numbers(self) -> list[int]:
        """Numbers of which at least one file of the pair exists, ascending."""
        found = (_NUMBERED.fullmatch(name.removesuffix(".pending")) for name in list_names(self.path))
        return sorted({int(match[1] or match[2]) for match in found if match})

    def all_files(self) -> list[tuple[Purpose, PairFiles]]:
        """Every pair that exists or could, additional agent-server pairs last."""
        numbered = [(Purpose.AGENT_SERVER, self.additional_agent_server(n)) for n in self.additional_numbers()]
        return [(purpose, self.files(purpose)) for purpose in Purpose] + numbered

    def marks(self) -> dict[Path, Mark | None]:
        """What to compare in order to notice changed files: a dozen `stat` calls."""
        pairs = (files for _, files in self.all_files())
        paths = [path for pair in pairs for path in (pair.certificate, pair.key)]
        return {path: mark(path) for path in (*paths, *self.web_chain_parts())}

    def web_chain_parts(self) -> list[Path]:
        """Intermediate certificates of the web certificate, which the peer keeps in files of their own."""
        parts: list[Path] = []
        while (part := self.path / f"webserver-cert-chain{len(parts) + 1}.crt").exists():
            parts.append(part)
        return parts

    @property
    def web_served_chain(self) -> Path:
        """Where the web certificate and those intermediate ones are joined for the TLS library."""
        return self.path / "webserver-cert-served.crt"

    @property
    def previous_web(self) -> Path:
        """Hashes of web certificates that were served until recently."""
        return self.path / "webserver-previous.json"


def parse_chain(pem: bytes, file: Path) -> tuple[x509.Certificate, ...]:
    """All certificates of a PEM file, leaf first. Raises ConfigurationError naming `file`."""
    try:
        chain = tuple(x509.load_pem_x509_certificates(pem))
    except ValueError:
        chain = ()
    if not chain:
        raise ConfigurationError(
            f"{file}: there is no readable PEM certificate in this file",
            hint="it must hold the certificate, then any intermediate ones, each between "
            "-----BEGIN CERTIFICATE----- and -----END CERTIFICATE-----",
        )
    if public_key_of(chain[0]) is None:
        raise ConfigurationError(
            f"{file}: the certificate's key must be RSA or elliptic-curve (ECDSA)",
            hint="replace certificate and key: browsers and agents cannot use other kinds of key",
        )
    return chain


def chain_to_pem(chain: Iterable[x509.Certificate]) -> bytes:
    """PEM, one certificate after the other."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain)


def _pending(path: Path) -> Path:
    return path.with_name(path.name + ".pending")


def _matches(certificate: Path, key: Path) -> bool:
    """Both files are readable and belong together."""
    if not certificate.exists() or not key.exists():
        return False
    try:
        chain = parse_chain(read_file(certificate), certificate)
        return belongs_to(parse_private_key(read_file(key), key), public_key_of(chain[0]))
    except ConfigurationError:
        return False
