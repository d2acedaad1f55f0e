"""Run by test_crash: forks a writer again and again and kills it at a random moment.

Usage: crash_writer.py DATABASE ROUNDS SEED. Prints one id per acknowledged change, nothing else.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from pathlib import Path

from meshcentral.core.clock import SystemClock
from meshcentral.core.store import DocumentStore
from meshcentral.plugins.documents import Device, DeviceGroup
from meshcentral.plugins.store import AuditEntry


async def write(database: Path, pipe: int, round_number: int) -> None:
    """Make changes for ever; report each one after its block has ended. Telemetry goes on beside it."""
    store = await DocumentStore.open(database, clock=SystemClock())
    number = 0
    while True:
        number += 1
        group = DeviceGroup(id=f"mesh//{round_number}-{number}", name="A")
        device = Device(id=f"node//{number % 50}", group_id=group.id, name=f"{round_number}-{number}")
        store.note(device)
        store.record_event({"action": "a", "number": number}, ["*", device.id])
        async with store.change(AuditEntry("local", "createmesh", group.id)) as change:
            change.put(group)
            change.update(device, description=group.id)
        os.write(pipe, f"{group.id}\n".encode())


def main() -> None:
    database, rounds, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    moments = random.Random(seed)  # noqa: S311
    for round_number in range(rounds):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            asyncio.run(write(database, writer, round_number))
        os.close(writer)
        with os.fdopen(reader) as lines:
            sys.stdout.write(lines.readline())
            time.sleep(moments.uniform(0, 0.1))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            # What it wrote into the pipe before it died was acknowledged.
            sys.stdout.write(lines.read())
    sys.stdout.flush()


if __name__ == "__main__":
    main()
