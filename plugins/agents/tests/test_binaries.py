"""Importing agent programs: only what is recorded, from sources that may be hostile."""

import hashlib
import io
import json
import resource
import stat
import tarfile
from pathlib import Path

import pytest

from meshcentral.plugins import MeshError, NotFound, UsageError
from meshcentral_agents import binaries
from meshcentral_agents.binaries import MANIFEST, AgentBinaries, ImportReport, Progress
from meshcentral_protocol.agent_types import AGENT_TYPES

LINUX, WINDOWS = "meshagent_x86-64", "MeshService64.exe"
PROGRAMS = {LINUX: b"\x7fELF linux" * 1000, WINDOWS: b"MZ windows"}


def sha384(data: bytes) -> str:
    return hashlib.sha384(data).hexdigest()


@pytest.fixture(autouse=True)
def _recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = {"9.9.9": {name: sha384(data) for name, data in PROGRAMS.items()}}
    monkeypatch.setattr(binaries, "_recorded", lambda: hashes)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A peer's package folder."""
    folder = tmp_path / "package"
    (folder / "agents").mkdir(parents=True)
    for name, data in PROGRAMS.items():
        (folder / "agents" / name).write_bytes(data)
    (folder / "agents" / "meshcore.js").write_text("not an agent")
    (folder / "package.json").write_text('{"name": "meshcentral", "version": "9.9.9"}')
    listed = {"6": {"filename": LINUX, "hash": sha384(PROGRAMS[LINUX]).upper()}, "7": 5}
    (folder / "agents" / "hashagents.json").write_text(json.dumps(listed))
    return folder


@pytest.fixture
def store(tmp_path: Path) -> AgentBinaries:
    agents = AgentBinaries(tmp_path / "data" / "agents")
    agents.load()
    return agents


def quiet(done: int, total: int, label: str) -> None:
    assert 0 <= done <= total


def take(store: AgentBinaries, path: Path, *, unrecorded: bool = False, progress: Progress = quiet) -> ImportReport:
    return store.import_from(path, allow_unrecorded=unrecorded, progress=progress)


def test_an_import_that_was_killed_leaves_nothing(store: AgentBinaries, package: Path, tmp_path: Path) -> None:
    (tmp_path / "data" / "agents").mkdir(parents=True)
    (tmp_path / "data" / "agents" / ".import-abc").write_bytes(b"half")
    take(store, package)
    assert not (tmp_path / "data" / "agents" / ".import-abc").exists()


def test_an_import_that_was_killed_before_it_wrote_the_manifest(
    store: AgentBinaries, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (package / "agents" / LINUX).write_bytes(b"older")
    (package / "agents" / "hashagents.json").unlink()
    take(store, package, unrecorded=True)
    (package / "agents" / LINUX).write_bytes(PROGRAMS[LINUX])
    monkeypatch.setattr(AgentBinaries, "_write_manifest", lambda store, found: None)
    take(store, package)
    again = AgentBinaries(tmp_path / "data" / "agents")
    again.load()
    binary, path = again.find(6)
    assert path.read_bytes() == PROGRAMS[LINUX]
    assert (binary.sha384, binary.size, binary.version) == (sha384(PROGRAMS[LINUX]), len(PROGRAMS[LINUX]), "9.9.9")
    assert again.find(4)[0].sha384 == sha384(PROGRAMS[WINDOWS])


@pytest.mark.parametrize("from_tarball", [False, True])
def test_a_full_disk_is_one_clear_error_and_leaves_what_there_was(
    store: AgentBinaries, package: Path, tmp_path: Path, from_tarball: bool
) -> None:
    (package / "agents" / WINDOWS).write_bytes(b"x" * 100_000)
    (package / "agents" / "hashagents.json").unlink()
    source = package
    if from_tarball:
        source = tmp_path / "package.tgz"
        with tarfile.open(source, "w:gz") as archive:
            archive.add(package, "package")
    take(store, package)
    before = {path.name: path.read_bytes() for path in (tmp_path / "data" / "agents").iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(MeshError, match=r"cannot be written to .*: File too large"):
            take(store, source, unrecorded=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.name: path.read_bytes() for path in (tmp_path / "data" / "agents").iterdir()} == before
    assert WINDOWS in take(store, source, unrecorded=True).imported


def test_an_extended_header_is_not_read_into_memory_whatever_its_size(store: AgentBinaries, tmp_path: Path) -> None:
    for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
        info = tarfile.TarInfo("x")
        info.type, info.size = kind, 1 << 33
        (tmp_path / "bomb.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(5000))
        with pytest.raises(UsageError, match="extended header is too large"):
            take(store, tmp_path / "bomb.tar")


def test_a_package_is_imported_and_found_by_type(store: AgentBinaries, package: Path, tmp_path: Path) -> None:
    steps: list[tuple[int, int, str]] = []
    report = take(store, package, progress=lambda *step: steps.append(step))
    assert sorted(report.imported) == sorted(PROGRAMS)
    assert (report.version, report.unchanged, report.refused) == ("9.9.9", [], {})
    assert steps[-1][0] == steps[-1][1] == sum(map(len, PROGRAMS.values()))
    binary, path = store.find(6)
    assert path.read_bytes() == PROGRAMS[LINUX]
    assert (binary.sha384, binary.size, binary.version) == (sha384(PROGRAMS[LINUX]), len(PROGRAMS[LINUX]), "9.9.9")
    assert [row["id"] for row in store.describe()] == [4, 6]
    assert sorted(entry.name for entry in path.parent.iterdir()) == sorted([*PROGRAMS, MANIFEST])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("where", [".", "agents", ".."])
def test_the_folder_may_be_named_at_any_level(store: AgentBinaries, package: Path, where: str) -> None:
    assert len(take(store, package / where).imported) == 2


def test_importing_again_changes_nothing(store: AgentBinaries, package: Path, tmp_path: Path) -> None:
    take(store, package)
    again = AgentBinaries(tmp_path / "data" / "agents")
    again.load()
    assert len(again) == 2
    report = take(again, package)
    assert (report.imported, sorted(report.unchanged)) == ([], sorted(PROGRAMS))


def test_a_program_that_was_damaged_on_our_disk_is_replaced(store: AgentBinaries, package: Path) -> None:
    take(store, package)
    _, path = store.find(6)
    path.write_bytes(b"damaged")
    assert take(store, package).imported == [LINUX]
    assert path.read_bytes() == PROGRAMS[LINUX]


def test_a_program_that_contradicts_its_list_is_refused_even_with_permission(
    store: AgentBinaries, package: Path
) -> None:
    (package / "agents" / LINUX).write_bytes(b"tampered")
    report = take(store, package, unrecorded=True)
    assert report.imported == [WINDOWS]
    assert "hashagents.json" in report.refused[LINUX]
    with pytest.raises(NotFound):
        store.find(6)


def test_an_unrecorded_program_needs_permission(store: AgentBinaries, package: Path) -> None:
    (package / "agents" / WINDOWS).write_bytes(b"MZ altered")
    report = take(store, package)
    assert "recorded for version 9.9.9" in report.refused[WINDOWS]
    (package / "package.json").unlink()
    assert "--allow-unrecorded" in take(store, package).refused[WINDOWS]
    assert take(store, package, unrecorded=True).imported == [WINDOWS]
    assert store.find(4)[0].version == binaries.UNRECORDED


def test_links_in_a_folder_are_passed_over(store: AgentBinaries, package: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(PROGRAMS[LINUX])
    (package / "agents" / LINUX).unlink()
    (package / "agents" / LINUX).symlink_to(secret)
    assert take(store, package).imported == [WINDOWS]


def test_what_is_no_source_is_said_so(store: AgentBinaries, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        take(store, tmp_path / "absent")
    with pytest.raises(UsageError, match="no agent program"):
        take(store, tmp_path)
    for content in (b"", b"no tarball", b"\x1f\x8b\x08 broken gzip"):
        (tmp_path / "broken.tgz").write_bytes(content)
        with pytest.raises(UsageError, match="tarball"):
            take(store, tmp_path / "broken.tgz")


def tarball(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for info, data in members:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def test_a_tarball_is_imported(store: AgentBinaries, package: Path, tmp_path: Path) -> None:
    path = tmp_path / "meshcentral-9.9.9.tgz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(package, "package")
    report = take(store, path)
    assert (report.version, sorted(report.imported)) == ("9.9.9", sorted(PROGRAMS))
    assert store.find(6)[1].read_bytes() == PROGRAMS[LINUX]


def test_a_hostile_tarball_writes_nothing_outside(store: AgentBinaries, tmp_path: Path) -> None:
    good = PROGRAMS[LINUX]
    path = tarball(
        tmp_path / "evil.tgz",
        (member("../../agents/" + WINDOWS), PROGRAMS[WINDOWS]),
        (member("/agents/" + WINDOWS), PROGRAMS[WINDOWS]),
        (member("package/agents/../" + WINDOWS), PROGRAMS[WINDOWS]),
        (member("package/agents/" + WINDOWS, tarfile.SYMTYPE, "/etc/passwd"), b""),
        (member("package/agents/meshagent_x86", tarfile.LNKTYPE, "package/agents/" + LINUX), b""),
        (member("package/agents/meshagent_arm", tarfile.FIFOTYPE), b""),
        (member("package/agents/" + LINUX), good),
    )
    before = sorted(entry.name for entry in tmp_path.iterdir())
    report = take(store, path)
    assert set(report.imported) <= {LINUX, WINDOWS}
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted({*before, "data"})
    assert sorted(entry.name for entry in (tmp_path / "data" / "agents").iterdir()) == sorted(
        [*report.imported, MANIFEST]
    )


def test_sizes_are_bounded(
    store: AgentBinaries, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binaries, "MAX_BINARY", 100)
    report = take(store, package)
    assert (report.imported, list(report.refused)) == ([WINDOWS], [LINUX])
    assert sorted(entry.name for entry in (tmp_path / "data" / "agents").iterdir()) == sorted([WINDOWS, MANIFEST])
    monkeypatch.setattr("meshcentral_agents.binary_source.MAX_ARCHIVE", 10)
    path = tarball(tmp_path / "big.tgz", (member("package/agents/" + LINUX), b"x" * 11))
    with pytest.raises(MeshError, match="too large"):
        take(store, path)


def test_a_broken_manifest_is_one_clear_error(store: AgentBinaries, package: Path, tmp_path: Path) -> None:
    take(store, package)
    (tmp_path / "data" / "agents" / MANIFEST).write_text('{"binaries": [{"file": "../../x"}]}')
    with pytest.raises(MeshError, match=r"manifest\.json cannot be read"):
        AgentBinaries(tmp_path / "data" / "agents").load()


def test_the_manifest_cannot_point_elsewhere(tmp_path: Path) -> None:
    row = {"file": "../secret", "sha384": "0" * 96, "size": 1, "version": "1"}
    (tmp_path / MANIFEST).write_text(json.dumps({"binaries": [row]}))
    (tmp_path.parent / "secret").write_text("x")
    agents = AgentBinaries(tmp_path)
    agents.load()
    assert len(agents) == 0


def test_recorded_hashes_name_known_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    names = {agent_type.file for agent_type in AGENT_TYPES.values()}
    recorded = binaries._recorded()
    assert "1.1.55" in recorded
    for hashes in recorded.values():
        assert set(hashes) <= names
        assert all(len(bytes.fromhex(digest)) == 48 for digest in hashes.values())
