"""Reading and writing control messages."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcentral.plugins.actions import EncodedJson
from meshcentral_control.channel.messages import MAX_DEPTH, BadMessage, decode, encode

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=20,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), plain))
def test_round_trip(message):
    assert decode(encode(message).decode()) == message


@given(st.text() | st.binary())
def test_any_input_is_an_object_or_bad(text):
    try:
        assert isinstance(decode(text), dict)
    except BadMessage:
        pass


def nested(depth: int) -> str:
    """An object of `depth` levels, its own one included."""
    return '{"a":' + "[" * (depth - 1) + "]" * (depth - 1) + "}"


def test_depth_is_limited():
    assert decode(nested(MAX_DEPTH))
    with pytest.raises(BadMessage):
        decode(nested(MAX_DEPTH + 1))
    wide = json.dumps({"a": [[] for _ in range(10_000)]})
    assert len(decode(wide)["a"]) == 10_000


def test_encoded_members_are_put_in_as_they_are():
    ready = EncodedJson([b'{"x":', b"[1,2]}"])
    assert json.loads(encode({"a": 1, "nodes": ready})) == {"a": 1, "nodes": {"x": [1, 2]}}
    assert encode({"nodes": ready, "more": ready}) == b'{"nodes":{"x":[1,2]},"more":{"x":[1,2]}}'
    assert encode({}) == b"{}"


def test_numbers_that_json_does_not_have_are_refused():
    with pytest.raises(ValueError):
        encode({"a": float("nan")})


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999", "-1e999"])
def test_numbers_that_could_not_be_echoed_are_bad_input(number):
    with pytest.raises(BadMessage):
        decode(f'{{"action":"nodes","responseid":{number}}}')
