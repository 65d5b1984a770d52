"""The contract of a source as tests that any plugin can run on itself.

    from collector.source.testing import SourceContract

    class TestMySource(SourceContract):
        def source(self, context):
            return MySource(MySection(name="x", plugin="x", record_prefix="x", …), context)

pytest then runs every promise below against it. `source` is called again for each reading and has
to read the same, unchanging input, which holds at least two ended jobs (better: many, in several
batches, with some that are filtered and some that cannot be read).
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import structlog

from collector.source import Batch, Checkpoint, Context, Job, Source, Unreadable

EVER = (datetime(1980, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))


def context(name: str = "source", now: datetime | None = None) -> Context:
    """A context for a source under test: all fields, a stop event that nobody sets."""
    return Context(
        name=name,
        log=structlog.get_logger(),
        now=lambda: now or datetime.now(UTC),
        stop=threading.Event(),
    )


class SourceContract(ABC):
    """Subclass it, implement `source`, and let pytest collect the subclass."""

    @abstractmethod
    def source(self, context: Context) -> Source:
        """Makes the source under test, always over the same input."""

    def read(self, checkpoint: Checkpoint | None = None) -> list[Batch]:
        """All batches from a checkpoint on, read by a new source."""
        return list(self.source(context()).poll(checkpoint))

    def test_a_poll_finds_jobs_and_accounts_for_each_once(self) -> None:
        """The ids of all jobs that are read are different."""
        ids = [job.id for job in _jobs(self.read())]
        assert len(ids) > 1, "the input of a contract test holds at least two jobs"
        assert len(set(ids)) == len(ids)

    def test_reading_twice_gives_the_same(self) -> None:
        """Ids, times and fields depend on the input alone."""
        assert list(_jobs(self.read())) == list(_jobs(self.read()))

    def test_every_checkpoint_continues_exactly(self) -> None:
        """A poll from any batch's checkpoint reads just what came after that batch."""
        batches = self.read()
        for number, batch in enumerate(batches, 1):
            rest = self.read(_stored(batch.checkpoint))
            assert _content(rest) == _content(batches[number:]), f"after batch {number}"

    def test_a_poll_at_the_end_finds_nothing(self) -> None:
        """Nothing new is no job and no error."""
        batches = self.read()
        again = self.read(_stored(batches[-1].checkpoint))
        assert sum(batch.read for batch in again) == 0

    def test_a_complete_poll_leaves_no_lag(self) -> None:
        """A source that knows how far it is behind says so before, and 0 after it."""
        stops = [job.stop_at for job in _jobs(self.read()) if job.stop_at is not None]
        later = context(now=max([datetime.now(UTC), *stops]) + timedelta(days=1))
        source = self.source(later)
        before = source.lag(None)
        *_, last = source.poll(None)
        after = source.lag(_stored(last.checkpoint))
        if before is None or after is None:
            assert before == after
            return
        assert before.behind_s > 0
        assert after.behind_s == 0
        assert after.kept_s is None or after.kept_s > 0

    def test_a_poll_that_is_stopped_loses_nothing(self) -> None:
        """What is yielded after the stop event, and what a new poll reads then, is all there is."""
        stopped = context()
        first: list[Batch] = []
        for batch in self.source(stopped).poll(None):
            first.append(batch)
            stopped.stop.set()
        rest = self.read(_stored(first[-1].checkpoint)) if first else self.read()
        assert _content([*first, *rest]) == _content(self.read())

    def test_times_are_aware_and_in_order(self) -> None:
        """Each start is aware, each stop is not before it, and neither is in 1970."""
        for job in _jobs(self.read()):
            assert job.start_at.utcoffset() is not None
            assert job.start_at >= EVER[0]
            assert job.stop_at is None or job.stop_at >= job.start_at

    def test_the_raw_text_gives_the_job_again(self) -> None:
        """What is kept with a rejected job suffices to make it again."""
        source = self.source(context())
        for batch in self.read():
            for job in batch.jobs:
                assert source.parse(bytes(job.raw), job.where) == job
            for unreadable in batch.unreadable:
                again = source.parse(unreadable.raw, unreadable.where)
                assert isinstance(again, Unreadable)

    def test_a_backfill_of_all_time_finds_what_the_polls_found(self) -> None:
        """Every job that ended is found, under the same id, and no checkpoint is moved."""
        batches = list(self.source(context()).backfill(*EVER))
        ended = {job.id: job for job in _jobs(self.read()) if job.stop_at is not None}
        assert {job.id: job for job in _jobs(batches)} == ended
        assert all(batch.checkpoint is None for batch in batches)

    def test_backfills_of_neighbouring_periods_share_no_job(self) -> None:
        """A job belongs to the period that its stop lies in: the start is in it, the end is not."""
        stops = sorted(job.stop_at for job in _jobs(self.read()) if job.stop_at is not None)
        middle = stops[len(stops) // 2]
        source = self.source(context())
        before = [job.id for job in _jobs(source.backfill(EVER[0], middle))]
        after = [job.id for job in _jobs(source.backfill(middle, EVER[1]))]
        last = list(_jobs(source.backfill(middle, middle + timedelta(seconds=1))))
        assert len(before) + len(after) == len(stops)
        assert not set(before) & set(after)
        assert last
        assert {job.id for job in last} <= set(after)

    def test_a_check_says_that_it_can_be_read(self) -> None:
        """The check finds something to say, and no fault."""
        findings = list(self.source(context()).check())
        assert findings
        assert all(finding.ok for finding in findings), findings


def _jobs(batches: Iterable[Batch]) -> Iterator[Job]:
    return (job for batch in batches for job in batch.jobs)


def _content(batches: Iterable[Batch]) -> tuple[list[Job], list[Unreadable], int]:
    """What batches say, however it is divided among them."""
    jobs: list[Job] = []
    unreadable: list[Unreadable] = []
    filtered = 0
    for batch in batches:
        jobs += batch.jobs
        unreadable += batch.unreadable
        filtered += sum(batch.filtered.values())
    return jobs, unreadable, filtered


def _stored(checkpoint: Checkpoint) -> Checkpoint:
    """A checkpoint as the outbox gives it back."""
    assert checkpoint is not None, "a batch of a poll has a checkpoint"
    return msgspec.json.decode(msgspec.json.encode(checkpoint))
