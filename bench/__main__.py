"""`python -m bench`: measure this build beside the peer, round by round, and print what came out."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import identities
from bench.errors import BenchError
from bench.load import generator
from bench.processes import allow_many_sockets, keep_byte_code, last_words
from bench.report import document, table
from bench.run import SETTLE, Run
from bench.scenarios import control, hold, memory, micro, start, storm
from bench.subjects import OurServer, Peer, Subject, peer_package

SCENARIOS: dict[str, Callable[[Run], None]] = {
    module.NAME: module.measure for module in (storm, memory, hold, start, control, micro)
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code is 1 when something could not be measured; missed targets are reported, not punished."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    allow_many_sockets()
    keep_byte_code(identities.cache_folder() / "byte-code")
    chosen = options.scenario or list(SCENARIOS)
    rounds = options.rounds or (1 if options.quick else 3)
    code = 0
    with tempfile.TemporaryDirectory(prefix="mesh-bench-") as temporary:
        folder = Path(temporary)
        run = Run(_subjects(folder, options.without_peer), rounds, options.quick, folder)
        try:
            if set(chosen) - {micro.NAME}:
                _prepare(run)
            for name in chosen:
                SCENARIOS[name](run)
        except BenchError as error:
            print(f"bench: {error}", file=sys.stderr)
            for subject in run.subjects:
                print(f"--- {subject.side} said last:\n{last_words(subject.log)}", file=sys.stderr)
            code = 1
        except KeyboardInterrupt:
            print("bench: stopped; what was measured so far:", file=sys.stderr)
            code = 130
    measurements = run.ledger.measurements()
    if options.json:
        print(json.dumps(document(measurements, rounds), indent=1))
    else:
        print(table(measurements))
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Benchmarks of this build beside the peer. Judge ratios, not figures."
    )
    parser.add_argument("--scenario", action="append", choices=list(SCENARIOS), help="only this one; may be repeated")
    parser.add_argument("--rounds", type=_rounds, help="rounds of ours and the peer in turn (3; 1 with --quick)")
    parser.add_argument("--quick", action="store_true", help="fewer agents, one round: does everything work?")
    parser.add_argument("--without-peer", action="store_true", help="measure this build only")
    parser.add_argument("--json", action="store_true", help="print one JSON document with all figures")
    return parser


def _rounds(text: str) -> int:
    """More rounds than these would run out of identities."""
    rounds = int(text)
    if not 1 <= rounds <= 12:
        raise argparse.ArgumentTypeError("1 to 12 rounds")
    return rounds


def _subjects(folder: Path, without_peer: bool) -> list[Subject]:
    def place(name: str) -> Path:
        (folder / name).mkdir()
        return folder / name

    subjects: list[Subject] = [OurServer(place("ours"))]
    if without_peer:
        return subjects
    package = peer_package()
    if package is None:
        print("bench: no peer (node and MESH_PEER_DIR, see `make peer`): only this build is measured", file=sys.stderr)
    else:
        subjects.append(Peer(place("peer"), package))
    return subjects


def _prepare(run: Run) -> None:
    """Give every server its data folder with an account and a device group."""
    for subject in run.subjects:
        run.progress(f"preparing {subject.side}")
        with subject.prepared() as running, generator(running, run.folder) as load:
            subject.group = load.order("create_group", name="bench")["id"]
            time.sleep(SETTLE)  # the peer writes after it has answered, and an ended process writes no more


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
