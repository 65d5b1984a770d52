"""Whatever an Auditor answers, or does not: nothing is lost, doubled, stuck or wrongly rejected."""

from datetime import timedelta

import pytest

from tests.delivery.access_faults import SCENARIOS
from tests.delivery.faulty_auditor import Cut
from tests.delivery.matrix import Outcome, first
from tests.delivery.world import World

PAUSE = timedelta(seconds=100)
RIGHTS = {
    "no roles": None,
    "write and read": frozenset({"write", "read"}),
    "write": frozenset({"write"}),
}
QUICK = {
    *("answers_503", "answers_nothing_to_all", "all_duplicates", "collisions", "stored_open"),
    *("poison", "lone_poison", "bad_update", "refuses_one", "lost_answers"),
}
"""Played with every role each time; the others with roles are slow tests."""
AT_RANDOM = {"forbids_some", "breaks_some", "refuses_some"}
NO_FAULT = {"stored_open", "collisions", "other_amounts", "stop_in_flight", "dies_before_settling"}
NO_FAULT |= {"read_is_lost"}  # to a role that reads nothing


@pytest.mark.parametrize(
    ("role", "name"),
    [
        pytest.param(
            *(role, name),
            id=name if RIGHTS[role] is None else f"{name}-{role}",
            marks=[] if RIGHTS[role] is None or name in QUICK else pytest.mark.slow,
        )
        for role in RIGHTS
        for name in SCENARIOS
    ],
)
def test_the_auditor_holds_what_it_should(role: str, name: str, world: World):
    """With any role: every run once, nothing waits any more, only the guilty are rejected."""
    world.auditor.rights = RIGHTS[role]
    outcome = SCENARIOS[name].play(world)
    _assert_outcome(world, outcome)
    assert world.auditor.faults or "duplicates" in name or name in NO_FAULT
    # A slow record that waits alone looks like an Auditor that is away.
    allowed = 1 + outcome.rejected + (name == "one_slow_record")
    if name in AT_RANDOM:  # it fails again after it was over, or in the other way: a new warning
        ends = ("sending again", "sending paused; nothing is lost, but somebody has to act")
        allowed += sum(one["event"] in ends for one in world.log)
    assert len(world.said("warning")) <= allowed


def _assert_outcome(world: World, outcome: Outcome) -> None:
    status = world.outbox.status()
    assert status.waiting == outcome.waiting
    assert sum(status.rejected.values()) == outcome.rejected
    held = world.held()
    wanted = {f"{world.prefix}-{number}" for number in outcome.held}
    assert held.keys() == wanted
    if outcome.open:
        assert all(record.stop_time is None for record in held.values())
    elif not outcome.rejected and world.reads:
        assert world.holds(outcome.held)


def test_a_role_that_may_not_write_pauses_and_says_so(world: World):
    """Nothing is lost; it is sent as soon as the role may."""
    world.auditor.rights = frozenset({"read"})
    world.put(range(10))
    for _ in range(3):
        assert world.sender.run_pass().state == "paused"
        world.time += PAUSE
    (told,) = world.said("error")
    assert "403" in str(told["error"])
    assert "write_access_cn" in str(told["error"])
    world.auditor.rights = frozenset({"read", "write"})
    world.drain()
    assert world.holds(range(10))


def test_without_the_right_to_read_a_stop_time_reaches_a_record_whose_answer_was_lost(
    world: World,
):
    """The open version may be stored: the id is ours, and its stop time is sent."""
    world.auditor.rights = frozenset({"write"})
    world.put(range(10), stop=False)
    world.auditor.script = first(1, Cut("after"))
    world.sender.run_pass()
    world.put(range(10))
    world.time += PAUSE
    world.drain()
    assert world.holds(range(10))
