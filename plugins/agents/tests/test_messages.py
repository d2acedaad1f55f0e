"""What devices say is validated and bounded."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from meshcentral.plugins import Device, DeviceAgent
from meshcentral_agents.channel import parse_object
from meshcentral_agents.messages import CoreInfo, LogEntry, NetworkInfo, SessionCounts

DEVICE = Device(
    id="node//x", group_id="mesh//x", name="box", agent=DeviceAgent(type_id=6, capabilities=0x118, core="old")
)


def test_core_info_keeps_the_native_capability_bits() -> None:
    device, changes = CoreInfo(value="new core", caps=0x1F).apply(DEVICE)
    assert device.agent is not None
    assert (device.agent.capabilities, device.agent.core) == (0x1F, "new core")
    device, _ = CoreInfo(caps=0x107).apply(DEVICE)
    assert device.agent is not None
    assert device.agent.capabilities == 0x11F
    assert changes == ["agent core", "agent capabilities"]


def test_core_info_without_news_changes_nothing() -> None:
    first, _ = CoreInfo(value="c", caps=0, osdesc="Linux", root=True, users=["a"], lastbootuptime=5).apply(DEVICE)
    again, changes = CoreInfo(value="c", caps=0, osdesc="Linux", root=True, users=["a"], lastbootuptime=5).apply(first)
    assert (again, changes) == (first, [])


def test_core_info_works_on_a_device_without_agent() -> None:
    device, _ = CoreInfo(value="c", caps=7).apply(DEVICE.with_(agent=None))
    assert device.agent is not None
    assert device.agent.capabilities == 7


def test_control_characters_become_blanks() -> None:
    assert CoreInfo(osdesc="a\x1b[31m\r\nb").osdesc == "a [31m b"


@pytest.mark.parametrize(
    "members",
    [
        {"value": "x" * 257},
        {"caps": -1},
        {"caps": 2**32},
        {"users": ["u"] * 1025},
        {"users": [{"a": 1}]},
        {"lastbootuptime": 2**60},
        {"root": "perhaps"},
    ],
)
def test_core_info_out_of_bounds_is_refused(members: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CoreInfo.model_validate(members)


def test_network_info_is_reduced_to_known_members() -> None:
    info = NetworkInfo.model_validate(
        {"netif2": {"eth0": [{"mac": "00:11", "address": "192.0.2.1", "evil": "x" * 9999}], "lo": [{}]}}
    )
    assert info.interfaces() == {"eth0": [{"mac": "00:11", "address": "192.0.2.1"}], "lo": [{}]}
    many: dict[str, Any] = {str(number): [] for number in range(513)}
    refused: list[dict[str, Any]] = [{}, {"netif2": []}, {"netif2": {"x": [{}] * 129}}, {"netif2": many}]
    for bad in refused:
        with pytest.raises(ValidationError):
            NetworkInfo.model_validate(bad)


def test_sessions_and_log_are_bounded() -> None:
    with pytest.raises(ValidationError):
        SessionCounts.model_validate({"type": "unheard-of", "value": {}})
    with pytest.raises(ValidationError):
        SessionCounts.model_validate({"type": "kvm", "value": {"user//a": -1}})
    with pytest.raises(ValidationError):
        LogEntry.model_validate({"msg": "x" * 4097})


def test_only_json_objects_are_parsed() -> None:
    assert parse_object(b'{"a": 1}') == {"a": 1}
    for bad in (b"{", b"[1]", b"null", b'{"a": NaN}', b'{"\xff": 1}', b"[" * 200_000, b"1" * 10_000, '{"a": Infinity}'):
        assert parse_object(bad) is None


@given(st.binary(max_size=64))
def test_parsing_never_raises(data: bytes) -> None:
    parse_object(b"{" + data)
