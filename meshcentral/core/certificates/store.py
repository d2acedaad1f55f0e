"""The certificate store: what the rest of the server asks, and how certificates change while it runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from meshcentral.core.certificates.files import Mark
from meshcentral.core.certificates.identity import AgentServerIdentity
from meshcentral.core.certificates.issue import CertificateSettings
from meshcentral.core.certificates.model import WEB_PURPOSES, CertificateDescription, Purpose, ServerCertificate
from meshcentral.core.certificates.names import covers
from meshcentral.core.certificates.pairs import CertificateFolder
from meshcentral.core.certificates.previous import OVERLAP, read_previous, retire, write_previous
from meshcentral.core.certificates.provision import add_agent_server, issue_pairs, names_for
from meshcentral.core.certificates.renewal import Renewal, decide_renewal, plan_issues
from meshcentral.core.certificates.snapshot import (
    LoadedPair,
    Snapshot,
    first_certificates,
    read_folder,
    reread_folder,
)
from meshcentral.plugins.errors import ConfigurationError, Conflict, NotFound, UsageError
from meshcentral.plugins.server import Clock
from meshcentral.plugins.web import CertificateHashes

if TYPE_CHECKING:
    from meshcentral.core.paths import DataPaths

log = logging.getLogger("meshcentral.certificates")

RENEWAL_RETRY = timedelta(hours=1)


class CertificateStore:
    """The certificates of one data folder; implements `plugins.server.Certificates`.

    Reading never blocks and is safe from any thread. `load`, `reload`, `renew` and `rotate` block (files, making
    keys): run them in a thread. The caller holds the lock of the data folder.
    """

    def __init__(
        self,
        folder: CertificateFolder,
        settings: CertificateSettings,
        clock: Clock,
        marks: Mapping[Path, Mark | None],
        pairs: Sequence[LoadedPair],
    ) -> None:
        """`load` is the way to make one; `pairs` were read from `folder` after `marks` were taken."""
        self._folder = folder
        self._settings = settings
        self._clock = clock
        self._lock = threading.RLock()
        self._warned: dict[bytes, datetime] = {}
        self._problems: tuple[str, ...] = ()
        self._retry_renewal: datetime | None = None
        self._marks = marks
        self._previous = read_previous(folder.previous_web)
        self._snapshot = Snapshot.of(pairs)

    @classmethod
    def load(cls, paths: DataPaths, settings: CertificateSettings, clock: Clock) -> CertificateStore:
        """Read the folder's certificates, making what is missing; first start takes a second or two. Blocks.

        Raises ConfigurationError naming the file, what is wrong with it and the remedy.
        """
        folder = CertificateFolder(paths.certificates)
        for _, files in folder.all_files():
            files.finish_pending()
        marks, pairs = folder.marks(), read_folder(folder)
        if _issue_planned(folder, pairs, settings, clock.now()):
            marks, pairs = folder.marks(), read_folder(folder)
        store = cls(folder, settings, clock, marks, pairs)
        store._warn_of_configuration()
        store._warn_of_endings(clock.now())
        return store

    @property
    def root(self) -> ServerCertificate:
        """The root that issued our other certificates."""
        return self.of(Purpose.ROOT)

    @property
    def web(self) -> ServerCertificate:
        """The web certificate, with an RSA key unless an administrator chose otherwise."""
        return self.of(Purpose.WEB)

    @property
    def web_ecdsa(self) -> ServerCertificate | None:
        """The ECDSA certificate served beside `web`, None when that is served alone."""
        certificates = self._snapshot.certificates
        return next((each for each in certificates if each.purpose is Purpose.WEB_ECDSA), None)

    @property
    def mps(self) -> ServerCertificate:
        """The certificate shown to Intel AMT devices."""
        return self.of(Purpose.MPS)

    @property
    def agent_servers(self) -> tuple[AgentServerIdentity, ...]:
        """The identities that agents may have been installed with, the one for new agents first."""
        return self._snapshot.identities

    @property
    def agent_server_hash(self) -> bytes:
        """Key hash (48 bytes) of the first identity: the ServerID of new `.msh` files."""
        return self.agent_servers[0].key_hash

    @property
    def web_hashes(self) -> Sequence[CertificateHashes]:
        """Every web certificate that clients may have been shown: those served now, then recent ones, newest first."""
        now = self._clock.now()
        return (*self._snapshot.web_hashes, *(entry.hashes for entry in self._previous if entry.until > now))

    def of(self, purpose: str) -> ServerCertificate:
        """The certificate in use for `purpose`; of several agent-server ones the first. Raises NotFound."""
        certificate = next((each for each in self._snapshot.certificates if each.purpose == purpose), None)
        if certificate is None:
            raise NotFound(f"there is no certificate in use for {purpose[:40]!r}", hint="`mesh cert list` shows all")
        return certificate

    @property
    def problems(self) -> tuple[str, ...]:
        """Files that the last `reload` could not use; the certificates read from them before are still in use."""
        return self._problems

    def recognise(self, web_hash: bytes) -> CertificateHashes | None:
        """The served or recently served web certificate with this full or key hash (48 bytes)."""
        return next((hashes for hashes in self.web_hashes if web_hash in (hashes.full, hashes.key)), None)

    def identity_for(self, server_id: bytes | None) -> AgentServerIdentity | None:
        """The identity that an agent expects (48 bytes, or 32 of an old agent); the first for None."""
        if server_id is None:
            return self.agent_servers[0]
        return next((identity for identity in self.agent_servers if identity.answers_to(server_id)), None)

    def web_files(self) -> list[tuple[Path, Path]]:
        """(chain file, key file) of each web certificate, to be loaded into one TLS context in this order."""
        return [
            (certificate.chain_file, certificate.key_file)
            for certificate in self._snapshot.certificates
            if certificate.purpose in WEB_PURPOSES
        ]

    def describe(self) -> list[CertificateDescription]:
        """One row per certificate in use, for people and scripts."""
        now = self._clock.now()
        return [certificate.describe(now) for certificate in self._snapshot.certificates]

    def changed_files(self) -> list[Path]:
        """Files that were changed, added or removed since the last reading: cheap enough to ask every few seconds."""
        marks, known = self._folder.marks(), self._marks
        return sorted(path for path in marks.keys() | known.keys() if marks.get(path) != known.get(path))

    def reload(self) -> list[Purpose]:
        """Take changed files into use and return the purposes whose certificates changed. Blocks.

        Files that cannot be used are logged and listed in `problems`; what was read from them before stays in use.
        """
        with self._lock:
            if not self.changed_files():
                return []
            return self._take_in(OVERLAP)

    def renew(self) -> list[Purpose]:
        """Replace our own certificates that end soon, warn of others, and return the replaced purposes. Blocks.

        Costs next to nothing when nothing is due. A failure (a full disk) is logged and tried again after an hour:
        there are months left.
        """
        with self._lock:
            now = self._clock.now()
            self._warn_of_endings(now)
            if self._retry_renewal is not None and now < self._retry_renewal:
                return []
            if self._unread_files():
                return []
            self._retry_renewal = None
            try:
                if not _issue_planned(self._folder, self._snapshot.pairs, self._settings, now):
                    return []
            except ConfigurationError as error:
                log.error("certificates cannot be renewed: %s", error)
                self._retry_renewal = now + RENEWAL_RETRY
            return self._take_in(OVERLAP)

    def refresh(self) -> list[Purpose]:
        """`reload` and `renew`, as a running server does every few seconds; the purposes whose certificates changed."""
        return list(dict.fromkeys([*self.reload(), *self.renew()]))

    def rotate(self, purpose: str, *, overlap: timedelta = OVERLAP) -> ServerCertificate:
        """Replace `web` (with its ECDSA twin) or `mps`, or put a new identity before those of `agentserver`. Blocks.

        Keys are new, names stay. The old web certificates are recognised for `overlap` more, and agents with an old
        agent-server identity go on being served; give no overlap when a key became known to others. Raises UsageError
        for other purposes, Conflict for a certificate that our root did not issue, ConfigurationError when files
        cannot be read or written, or were changed by somebody else and not taken into use.
        """
        with self._lock:
            now = self._clock.now()
            if unread := self._unread_files():
                raise ConfigurationError(
                    f"{unread} (rotating could destroy what is in a file that is not in use)",
                    hint="try again in a few seconds; if that does not help, repair the file first",
                )
            match purpose:
                case Purpose.WEB | Purpose.MPS:
                    self._issue_again(Purpose(purpose), now)
                case Purpose.AGENT_SERVER:
                    add_agent_server(self._folder, self._settings, now)
                case _:
                    raise UsageError(
                        f"purpose: {purpose[:40]!r} cannot be rotated",
                        hint="name one of web, mps, agentserver; a new root would cut off Intel AMT devices",
                    )
            self._take_in(overlap)
            return self.of(purpose)

    def _unread_files(self) -> str | None:
        """What an administrator may have put into the folder without the store using it: it must not be replaced."""
        if self._problems:
            return self._problems[0]
        return next((f"{path}: the file was changed a moment ago" for path in self.changed_files()), None)

    def _issue_again(self, purpose: Purpose, now: datetime) -> None:
        current = self.of(purpose)
        if not current.self_issued:
            raise Conflict(
                f"{current.chain_file}: not issued by this server's root, so the server does not replace it",
                hint="put the new certificate and key into its files, or remove both and restart to have one issued",
            )
        wanted = {purpose: names_for(purpose, current.certificate, self._settings)}
        if purpose is Purpose.WEB and self._snapshot.ignored_twin is None:
            wanted[Purpose.WEB_ECDSA] = wanted[purpose]
        issue_pairs(self._folder, wanted, self._settings, now)
        log.info("issued a new %s certificate for %s", purpose.value, ", ".join(wanted[purpose]))

    def _take_in(self, overlap: timedelta) -> list[Purpose]:
        """Read the folder again and put what it holds into use."""
        marks = self._folder.marks()
        before = self._snapshot
        reading = reread_folder(self._folder, before.pairs)
        for problem in reading.problems:
            log.error("%s (the certificate read before stays in use)", problem)
        after = Snapshot.of(reading.pairs)
        changed = after.changed_since(before)
        self._marks, self._problems = marks, reading.problems
        if WEB_PURPOSES & set(changed):
            self._previous = retire(self._previous, before.web_hashes, after.web_hashes, self._clock.now(), overlap)
        self._snapshot = after
        if WEB_PURPOSES & set(changed):
            self._save_previous()
        if changed:
            log.info("certificates taken into use: %s", ", ".join(changed))
            self._warn_of_configuration()
        return changed

    def _save_previous(self) -> None:
        """Only a restart within the overlap needs the file: a failure must not hide that certificates changed."""
        try:
            write_previous(self._folder.previous_web, self._previous)
        except ConfigurationError as error:
            log.error("recently served web certificates are not saved: %s", error)

    def _warn_of_configuration(self) -> None:
        """Say what will not work with the certificates that we may not change."""
        if (ignored := self._snapshot.ignored_twin) is not None:
            log.warning("%s: not served, it does not go with %s", ignored.certificate, self.web.chain_file.name)
        for certificate in (self.web, self.mps):
            (name,) = self._settings.names(certificate.purpose)
            if not covers(certificate.names, name):
                log.warning(
                    "%s: the certificate is for %s, but the configured name is %s",
                    certificate.chain_file,
                    ", ".join(certificate.names) or "no name",
                    name,
                )

    def _warn_of_endings(self, now: datetime) -> None:
        """Once a day, name certificates that end soon and that we do not renew. Agents ignore the dates of theirs."""
        for certificate in self._snapshot.certificates:
            if certificate.purpose is Purpose.AGENT_SERVER:
                continue
            begin, end = certificate.not_before, certificate.not_after
            if decide_renewal(begin, end, now, managed=certificate.managed) is not Renewal.WARN:
                continue
            last = self._warned.get(certificate.hashes.full)
            if last is None or now - last >= timedelta(days=1):
                self._warned[certificate.hashes.full] = now
                verb = "ends" if end > now else "ended"
                log.warning("%s: the certificate %s on %s; replace it", certificate.chain_file, verb, f"{end:%Y-%m-%d}")


def _issue_planned(
    folder: CertificateFolder, pairs: Sequence[LoadedPair], settings: CertificateSettings, now: datetime
) -> bool:
    """Issue what the plan says for these pairs; False when there is nothing to do."""
    current = first_certificates(pairs)
    reasons = plan_issues(current, settings, now)
    for purpose, reason in reasons.items():
        log.info("issuing the %s certificate: %s", purpose.value, reason)
    if Purpose.AGENT_SERVER in reasons and Purpose.ROOT in current:
        log.warning(
            "a new agent-server certificate is made in a folder that is not new: agents that were installed "
            "with an earlier one cannot connect until its files are restored"
        )
    if reasons:
        wanted = {purpose: names_for(purpose, current.get(purpose), settings) for purpose in reasons}
        issue_pairs(folder, wanted, settings, now)
    return bool(reasons)
