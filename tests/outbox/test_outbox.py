"""What the outbox makes of what it is given."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from collector.config import OutboxSection
from collector.outbox import (
    Intake,
    NewRecord,
    Outbox,
    OutboxFullError,
    Outcome,
    StopTime,
    Unmappable,
    Verdict,
)
from tests.outbox.filled import (
    LIMITS,
    NOW,
    START,
    entry,
    outcomes,
    send,
    taken,
)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def outbox(tmp_path: Path, clock: Clock) -> Iterator[Outbox]:
    with Outbox.open(tmp_path / "outbox.db", now=clock, limits=LIMITS) as opened:
        yield opened


def rejections(outbox: Outbox) -> dict[str, int]:
    return outbox.status().rejected


def test_what_is_put_comes_out_in_order_and_whole(outbox: Outbox):
    """Oldest first, with everything that the sender needs."""
    outbox.put(
        Intake(
            "s", [entry(2), entry(1, lasts_s=None)], origin="backfill", may_correct_stop_time=True
        )
    )
    outbox.put(Intake("t", [entry(3)]))
    out = taken(outbox)
    assert [waiting.record_id for waiting in out] == ["r-2", "r-1", "r-3"]
    assert out[0].body == entry(2).body
    assert (out[0].source, out[0].origin, out[0].may_correct_stop_time) == ("s", "backfill", True)
    assert (out[0].start_time, out[0].stop_time) == (START, START + timedelta(seconds=60))
    assert (out[1].stop_time, out[1].is_stop) == (None, False)


def test_take_is_bounded_by_records_and_by_bytes_but_gives_always_one(outbox: Outbox):
    """A record that is longer than the limit is not stuck."""
    outbox.put(Intake("s", [entry(number) for number in range(10)]))
    length = len(entry(0).body)
    assert len(outbox.take(3, 10**9, NOW)) == 3
    assert len(outbox.take(100, 4 * length, NOW)) == 4
    assert len(outbox.take(100, 1, NOW)) == 1


def test_a_checkpoint_is_stored_with_its_batch_and_kept_without_one(outbox: Outbox):
    """A backfill, which has none, leaves it."""
    assert outbox.checkpoint("s") is None
    outbox.put(Intake("s", [entry()], checkpoint={"position": [1, "ä"]}))
    outbox.put(Intake("s", [entry(2)], checkpoint=None))
    assert outbox.checkpoint("s") == {"position": [1, "ä"]}


def test_a_failed_put_stores_nothing_at_all(outbox: Outbox):
    """Neither records nor checkpoint nor counts: one naive time takes the whole batch back."""
    naive = NewRecord("r-2", datetime(2026, 1, 1), None, b"{}")  # noqa: DTZ001 - that is the point
    with pytest.raises(TypeError):
        outbox.put(Intake("s", [entry(1), naive], checkpoint=1, read=2))
    status = outbox.status()
    assert (status.waiting, status.counts, outbox.checkpoint("s")) == (0, {}, None)


def test_the_same_record_again_is_known_while_it_waits_and_after_it_was_sent(outbox: Outbox):
    """An overlapping read sends nothing twice."""
    outbox.put(Intake("s", [entry()]))
    assert outbox.put(Intake("s", [entry()])).outcomes == outcomes(known=1)
    send(outbox)
    assert outbox.put(Intake("s", [entry()])).outcomes == outcomes(known=1)
    assert outbox.put(Intake("other", [entry()])).outcomes == outcomes(known=1)
    assert taken(outbox) == []


def test_the_same_record_twice_in_a_batch_is_stored_once(outbox: Outbox):
    """HTCondor writes true duplicates."""
    assert outbox.put(Intake("s", [entry(), entry(), entry(2)])).outcomes == outcomes(
        queued=2, known=1
    )
    assert len(taken(outbox)) == 2


def test_a_stop_joins_its_waiting_record(outbox: Outbox):
    """One insert is sent, with the stop time; also when both came in one batch."""
    outbox.put(Intake("s", [entry(1, lasts_s=None)]))
    assert outbox.put(Intake("s", [entry(1)])).outcomes == outcomes(merged=1)
    assert outbox.put(Intake("s", [entry(2, lasts_s=None), entry(2)])).outcomes == outcomes(
        queued=1, merged=1
    )
    assert [(w.is_stop, w.body) for w in taken(outbox)] == [
        (False, entry(1).body),
        (False, entry(2).body),
    ]


def test_a_stop_for_a_sent_record_waits_as_an_update_that_holds_the_whole_record(outbox: Outbox):
    """So that an Auditor that lost the record can be given it whole."""
    outbox.put(Intake("s", [entry(1, lasts_s=None)]))
    send(outbox)
    assert outbox.status().open_records == 1
    assert outbox.put(Intake("s", [entry(1)])).outcomes == outcomes(stop_queued=1)
    (update,) = taken(outbox)
    assert (update.is_stop, update.body) == (True, entry(1).body)
    assert outbox.status().open_records == 0


@pytest.mark.parametrize("sent", [False, True])
def test_a_bare_stop_time_completes_an_open_record(sent: bool, outbox: Outbox):
    """Also from a source that tells only the end of a run."""
    outbox.put(Intake("s", [entry(1, lasts_s=None)]))
    if sent:
        send(outbox)
    outbox.put(Intake("s", [], stops=[StopTime("r-1", START + timedelta(seconds=60))]))
    (waiting,) = taken(outbox)
    assert (waiting.is_stop, waiting.body) == (sent, entry(1).body)


def test_an_open_record_again_is_known_even_after_its_stop(outbox: Outbox):
    """An older view of a run does not take its stop time back."""
    outbox.put(Intake("s", [entry(1)]))
    assert outbox.put(Intake("s", [entry(1, lasts_s=None)])).outcomes == outcomes(known=1)
    send(outbox)
    assert outbox.put(Intake("s", [entry(1, lasts_s=None)])).outcomes == outcomes(known=1)


@pytest.mark.parametrize("sent", [False, True])
def test_another_stop_time_counts_only_from_a_source_that_corrects(sent: bool, outbox: Outbox):
    """Otherwise the first reading stands."""
    outbox.put(Intake("s", [entry(1)]))
    if sent:
        send(outbox)
    assert outbox.put(Intake("s", [entry(1, lasts_s=90)])).outcomes == outcomes(known=1)
    put = outbox.put(Intake("s", [entry(1, lasts_s=90)], may_correct_stop_time=True))
    assert put.outcomes == (outcomes(stop_queued=1) if sent else outcomes(merged=1))
    (waiting,) = taken(outbox)
    assert (waiting.is_stop, waiting.body) == (sent, entry(1, lasts_s=90).body)


def test_another_start_under_the_same_id_is_a_collision_with_both_versions(outbox: Outbox):
    """A wrapped job id, or a second cluster, is never swallowed; reading it again adds nothing."""
    outbox.put(Intake("s", [entry(1)]))
    other = entry(1, start=START + timedelta(days=1))
    for _ in range(2):
        assert outbox.put(Intake("s", [other])).outcomes == outcomes(collision=1)
    (row,) = outbox.rejected()
    assert (row.kind, row.record_id, row.raw, row.other_version) == (
        "collision",
        "r-1",
        other.body,
        entry(1).body,
    )
    assert [waiting.body for waiting in taken(outbox)] == [entry(1).body]


def test_a_collision_with_a_sent_record_names_its_times(outbox: Outbox):
    """The body of a sent record is gone; what the ledger knows is shown."""
    outbox.put(Intake("s", [entry(1)]))
    send(outbox)
    outbox.put(Intake("s", [entry(1, start=START + timedelta(days=1))]))
    (row,) = outbox.rejected()
    assert row.other_version is not None
    assert msgspec.json.decode(row.other_version)["start_time"] == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("stop", "reason"),
    [
        (StopTime("r-9", START), "not known"),
        (StopTime("r-1", START - timedelta(seconds=1)), "before"),
    ],
)
def test_an_impossible_stop_time_is_rejected_with_a_reason(
    stop: StopTime, reason: str, outbox: Outbox
):
    """For a run that nobody knows, and before the start."""
    outbox.put(Intake("s", [entry(1, lasts_s=None)]))
    assert outbox.put(Intake("s", [], stops=[stop])).outcomes == outcomes(unmappable=1)
    assert [reason in row.reason for row in outbox.rejected()] == [True]


def test_a_stop_that_comes_in_flight_turns_into_an_update_when_the_record_is_accepted(
    outbox: Outbox,
):
    """What was in flight had no stop time; the Auditor needs it still."""
    outbox.put(Intake("s", [entry(1, lasts_s=None)]))
    (in_flight,) = taken(outbox)
    outbox.put(Intake("s", [entry(1)]))
    outbox.settle([Verdict(in_flight, Outcome.SENT)])
    (update,) = taken(outbox)
    assert (update.is_stop, update.stop_time) == (True, START + timedelta(seconds=60))
    send(outbox)
    assert (taken(outbox), outbox.status().open_records) == ([], 0)


def test_a_stop_that_comes_in_flight_gives_a_rejected_record_another_chance(outbox: Outbox):
    """The verdict was about another content."""
    outbox.put(Intake("s", [entry(1, lasts_s=None)]))
    (in_flight,) = taken(outbox)
    outbox.put(Intake("s", [entry(1)]))
    outbox.settle([Verdict(in_flight, Outcome.REFUSED, "no")])
    assert [waiting.is_stop for waiting in taken(outbox)] == [False]
    assert rejections(outbox) == {}


def test_a_refused_record_is_in_rejected_with_the_words_and_is_not_sent_again(outbox: Outbox):
    """Until a person says retry, or it is read with another content."""
    outbox.put(Intake("s", [entry(1)]))
    outbox.settle([Verdict(waiting, Outcome.REFUSED, "the words") for waiting in taken(outbox)])
    (row,) = outbox.rejected()
    assert (row.kind, row.reason, row.raw) == ("refused", "the words", entry(1).body)
    assert outbox.put(Intake("s", [entry(1)])).outcomes == outcomes(refused=1)
    assert taken(outbox) == []
    assert outbox.put(Intake("s", [entry(1, cores=2)])).outcomes == outcomes(queued=1)


def test_a_kept_record_is_due_later_and_counts_only_real_tries(outbox: Outbox):
    """It stays in its place, and the others go on."""
    outbox.put(Intake("s", [entry(1), entry(2)]))
    one, two = taken(outbox)
    due_at = NOW + timedelta(seconds=10)
    outbox.settle(
        [
            Verdict(one, Outcome.RETRYING, due_at=due_at, own_fault=True),
            Verdict(two, Outcome.RETRYING, due_at=due_at),
        ]
    )
    assert taken(outbox, NOW + timedelta(seconds=9)) == []
    assert [(w.record_id, w.tries) for w in taken(outbox, due_at)] == [("r-1", 1), ("r-2", 0)]


def test_an_unmappable_job_is_kept_raw_once_and_leaves_when_it_can_be_mapped(outbox: Outbox):
    """However often its stretch is read again."""
    job = Unmappable("r-1", "no cores", b"raw\xff", "file:17")
    for _ in range(2):
        assert outbox.put(Intake("s", [], unmappable=[job], read=1)).rejected == 1
    (row,) = outbox.rejected()
    assert (row.kind, row.raw, row.where, row.reason) == (
        "unmappable",
        b"raw\xff",
        "file:17",
        "no cores",
    )
    outbox.put(Intake("s", [entry(1)]))
    assert rejections(outbox) == {}


def test_every_job_is_counted_by_source_origin_and_outcome(outbox: Outbox):
    """read + stops_read = filtered + queued + merged + stop_queued + known + unmappable +
    what the put found to be refused or colliding."""
    outbox.put(
        Intake(
            "s",
            [entry(1), entry(1), entry(2, lasts_s=None)],
            unmappable=[Unmappable(None, "torn", b"", "")],
            filtered={"never started": 2},
            read=6,
            origin="backfill",
        )
    )
    send(outbox)
    counts = outbox.status().counts
    assert counts == {
        ("s", "backfill", "read", ""): 6,
        ("s", "backfill", "filtered", "never started"): 2,
        ("s", "backfill", "queued", ""): 2,
        ("s", "backfill", "known", ""): 1,
        ("s", "backfill", "unmappable", ""): 1,
        ("s", "backfill", "sent", ""): 2,
    }


def test_the_ledger_forgets_after_its_days_but_never_an_open_record(tmp_path: Path, clock: Clock):
    """An open record of last year still gets its stop time."""
    limits = OutboxSection(min_free_bytes=0, ledger_days=1)
    with Outbox.open(tmp_path / "o.db", now=clock, limits=limits) as outbox:
        outbox.put(Intake("s", [entry(1), entry(2, lasts_s=None)]))
        send(outbox)
        clock.now += timedelta(days=365)
        outbox.put(Intake("s", [entry(3)]))
        outbox.settle([Verdict(waiting, Outcome.SENT) for waiting in taken(outbox, clock.now)])
        assert outbox.put(Intake("s", [entry(1)])).outcomes == outcomes(queued=1)
        assert outbox.put(Intake("s", [entry(2)])).outcomes == outcomes(stop_queued=1)
        assert outbox.put(Intake("s", [entry(3)])).outcomes == outcomes(known=1)


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        (OutboxSection(min_free_bytes=0, max_records=2), "max_records"),
        (OutboxSection(min_free_bytes=0, max_bytes=200), "max_bytes"),
        (OutboxSection(min_free_bytes=10**18), "min_free_bytes"),
    ],
)
def test_a_full_outbox_refuses_before_storing_and_says_which_limit(
    limits: OutboxSection, why: str, tmp_path: Path
):
    """Sources pause then; when there is room again the same put goes through."""
    with Outbox.open(tmp_path / "o.db", now=lambda: NOW, limits=LIMITS) as outbox:
        outbox.put(Intake("s", [entry(1), entry(2), entry(3)]))
    with Outbox.open(tmp_path / "o.db", now=lambda: NOW, limits=limits) as outbox:
        assert why in str(outbox.full())
        with pytest.raises(OutboxFullError, match=why):
            outbox.put(Intake("s", [entry(4)], checkpoint=1))
        assert (outbox.status().waiting, outbox.checkpoint("s")) == (3, None)
        send(outbox)
        if why != "min_free_bytes":
            assert outbox.put(Intake("s", [entry(4)], checkpoint=1)).outcomes[Outcome.QUEUED] == 1


def test_the_status_tells_how_the_polls_of_a_source_went(outbox: Outbox):
    """The last success, and the last error until it is over."""
    outbox.note_poll("s", ok=True, message="", now=NOW)
    outbox.note_poll("s", ok=False, message="no such file", now=NOW + timedelta(seconds=5))
    source = outbox.status().sources["s"]
    assert (source.last_success_at, source.last_error_at, source.last_error) == (
        NOW,
        NOW + timedelta(seconds=5),
        "no such file",
    )
    outbox.note_poll("s", ok=True, message="", now=NOW)
    assert outbox.status().sources["s"].last_error is None


def test_what_waits_is_weighed_and_dated(outbox: Outbox, clock: Clock):
    """Without counting millions of rows."""
    outbox.put(Intake("s", [entry(1), entry(2, lasts_s=None)]))
    clock.now += timedelta(hours=1)
    outbox.put(Intake("s", [entry(2), entry(3)]))
    status = outbox.status()
    assert (status.waiting, status.oldest_put_at) == (3, NOW)
    assert status.waiting_bytes == sum(len(waiting.body) for waiting in taken(outbox))
    send(outbox)
    status = outbox.status()
    assert (status.waiting, status.waiting_bytes, status.oldest_put_at) == (0, 0, None)


def test_a_mark_tells_what_is_left_of_what_was_put_before_it(outbox: Outbox):
    """What others put later does not count."""
    outbox.put(Intake("s", [entry(1), entry(2)]))
    mark = outbox.newest_id()
    outbox.put(Intake("s", [entry(3)]))
    assert outbox.waiting_up_to(mark) == 2
    outbox.settle([Verdict(taken(outbox)[0], Outcome.SENT)])
    assert outbox.waiting_up_to(mark) == 1
