"""Whatever an Auditor answers, or does not: nothing is lost, doubled, stuck or wrongly rejected."""

import pytest

from tests.delivery.matrix import SCENARIOS
from tests.delivery.world import World


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_auditor_holds_what_it_should(name: str, world: World):
    """It holds every run once, nothing waits any more, and only the guilty are rejected."""
    outcome = SCENARIOS[name].play(world)
    status = world.outbox.status()
    assert status.waiting == 0
    assert sum(status.rejected.values()) == outcome.rejected
    held = world.held()
    wanted = {f"{world.prefix}-{number}" for number in outcome.held}
    assert held.keys() == wanted
    if not outcome.rejected:
        assert world.holds(outcome.held)
    assert world.auditor.faults or "duplicates" in name or name in NO_FAULT
    assert len(world.said("warning")) <= 1 + outcome.rejected


NO_FAULT = {"stored_open", "collisions", "other_amounts", "stop_in_flight", "dies_before_settling"}
