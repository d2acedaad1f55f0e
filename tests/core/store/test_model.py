"""Random interleavings of changes and telemetry against a model, with a restart at the end."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshcentral.core.clock import SystemClock
from meshcentral.core.store import DocumentStore
from meshcentral.plugins.documents import Device
from meshcentral.plugins.errors import NotFound
from meshcentral.plugins.store import AuditEntry

IDS = st.sampled_from(["node//1", "node//2", "node//3"])
STEPS = st.one_of(
    st.tuples(st.just("put"), IDS, st.integers(0, 99)),
    st.tuples(st.just("update"), IDS, st.integers(0, 99)),
    st.tuples(st.just("delete"), IDS, st.just(0)),
    st.tuples(st.just("note"), IDS, st.integers(0, 99)),
    st.tuples(st.just("note_deleted"), IDS, st.just(0)),
    st.tuples(st.just("yield"), st.just(""), st.integers(0, 3)),
    st.tuples(st.just("flush"), st.just(""), st.just(0)),
)


async def administer(store: DocumentStore, action: str, device_id: str, value: int) -> bool:
    """One change of the administrator's field; True when it was acknowledged."""
    new = Device(id=device_id, group_id="mesh//a", name="PC", description=str(value))
    try:
        async with store.change(AuditEntry("local", action)) as change:
            match action:
                case "put":
                    change.put(new)
                case "update":
                    change.update(new, description=str(value))
                case "delete":
                    change.delete(new)
    except NotFound:
        return False
    return True


def report(store: DocumentStore, action: str, device_id: str, value: int) -> None:
    """One piece of telemetry, made from the document as it is now."""
    current = store.devices.get(device_id) or Device(id=device_id, group_id="mesh//a", name="PC")
    if action == "note":
        store.note(current.with_(last_boot=value))
    else:
        store.note_deleted(current)


def contents(store: DocumentStore) -> dict[str, Any]:
    return {device.id: device.to_stored() for device in store.devices}


async def concurrently(path: Path, steps: Sequence[tuple[str, str, int]]) -> None:
    """Changes run beside telemetry; whatever the order, the disk ends as memory does."""
    store = await DocumentStore.open(path, clock=SystemClock())
    pending: list[asyncio.Task[bool]] = []
    for action, device_id, value in steps:
        if action == "yield":
            for _ in range(value):
                await asyncio.sleep(0)
        elif action == "flush":
            await store.flush()
        elif action.startswith("note"):
            report(store, action, device_id, value)
        else:
            pending.append(asyncio.get_running_loop().create_task(administer(store, action, device_id, value)))
    acknowledged = sum(await asyncio.gather(*pending))
    expected = contents(store)
    await store.close()
    store = await DocumentStore.open(path, clock=SystemClock())
    assert contents(store) == expected
    audit = await store.verify_audit()
    assert (audit.rows, audit.broken_at) == (acknowledged, None)
    await store.close()


async def one_after_another(path: Path, steps: Sequence[tuple[str, str, int]]) -> None:
    """Without concurrency the store is a dictionary."""
    store = await DocumentStore.open(path, clock=SystemClock())
    model: dict[str, dict[str, Any]] = {}
    for action, device_id, value in steps:
        match action:
            case "put":
                await administer(store, action, device_id, value)
                model[device_id] = {"desc": str(value)}
            case "update":
                assert await administer(store, action, device_id, value) == (device_id in model)
                if device_id in model:
                    model[device_id]["desc"] = str(value)
            case "delete":
                await administer(store, action, device_id, value)
                model.pop(device_id, None)
            case "note":
                report(store, action, device_id, value)
                model.setdefault(device_id, {})["lastbootuptime"] = value
            case "note_deleted":
                report(store, action, device_id, value)
                model.pop(device_id, None)
    await store.close()
    store = await DocumentStore.open(path, clock=SystemClock())
    found = {
        device_id: {name: body[name] for name in ("desc", "lastbootuptime") if name in body}
        for device_id, body in contents(store).items()
    }
    assert found == model
    await store.close()


SETTINGS = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(st.lists(STEPS, max_size=25))
@SETTINGS
def test_memory_and_disk_agree_in_any_interleaving(steps: list[tuple[str, str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(concurrently(Path(folder) / "mesh.sqlite3", steps))


@given(st.lists(STEPS, max_size=25))
@SETTINGS
def test_the_store_is_a_dictionary(steps: list[tuple[str, str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(one_after_another(Path(folder) / "mesh.sqlite3", steps))
