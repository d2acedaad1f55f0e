"""The hot operations of this build, one by one, inside this process."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, cast

from bench import identities
from bench.run import Notes, Run
from meshcentral.core.bus import EventBus
from meshcentral.core.store.documents import DocumentCollection
from meshcentral.core.websocket.codec import BINARY, CutThroughDecoder, FrameDecoder, MessageDecoder
from meshcentral.core.websocket.mask import apply_mask
from meshcentral.plugins.documents import Device, DeviceAgent
from meshcentral.plugins.events import NodeConnectivityChanged, Redaction, SessionControl
from meshcentral.plugins.server import Server
from meshcentral_control.accounts.passwords import SCHEMES
from meshcentral_control.devices.inventory import Inventory
from meshcentral_protocol.handshake import AgentHandshake, Send, ServerHandshake, Sign
from meshcentral_protocol.handshake_messages import AuthInfo
from meshcentral_protocol.keys import AgentKey

NAME = "micro"
SECONDS = 0.4
QUICK_SECONDS = 0.05
KIB = 1024
DEVICES = 10_000
SUBSCRIBERS = 100
PASSWORD = "correct horse battery staple"  # noqa: S105 - it protects nothing


def measure(run: Run) -> None:
    """Only ours: the peer has no such parts to call."""
    seconds = QUICK_SECONDS if run.quick else SECONDS
    for number in range(run.rounds):
        run.progress(f"{NAME}: round {number + 1} of {run.rounds}")
        notes = Notes(run.ledger, NAME, "ours")
        for name, (unit, operation) in _operations().items():
            scale = {"ns": 1e9, "us": 1e6, "ms": 1e3}[unit]
            notes(name, unit, _per_call(operation, seconds) * scale)


def _per_call(operation: Callable[[], object], seconds: float) -> float:
    """Seconds for one call: the best of several series that last `seconds` together."""
    operation()
    calls, taken = 1, 0.0
    while taken < seconds / 10:
        calls = max(calls * 2, 1) if taken else calls
        taken = _series(operation, calls) or 1e-9
    return min(taken, *(_series(operation, calls) for _ in range(4))) / calls


def _series(operation: Callable[[], object], calls: int) -> float:
    begin = time.perf_counter()
    for _ in range(calls):
        operation()
    return time.perf_counter() - begin


def _operations() -> dict[str, tuple[str, Callable[[], object]]]:
    payload = os.urandom(64 * KIB)
    key = os.urandom(4)
    return {
        "message of 64 B": ("ns", _whole_message(64)),
        "message of 1 KiB": ("ns", _whole_message(KIB)),
        "message of 16 KiB": ("us", _whole_message(16 * KIB)),
        "message of 64 KiB in chunks of 1 KiB": ("us", _chunked(MessageDecoder(KIB * KIB), 64 * KIB, KIB)),
        "message of 64 KiB in chunks of 16 KiB": ("us", _chunked(MessageDecoder(KIB * KIB), 64 * KIB, 16 * KIB)),
        "cut-through of 64 KiB in chunks of 1 KiB": ("us", _chunked(CutThroughDecoder(), 64 * KIB, KIB)),
        "cut-through of 64 KiB in chunks of 16 KiB": ("us", _chunked(CutThroughDecoder(), 64 * KIB, 16 * KIB)),
        "mask of 64 B": ("ns", lambda: apply_mask(payload[:64], key)),
        "mask of 64 KiB": ("us", lambda: apply_mask(payload, key)),
        "handshake, full path, without our signature": ("us", _handshake(fast=False)),
        "handshake, fast path": ("us", _handshake(fast=True)),
        "our signature (RSA-2048)": ("us", _signature()),
        f"event to {SUBSCRIBERS} subscribers": ("us", _fan_out()),
        f"rows of {DEVICES} devices, joined": ("ms", _rows()),
        "password, Argon2id": ("ms", lambda: SCHEMES["argon2id"].hash(PASSWORD)),
        "password, PBKDF2 as the peer's": ("ms", lambda: SCHEMES["pbkdf2-sha384"].hash(PASSWORD)),
    }


def client_frame(payload: bytes) -> bytes:
    """A masked, final binary frame."""
    key, size = os.urandom(4), len(payload)
    if size < 126:
        header = bytes((0x80 | BINARY, 0x80 | size))
    elif size < 0x10000:
        header = bytes((0x80 | BINARY, 0xFE)) + size.to_bytes(2, "big")
    else:
        header = bytes((0x80 | BINARY, 0xFF)) + size.to_bytes(8, "big")
    return header + key + apply_mask(payload, key)


def _whole_message(size: int) -> Callable[[], object]:
    decoder, frame = MessageDecoder(KIB * KIB), client_frame(os.urandom(size))
    return lambda: decoder.feed(frame)


def _chunked(decoder: FrameDecoder, size: int, chunk: int) -> Callable[[], object]:
    frame = client_frame(os.urandom(size))
    chunks = [frame[start : start + chunk] for start in range(0, len(frame), chunk)]

    def operation() -> None:
        for one in chunks:
            decoder.feed(one)

    return operation


def _handshake(*, fast: bool) -> Callable[[], object]:
    """The server's side, fed with what an agent sent once; nonces are fixed so that its signature fits each time."""
    ours, theirs = identities.load(0, 2)
    web_hash, nonce = os.urandom(48), os.urandom(48)
    frames, signature = _recorded(ours, theirs, web_hash, nonce, fast=fast)

    def operation() -> None:
        server = ServerHandshake(lambda _: web_hash, lambda _: ours, nonce=nonce)
        for frame in frames:
            if any(isinstance(effect, Sign) for effect in server.feed(frame)):
                server.signed(signature)
        assert server.key_hash == theirs.key_hash

    return operation


def _recorded(
    ours: AgentKey, theirs: AgentKey, web_hash: bytes, nonce: bytes, *, fast: bool
) -> tuple[list[bytes], bytes]:
    """What an agent sends in a handshake, and the signature it is given."""
    info = AuthInfo(6, bytes(48), 0x118, "bench")
    agent = AgentHandshake(
        theirs,
        info,
        server_id=ours.key_hash,
        web_hash=web_hash,
        fast=fast,
        commit_date="2022-Nov-2 23:01:45-0700",
        host_info="Simulated GNU/Linux - x64",
    )
    server = ServerHandshake(lambda _: web_hash, lambda _: ours, nonce=nonce)
    frames: list[bytes] = []
    signature = b""
    to_do: list[object] = list(agent.start())
    while to_do:
        effect = to_do.pop(0)
        if isinstance(effect, Sign):
            to_do += agent.signed(effect.identity.sign(effect.data))
        elif isinstance(effect, Send):
            frames.append(effect.frame)
            for answer in server.feed(effect.frame):
                if isinstance(answer, Sign):
                    signature = answer.identity.sign(answer.data)
                    for signed in server.signed(signature):
                        to_do += agent.feed(signed.frame) if isinstance(signed, Send) else []
                elif isinstance(answer, Send):
                    to_do += agent.feed(answer.frame)
    return frames, signature


def _signature() -> Callable[[], object]:
    (identity,) = identities.load(0, 1)
    return lambda: identity.sign(bytes(144))


class _Browser:
    """A subscriber that takes everything."""

    def deliver(self, message: bytes) -> bool:
        return True

    def control(self, signal: SessionControl) -> None:
        pass

    def overflowed(self) -> None:
        pass

    def sees(self, redaction: Redaction, event: Mapping[str, Any]) -> bool:
        return True


def _fan_out() -> Callable[[], object]:
    bus = EventBus()
    for _ in range(SUBSCRIBERS):
        bus.subscribe(_Browser(), ["mesh//bench"])
    event = NodeConnectivityChanged(
        node_id="node//" + "x" * 64, group_id="mesh//bench", connectivity=1, power=1, connect_time=1_700_000_000_000
    )
    return lambda: bus.publish(event, ["node//" + "x" * 64, "mesh//bench", "*"])


def _rows() -> Callable[[], object]:
    devices = DocumentCollection(Device)
    for number in range(DEVICES):
        device = Device(
            id=f"node//{number:064d}",
            group_id="mesh//bench",
            name=f"device {number}",
            host_name=f"host-{number}",
            address="127.0.0.1",
            agent=DeviceAgent(type_id=6, capabilities=0x118),
            first_connected=1_700_000_000_000,
        )
        devices.replace(*devices.checked(device))
    store = SimpleNamespace(devices=devices)
    inventory = Inventory(cast(Server, SimpleNamespace(store=store, agents={})))
    return lambda: inventory.encode(devices, "user//bench")
