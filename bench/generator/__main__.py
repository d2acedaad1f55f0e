"""Reads orders as JSON lines from stdin, carries them out, answers with one JSON line each. Ends with stdin."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import uvloop

from bench import identities
from bench.errors import BenchError
from bench.figures import Samples
from bench.generator.agents import Fleet
from bench.generator.client import any_certificate
from bench.generator.control import ControlDesk
from meshcentral_protocol.identifiers import raw_group_id
from meshcentral_protocol.keys import AgentKey

Order = Callable[..., Awaitable[Mapping[str, Any]]]


class Generator:
    """The orders. Each is a method whose arguments and result are JSON."""

    def __init__(self, *, port: int, user: str, password: str, server_id: str = "", group: str = "") -> None:
        context = any_certificate()
        self._desk = ControlDesk(port, user, password, context)
        self._fleet = Fleet(port, bytes.fromhex(server_id), raw_group_id(group) if group else b"", context)
        self._identities: dict[int, AgentKey] = {}

    async def load(self, first: int, count: int) -> Mapping[str, Any]:
        """Make identities ready, so that a storm does not wait for them."""
        self._identities.update(zip(range(first, first + count), identities.load(first, count), strict=True))
        return {}

    async def storm(self, first: int, count: int, in_flight: int, fast: bool) -> Mapping[str, Any]:
        chosen = [(number, self._identities[number]) for number in range(first, first + count)]
        begin, cpu = time.perf_counter(), time.process_time()
        latencies = await self._fleet.storm(chosen, in_flight, fast=fast)
        return {
            "seconds": time.perf_counter() - begin,
            "generator_cpu": time.process_time() - cpu,
            **_latencies(latencies),
        }

    async def ping(self) -> Mapping[str, Any]:
        return {"answered": await self._fleet.ping()}

    async def alive(self) -> Mapping[str, Any]:
        return {"alive": self._fleet.alive}

    async def drop(self) -> Mapping[str, Any]:
        await self._fleet.drop()
        return {}

    async def create_group(self, name: str) -> Mapping[str, Any]:
        return {"id": await self._desk.create_group(name)}

    async def logins(self, count: int, in_flight: int) -> Mapping[str, Any]:
        begin = time.perf_counter()
        latencies = await self._desk.logins(count, in_flight)
        return {"seconds": time.perf_counter() - begin, **_latencies(latencies)}

    async def nodes(self, repeat: int) -> Mapping[str, Any]:
        latencies, size, devices, connected = await self._desk.nodes(repeat)
        return {"bytes": size, "devices": devices, "connected": connected, **_latencies(latencies)}


def _latencies(samples: Samples) -> dict[str, float]:
    return {"p50": samples.median, "max": samples.greatest}


async def serve(generator: Generator) -> None:
    """One order after the other; agents live on in between."""
    orders: dict[str, Order] = {
        order.__name__: order
        for order in (
            *(generator.load, generator.storm, generator.ping, generator.alive, generator.drop),
            *(generator.create_group, generator.logins, generator.nodes),
        )
    }
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        request = json.loads(line)
        answer: Mapping[str, Any]
        try:
            answer = await orders[request.pop("order")](**request)
        except* (BenchError, OSError, TimeoutError) as errors:
            answer = {"error": "; ".join(_texts(errors))}
        print(json.dumps(answer), flush=True)


def _texts(errors: BaseExceptionGroup[BaseException]) -> list[str]:
    """The first few different texts inside nested groups."""
    texts: dict[str, None] = {}
    for error in errors.exceptions:
        inner = _texts(error) if isinstance(error, BaseExceptionGroup) else [str(error) or type(error).__name__]
        texts.update(dict.fromkeys(inner))
    return list(texts)[:3]


if __name__ == "__main__":
    uvloop.run(serve(Generator(**json.loads(sys.argv[1]))))
