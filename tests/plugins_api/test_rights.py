"""Rights arithmetic: masks to capabilities and back, combining links, removing rights."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcentral.plugins import rights
from meshcentral.plugins.documents import Device, DeviceGroup, Link, User
from meshcentral.plugins.rights import (
    ALL,
    EVERY_CAPABILITY,
    EVERY_SITE_CAPABILITY,
    Capability,
    SiteCapability,
    capabilities_of,
    combine,
    is_locked,
    mask_of,
    mask_on,
    site_capabilities_of,
    site_mask_of,
    without_removed,
)

DEVICE_BITS = (1 << 22) - 1
SITE_BITS = (1 << 13) - 1
masks = st.one_of(st.just(ALL), st.integers(0, DEVICE_BITS))
site_masks = st.one_of(st.just(ALL), st.integers(0, SITE_BITS))
capability_sets = st.frozensets(st.sampled_from(Capability))
GROUP = DeviceGroup(id="mesh//g", name="g")
DEVICE = Device(id="node//d", group_id="mesh//g", name="d")


@given(masks)
def test_capabilities_survive_the_way_through_a_mask(mask):
    held = capabilities_of(mask)
    assert capabilities_of(mask_of(held)) == held
    assert mask_of(capabilities_of(mask_of(held))) == mask_of(held)


@given(capability_sets)
def test_a_mask_never_says_more_than_the_capabilities(held):
    if Capability.FULL not in held:
        assert capabilities_of(mask_of(held)) <= held | {Capability.VIEW}


@given(st.integers(0, SITE_BITS))
def test_site_rights_survive_both_ways_except_for_the_lock(mask):
    assert site_mask_of(site_capabilities_of(mask)) == mask & ~rights.SITE_LOCKED
    assert is_locked(mask) == bool(mask & 32)


@given(st.frozensets(st.sampled_from([each for each in SiteCapability if each is not SiteCapability.FULL])))
def test_site_capabilities_survive_a_mask(held):
    assert site_capabilities_of(site_mask_of(held)) == held


def test_full_is_everything_and_ignores_restrictions():
    assert capabilities_of(ALL) == EVERY_CAPABILITY
    assert site_capabilities_of(ALL) == EVERY_SITE_CAPABILITY
    assert mask_of(EVERY_CAPABILITY) == ALL
    assert site_mask_of(EVERY_SITE_CAPABILITY) == ALL
    assert not is_locked(ALL)
    assert Capability.FULL not in capabilities_of(DEVICE_BITS)


@pytest.mark.parametrize(
    ("mask", "has", "lacks"),
    [
        (0, "VIEW ALL_EVENTS", "REMOTE_CONTROL REMOTE_VIEW DESKTOP TERMINAL FILES AMT RUN_COMMANDS RESET_OFF"),
        (8, "REMOTE_CONTROL REMOTE_VIEW DESKTOP DESKTOP_FULL_INPUT TERMINAL FILES AMT", "AGENT_CONSOLE RUN_COMMANDS"),
        (256, "VIEW REMOTE_VIEW", "REMOTE_CONTROL DESKTOP DESKTOP_FULL_INPUT TERMINAL FILES"),
        (8 | 256, "REMOTE_CONTROL REMOTE_VIEW TERMINAL", "DESKTOP DESKTOP_FULL_INPUT"),
        (8 | 4096, "DESKTOP", "DESKTOP_FULL_INPUT"),
        (8 | 65536, "TERMINAL FILES", "DESKTOP REMOTE_VIEW DESKTOP_FULL_INPUT"),
        (256 | 65536, "VIEW", "REMOTE_VIEW"),
        (8 | 512 | 1024 | 2048, "DESKTOP", "TERMINAL FILES AMT"),
        (512, "VIEW", "TERMINAL REMOTE_CONTROL"),
        (8192, "VIEW", "ALL_EVENTS"),
        (131072, "RUN_COMMANDS", "REMOTE_CONTROL"),
    ],
)
def test_examples(mask, has, lacks):
    held = capabilities_of(mask)
    assert {Capability[name] for name in has.split()} <= held
    assert not {Capability[name] for name in lacks.split()} & held


@given(st.lists(masks))
def test_combining(several):
    combined = combine(several)
    if not several:
        assert combined is None
    elif ALL in several:
        assert combined == ALL
    else:
        expected = 0
        for mask in several:
            expected |= mask
        assert combined == expected


@given(masks, st.integers(0, DEVICE_BITS))
def test_removing_never_adds_a_capability(mask, removed):
    assert capabilities_of(without_removed(mask, removed)) <= capabilities_of(mask)


def test_what_a_full_right_is_worth_after_removal():
    """Control-protocol reference, 3.2: 1+2+4+8+32+64+128+16384+32768+131072+262144+524288+1048576."""
    assert without_removed(ALL, 0) == ALL
    assert without_removed(ALL, 1) == ALL, "editing cannot be removed"
    assert without_removed(ALL, 512) == 2015471 | 512
    assert without_removed(ALL, 8) == 2015471 & ~8


def user(**links: int) -> User:
    ids = {"group": GROUP.id, "device": DEVICE.id}
    return User(id="user//u", name="u", links={ids[name]: Link(rights=mask) for name, mask in links.items()})


def test_rights_on_a_device_are_those_of_both_links():
    assert mask_on(user(), DEVICE) is None
    assert mask_on(user(), GROUP) is None
    assert mask_on(user(group=0), DEVICE) == 0
    assert mask_on(user(group=8), DEVICE) == 8
    assert mask_on(user(group=8, device=64), DEVICE) == 72
    assert mask_on(user(device=64), GROUP) is None
    assert mask_on(user(group=ALL, device=512), DEVICE) == ALL


def test_other_domains_are_never_visible():
    stranger = user(group=ALL).with_(domain="other")
    assert mask_on(stranger, DEVICE) is None
    assert mask_on(stranger, GROUP) is None


def test_a_full_site_administrator_has_no_right_on_groups_of_others():
    assert mask_on(user().with_(site_rights=ALL), GROUP) is None


def test_removed_rights_of_the_account_count():
    limited = user(group=ALL).with_(removed_rights=131072)
    assert Capability.RUN_COMMANDS not in capabilities_of(mask_on(limited, DEVICE) or 0)
