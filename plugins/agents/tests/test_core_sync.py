"""What is done about the core that an agent reports."""

from meshcentral_agents.core_sync import MAX_PUSHES, CoreSync, Step
from meshcentral_protocol.agent_commands import NO_HASH

OURS = b"\x01" * 48
OTHER = b"\x02" * 48


def test_the_right_core_is_confirmed_once() -> None:
    sync = CoreSync(OURS)
    assert [sync.reported(OURS), sync.reported(OURS)] == [Step.CONFIRM, Step.NOTHING]
    assert sync.settled


def test_a_missing_or_different_core_is_pushed_and_then_confirmed() -> None:
    for found in (None, OTHER):
        sync = CoreSync(OURS)
        assert sync.reported(found) is Step.PUSH
        assert not sync.settled
        assert sync.reported(OURS) is Step.CONFIRM


def test_a_custom_core_is_left_alone() -> None:
    for wanted in (OURS, None):
        sync = CoreSync(wanted)
        assert sync.reported(NO_HASH) is Step.KEEP
        assert sync.settled


def test_pushes_end_after_five() -> None:
    sync = CoreSync(OURS)
    assert [sync.reported(OTHER) for _ in range(MAX_PUSHES)] == [Step.PUSH] * 5
    assert [sync.reported(None), sync.reported(OTHER)] == [Step.GIVE_UP, Step.NOTHING]
    assert not sync.settled


def test_an_unknown_kind_of_agent_is_left_without_core() -> None:
    sync = CoreSync(None)
    assert sync.reported(OTHER) is Step.CLEAR
    assert not sync.settled
    assert sync.reported(None) is Step.NOTHING
    assert sync.settled


def test_clearing_is_not_repeated_for_ever() -> None:
    sync = CoreSync(None)
    steps = [sync.reported(OTHER) for _ in range(MAX_PUSHES + 2)]
    assert steps == [Step.CLEAR] * MAX_PUSHES + [Step.NOTHING] * 2


def test_a_core_that_changes_later_is_pushed_again() -> None:
    sync = CoreSync(OURS)
    assert sync.reported(OURS) is Step.CONFIRM
    assert sync.reported(None) is Step.PUSH
    assert not sync.settled
