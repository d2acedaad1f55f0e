"""Masking of WebSocket payloads (RFC 6455, 5.3): XOR with a repeated key of four bytes.

The C routine of the `websockets` distribution is used when it is installed (about 30 GB/s). Without it, two ways of
plain Python share the work: one XOR of big integers is quickest for short payloads, four strided table look-ups for
long ones (about 0.9 GB/s).
"""

from __future__ import annotations

import sys
from collections.abc import Callable

Masker = Callable[[bytes | memoryview, bytes], bytes]

_STRIDED_FROM = 2048
"""Payload length from which the strided look-up beats big-integer XOR."""

_TABLES = tuple(bytes(value ^ key for value in range(256)) for key in range(256))
"""One 256-byte translation table per key byte: 64 KiB in all."""


def apply_mask_portably(data: bytes | memoryview, key: bytes) -> bytes:
    """Return `data` XORed with the repeated 4-byte `key`, in plain Python."""
    size = len(data)
    if size < _STRIDED_FROM:
        repeated = (key * (size // 4 + 1))[:size]
        order = sys.byteorder
        return (int.from_bytes(data, order) ^ int.from_bytes(repeated, order)).to_bytes(size, order)
    plain = bytes(data)
    masked = bytearray(size)
    for offset in range(4):
        masked[offset::4] = plain[offset::4].translate(_TABLES[key[offset]])
    return bytes(masked)


def _fastest() -> Masker:
    try:
        from websockets.speedups import apply_mask as apply_mask_in_c
    except ImportError:
        return apply_mask_portably
    return apply_mask_in_c


apply_mask: Masker = _fastest()
"""XOR with the repeated 4-byte key; masking and unmasking are the same."""


def rotate_key(key: bytes, offset: int) -> bytes:
    """The key as it applies `offset` bytes into a payload."""
    shift = offset % 4
    return key[shift:] + key[:shift] if shift else key
