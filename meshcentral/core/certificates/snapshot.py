"""Everything that was read from the certificate folder at one moment, immutable."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from meshcentral.core.certificates.files import PUBLIC_MODE, read_file, replace_file
from meshcentral.core.certificates.identity import AgentServerIdentity
from meshcentral.core.certificates.issue import is_issued_by
from meshcentral.core.certificates.keys import hash_certificate, public_key_of
from meshcentral.core.certificates.model import WEB_PURPOSES, Purpose, ServerCertificate
from meshcentral.core.certificates.pairs import CertificateFolder, PairFiles, chain_to_pem, parse_chain
from meshcentral.plugins.errors import ConfigurationError
from meshcentral.plugins.web import CertificateHashes

log = logging.getLogger("meshcentral.certificates")


@dataclass(frozen=True, slots=True)
class LoadedPair:
    """A pair as it was read; the private key stays in memory for agent-server identities only."""

    purpose: Purpose
    files: PairFiles
    chain: tuple[x509.Certificate, ...]
    chain_file: Path
    """Holds exactly `chain`."""
    identity: AgentServerIdentity | None

    @classmethod
    def read(cls, folder: CertificateFolder, purpose: Purpose, files: PairFiles) -> LoadedPair:
        """Read and check one pair. Raises ConfigurationError."""
        pair = files.read()
        identity, chain, chain_file = None, pair.chain, files.certificate
        if purpose is Purpose.WEB and len(chain) == 1:
            chain, chain_file = _join_web_chain(folder, chain[0], files.certificate)
        if purpose is Purpose.AGENT_SERVER:
            if not isinstance(pair.key, rsa.RSAPrivateKey):
                raise ConfigurationError(
                    f"{files.certificate}: an agent-server certificate must have an RSA key; agents know no other kind",
                    hint="restore the certificate that the agents were installed with",
                )
            identity = AgentServerIdentity.from_pair(pair.certificate, pair.key)
        return cls(purpose, files, chain, chain_file, identity)


@dataclass(frozen=True, slots=True)
class Reading:
    """Outcome of reading the folder."""

    pairs: tuple[LoadedPair, ...]
    problems: tuple[str, ...]
    """Files that could not be used; the pair that was read from them before stands in."""


def read_folder(folder: CertificateFolder) -> tuple[LoadedPair, ...]:
    """Every pair in the folder. Raises ConfigurationError at the first bad one."""
    return tuple(LoadedPair.read(folder, purpose, files) for purpose, files in folder.all_files() if files.exist())


def reread_folder(folder: CertificateFolder, before: Sequence[LoadedPair]) -> Reading:
    """Every pair in the folder, with those of `before` in the place of bad and missing ones."""
    earlier = {pair.files: pair for pair in before}
    pairs: dict[PairFiles, LoadedPair] = {}
    problems: list[str] = []
    failed: set[Purpose] = set()
    for purpose, files in folder.all_files():
        try:
            if files.exist():
                pairs[files] = LoadedPair.read(folder, purpose, files)
                continue
            problem = f"{files.certificate}: certificate and key were removed" if files in earlier else None
        except ConfigurationError as error:
            problem = str(error)
        if problem is not None:
            problems.append(problem)
            failed.add(purpose)
            if files in earlier:
                pairs[files] = earlier[files]
    if failed & WEB_PURPOSES:  # the two are loaded into one TLS context: both change or none
        pairs = {files: pair for files, pair in pairs.items() if pair.purpose not in WEB_PURPOSES}
        pairs |= {pair.files: pair for pair in before if pair.purpose in WEB_PURPOSES}
    return Reading(tuple(pairs.values()), tuple(problems))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is in use. Readers take one reference to it, so they never see half a change."""

    pairs: tuple[LoadedPair, ...]
    certificates: tuple[ServerCertificate, ...]
    """In use, root first; several of purpose `agentserver` are possible."""
    ignored_twin: PairFiles | None
    """An ECDSA web certificate that does not go with the RSA one, and so is not served."""
    identities: tuple[AgentServerIdentity, ...]
    web_hashes: tuple[CertificateHashes, ...]

    @classmethod
    def of(cls, pairs: Sequence[LoadedPair]) -> Snapshot:
        """Decide what is used. There is at least one pair of each purpose other than `web-ecdsa`."""
        firsts = first_certificates(pairs)
        root = firsts[Purpose.ROOT]
        twin_fits = _twin_fits(firsts[Purpose.WEB], firsts.get(Purpose.WEB_ECDSA), root)
        certificates: list[ServerCertificate] = []
        identities: dict[bytes, AgentServerIdentity] = {}
        ignored_twin: PairFiles | None = None
        for pair in pairs:
            if pair.identity is not None:
                if pair.identity.key_hash in identities:  # a copy, left by an interrupted rotation
                    continue
                identities[pair.identity.key_hash] = pair.identity
            if pair.purpose is Purpose.WEB_ECDSA and not twin_fits:
                ignored_twin = pair.files
                continue
            certificates.append(_server_certificate(pair, root))
        web = tuple(certificate.hashes for certificate in certificates if certificate.purpose in WEB_PURPOSES)
        return cls(tuple(pairs), tuple(certificates), ignored_twin, tuple(identities.values()), web)

    def changed_since(self, before: Snapshot) -> list[Purpose]:
        """Purposes in use whose certificates, or their chains, are others than in `before`.

        Without its twin the web certificate counts as changed too: what is served differs.
        """
        mine, theirs = self._chains(), before._chains()
        changed = {purpose for purpose in Purpose if mine.get(purpose) != theirs.get(purpose)}
        if changed & WEB_PURPOSES - mine.keys():
            changed.add(Purpose.WEB)
        return [purpose for purpose in Purpose if purpose in changed and purpose in mine]

    def _chains(self) -> dict[Purpose, list[tuple[x509.Certificate, ...]]]:
        chains: dict[Purpose, list[tuple[x509.Certificate, ...]]] = {}
        for certificate in self.certificates:
            chains.setdefault(certificate.purpose, []).append(certificate.chain)
        return chains


def first_certificates(pairs: Iterable[LoadedPair]) -> Mapping[Purpose, x509.Certificate]:
    """The first leaf of each purpose."""
    firsts: dict[Purpose, x509.Certificate] = {}
    for pair in pairs:
        firsts.setdefault(pair.purpose, pair.chain[0])
    return firsts


def _join_web_chain(
    folder: CertificateFolder, leaf: x509.Certificate, own_file: Path
) -> tuple[tuple[x509.Certificate, ...], Path]:
    """The chain to serve and a file with it. Parts that do not follow `leaf` are left over from another certificate."""
    files = folder.web_chain_parts()
    parts = [certificate for file in files for certificate in parse_chain(read_file(file), file)]
    if not parts:
        return (leaf,), own_file
    if not is_issued_by(leaf, parts[0]):
        log.warning("%s: not sent, it did not issue the certificate in %s", files[0], own_file.name)
        return (leaf,), own_file
    chain = (leaf, *parts)
    served, content = folder.web_served_chain, chain_to_pem(chain)
    if not served.exists() or read_file(served) != content:
        replace_file(served, content, PUBLIC_MODE)
    return chain, served


def _twin_fits(web: x509.Certificate, twin: x509.Certificate | None, root: x509.Certificate) -> bool:
    """Both are ours or both the administrator's, and clients can be served by the kind of key they ask for."""
    if twin is None:
        return False
    web_is_rsa, twin_is_rsa = (isinstance(c.public_key(), rsa.RSAPublicKey) for c in (web, twin))
    return web_is_rsa and not twin_is_rsa and is_issued_by(web, root) == is_issued_by(twin, root)


def _server_certificate(pair: LoadedPair, root: x509.Certificate) -> ServerCertificate:
    leaf = pair.chain[0]
    key = public_key_of(leaf)
    assert key is not None, "checked when the chain was read"
    return ServerCertificate(
        purpose=pair.purpose,
        chain=pair.chain,
        chain_file=pair.chain_file,
        key_file=pair.files.key,
        hashes=hash_certificate(leaf, key),
        self_issued=is_issued_by(leaf, root),
    )
