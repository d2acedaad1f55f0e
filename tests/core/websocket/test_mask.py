from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcentral.core.websocket.mask import apply_mask, apply_mask_portably, rotate_key

KEY = bytes.fromhex("37fa213d")


def plainly(data: bytes, key: bytes) -> bytes:
    return bytes(byte ^ key[index % 4] for index, byte in enumerate(data))


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 7, 8, 125, 2047, 2048, 2049, 2050, 2051, 70_000])
@pytest.mark.parametrize("mask", [apply_mask, apply_mask_portably])
def test_every_size_is_masked_like_the_definition(mask, size: int) -> None:
    data = bytes(index * 7 % 256 for index in range(size))

    assert mask(data, KEY) == plainly(data, KEY)
    assert mask(memoryview(data), KEY) == plainly(data, KEY)


def test_the_example_of_the_standard() -> None:
    assert apply_mask_portably(bytes.fromhex("7f9f4d5158"), KEY) == b"Hello"


@given(st.binary(max_size=64), st.binary(min_size=4, max_size=4), st.integers(0, 64))
def test_a_rotated_key_goes_on_in_the_middle(data: bytes, key: bytes, cut: int) -> None:
    head, tail = data[:cut], data[cut:]

    assert apply_mask(head, key) + apply_mask(tail, rotate_key(key, len(head))) == plainly(data, key)
