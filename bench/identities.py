"""Agent identities by the thousand: RSA-2048 keys and certificates, cached outside the repository.

Real keys of this many agents would take minutes to make. Here each key is a pair out of a few dozen primes, so every
agent has a proper key of its own while the keys together hide nothing: they are for load only.
"""

from __future__ import annotations

import base64
import datetime
import json
import os
import secrets
from collections.abc import Sequence
from itertools import combinations, islice
from math import lcm
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from meshcentral_protocol.keys import AgentKey

EXPONENT = 65537
BITS = 2048
PRIMES = 72
MOST = PRIMES * (PRIMES - 1) // 2
"""How many identities there are."""


def cache_folder() -> Path:
    """Where things that are expensive to make are kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "mesh-bench"


def load(first: int, count: int) -> Sequence[AgentKey]:
    """Identities number `first` to `first + count - 1`; the same number is always the same agent."""
    primes, certificates = _cached()
    pairs = islice(combinations(primes, 2), first, first + count)
    identities = [
        AgentKey(_key(*pair), base64.b64decode(certificate))
        for pair, certificate in zip(pairs, certificates[first : first + count], strict=True)
    ]
    if len(identities) != count:
        raise ValueError(f"there are {MOST} identities, not {first + count}")
    return identities


def _cached() -> tuple[list[int], list[str]]:
    path = cache_folder() / f"identities-{BITS}-{PRIMES}.json"
    try:
        kept = json.loads(path.read_bytes())
    except FileNotFoundError:
        primes = _primes()
        kept = {
            "primes": [f"{prime:x}" for prime in primes],
            "certificates": [_certificate(_key(*pair)) for pair in combinations(primes, 2)],
        }
        _keep(path, json.dumps(kept).encode())
    return [int(prime, 16) for prime in kept["primes"]], kept["certificates"]


def _primes() -> list[int]:
    primes: set[int] = set()
    while len(primes) < PRIMES:
        numbers = rsa.generate_private_key(public_exponent=EXPONENT, key_size=BITS).private_numbers()
        primes |= {numbers.p, numbers.q}
    return sorted(primes)[:PRIMES]


def _key(p: int, q: int) -> rsa.RSAPrivateKey:
    d = pow(EXPONENT, -1, lcm(p - 1, q - 1))
    numbers = rsa.RSAPrivateNumbers(
        p=p,
        q=q,
        d=d,
        dmp1=rsa.rsa_crt_dmp1(d, p),
        dmq1=rsa.rsa_crt_dmq1(d, q),
        iqmp=rsa.rsa_crt_iqmp(p, q),
        public_numbers=rsa.RSAPublicNumbers(EXPONENT, p * q),
    )
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)


def _certificate(key: rsa.RSAPrivateKey) -> str:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "MeshNodeCertificate")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=10))
        .not_valid_after(now + datetime.timedelta(days=10_000))
        .sign(key, hashes.SHA384())
    )
    return base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()


def _keep(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    temporary.replace(path)
