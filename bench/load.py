"""Drives a generator process (`bench.generator`)."""

from __future__ import annotations

import json
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from bench.errors import BenchError
from bench.processes import Tree
from bench.subjects import PASSWORD, USER, Running

ORDER_SECONDS = 180.0

Certificates = Literal["any", "rsa"]

_REPOSITORY = Path(__file__).resolve().parent.parent
_RSA_ONLY = """\
openssl_conf = configuration
[configuration]
ssl_conf = tls
[tls]
system_default = client
[client]
SignatureAlgorithms = RSA-PSS+SHA256:RSA-PSS+SHA384:RSA-PSS+SHA512:RSA+SHA256:RSA+SHA384:RSA+SHA512
"""
"""An OpenSSL configuration of a client that can verify no ECDSA signature, whatever version of TLS is spoken."""


class Generator:
    """A generator for one server. `certificates` "rsa": its TLS client takes RSA certificates only."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def order(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        """Give an order and wait for its result. Raises BenchError with the generator's reason when it fails."""
        self._tree.stdin.write(json.dumps({"order": name, **arguments}).encode() + b"\n")
        self._tree.stdin.flush()
        ready, _, _ = select.select([self._tree.stdout], [], [], ORDER_SECONDS)
        line = self._tree.stdout.readline() if ready else b""
        if not line:
            raise BenchError(f"the generator did not finish `{name}`: {self._tree.last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise BenchError(f"{name}: {answer['error']}")
        return answer


@contextmanager
def generator(running: Running, folder: Path, certificates: Certificates = "any") -> Iterator[Generator]:
    """A generator process that ends with the block; `folder` takes its files."""
    environment = {}
    if certificates == "rsa":
        configuration = folder / "rsa-only.cnf"
        configuration.write_text(_RSA_ONLY)
        environment["OPENSSL_CONF"] = str(configuration)
    what = {
        "port": running.port,
        "user": USER,
        "password": PASSWORD,
        "server_id": running.server_id,
        "group": running.group,
    }
    tree = Tree(
        [sys.executable, "-m", "bench.generator", json.dumps(what)],
        log=folder / "generator.log",
        folder=_REPOSITORY,
        environment=environment,
        pipes=True,
    )
    try:
        yield Generator(tree)
    finally:
        tree.stop()
