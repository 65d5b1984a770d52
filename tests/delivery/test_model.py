"""Random histories of source, outbox, sender and Auditor, with crashes between any steps."""

import contextlib
import itertools
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from collector.outbox import (
    Intake,
    NewRecord,
    Outbox,
    StopTime,
)
from tests.delivery.faulty_auditor import Answer, Cut, Fault, Request
from tests.delivery.matrix import UNEXPECTED
from tests.delivery.world import LIMITS, World, new_world

FAULTS: list[Fault] = [None, None, Cut("before"), Cut("after"), Cut("within"), Answer(503)]
NUMBERS = st.integers(0, 40)


class CrashError(BaseException):
    """SIGKILL, for what runs in this process."""


class Delivery(RuleBasedStateMachine):
    """The model is a dictionary: what the Auditor has to hold in the end."""

    folder: Path
    behind: str

    def __init__(self) -> None:
        super().__init__()
        self.context = new_world(self.folder, self.behind, timeout_s=5)
        self.world: World = self.context.__enter__()
        self.world.settings.batch_records = 7
        self.open: set[int] = set()
        self.ended: set[int] = set()
        self.read = 0

    def put(self, numbers: set[int], *, stop: bool, crash: bool) -> None:
        """One poll; if it crashes before its commit, the source reads the same again."""
        entries = [NewRecord.of(self.world.record(n, stop=stop)) for n in sorted(numbers)]
        outbox = self.world.outbox
        if crash:
            # The last statement before the commit: everything is written, nothing committed.
            outbox._connection.execute(
                "CREATE TEMP TRIGGER crash BEFORE INSERT ON main.counts"
                " BEGIN SELECT raise(ABORT, 'crash'); END"
            )
            with pytest.raises(Exception, match="crash"):
                outbox.put(Intake("s", entries, read=len(entries), checkpoint=self.read + 1))
            self.restart()
            assert self.world.outbox.checkpoint("s") == (self.read or None)
        self.world.outbox.put(Intake("s", entries, read=len(entries), checkpoint=self.read + 1))
        self.read += 1

    @rule(numbers=st.sets(NUMBERS, min_size=1, max_size=20), crash=st.booleans())
    def jobs_end(self, numbers: set[int], crash: bool) -> None:
        """Jobs that are new, running, or known."""
        self.put(numbers, stop=True, crash=crash)
        self.open -= numbers
        self.ended |= numbers

    @rule(numbers=st.sets(NUMBERS, min_size=1, max_size=20), crash=st.booleans())
    def jobs_start(self, numbers: set[int], crash: bool) -> None:
        """Jobs that start, or are seen running late."""
        self.put(numbers, stop=False, crash=crash)
        self.open |= numbers - self.ended

    @rule()
    def stops_are_told(self) -> None:
        """A source that tells only the ends of runs."""
        stops = []
        for number in sorted(self.open):
            record = self.world.record(number)
            assert record.stop_time is not None
            stops.append(StopTime(record.record_id, record.stop_time))
        self.world.outbox.put(Intake("s", [], stops=stops))
        self.ended |= self.open
        self.open = set()

    @rule(faults=st.lists(st.sampled_from(FAULTS), max_size=6))
    def a_pass(self, faults: list[Fault]) -> None:
        """The sender meets any faults."""
        left = itertools.chain(faults, itertools.repeat(None))
        self.world.auditor.script = lambda _request: next(left)
        self.world.sender.run_pass()
        self.world.auditor.script = lambda _request: None
        self.world.time += timedelta(seconds=61)

    @rule(after=st.integers(0, 3), settled=st.booleans())
    def a_pass_that_crashes(self, after: int, settled: bool) -> None:
        """Around any settling: the Auditor has answered, the outbox may or may not know."""
        settle, left = self.world.outbox.settle, [after]

        def crash(verdicts: object) -> None:
            if left[0] > 0:
                settle(verdicts)  # type: ignore[arg-type] # what it was given
                left[0] -= 1
                return
            if settled:
                settle(verdicts)  # type: ignore[arg-type] # what it was given
            raise CrashError

        self.world.outbox.settle = crash  # type: ignore[method-assign] # dies there
        with contextlib.suppress(CrashError):
            self.world.sender.run_pass()
        self.restart()
        self.world.time += timedelta(seconds=61)

    @rule()
    def the_auditor_is_sick(self) -> None:
        """Its database is away: nothing may be rejected for it."""
        self.world.auditor.script = lambda _request: UNEXPECTED
        self.world.sender.run_pass()
        self.world.auditor.script = lambda _request: None
        self.world.time += timedelta(seconds=61)

    @rule(numbers=st.sets(NUMBERS, max_size=5))
    def a_stop_comes_in_flight(self, numbers: set[int]) -> None:
        """A poll is committed while a request is under way."""
        pending = [numbers | self.open]

        def script(_request: Request) -> None:
            if pending and pending[0]:
                self.jobs_end.function(self, pending.pop(), crash=False)  # type: ignore[attr-defined] # a rule

        self.world.auditor.script = script
        self.world.sender.run_pass()
        self.world.auditor.script = lambda _request: None
        self.world.time += timedelta(seconds=61)

    def restart(self) -> None:
        """A new process on the same files; what was not committed is gone."""
        path = self.world.outbox.path
        self.world.outbox.close()
        self.world.outbox = Outbox.open(path, now=self.world.now, limits=LIMITS)
        self.world.restart_sender()

    def teardown(self) -> None:
        """In the end the Auditor holds exactly the model, and nothing waits or was rejected."""
        try:
            self.world.drain()
            status = self.world.outbox.status()
            assert (status.waiting, status.waiting_bytes, status.rejected) == (0, 0, {})
            assert status.open_records == len(self.open)
            held = {
                int(record_id.rpartition("-")[2]): record.stop_time is not None
                for record_id, record in self.world.held().items()
            }
            assert held == dict.fromkeys(self.open, False) | dict.fromkeys(self.ended, True)
        finally:
            self.world.outbox.close()
            self.context.__exit__(None, None, None)


def _run(behind: str, tmp_path: Path, examples: int) -> None:
    Delivery.folder, Delivery.behind = tmp_path, behind
    run_state_machine_as_test(
        Delivery,
        settings=settings(
            max_examples=examples,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_whatever_happens_the_auditor_holds_every_run_once(behind: str, tmp_path: Path):
    """A few random histories; the slow tests try many more."""
    _run(behind, tmp_path, 12)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_whatever_happens_the_auditor_holds_every_run_once_many_times(behind: str, tmp_path: Path):
    """Hundreds of random histories."""
    _run(behind, tmp_path, 300)
