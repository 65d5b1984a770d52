"""What the outbox makes of what it is given."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from collector.config import OutboxSection
from collector.outbox import Entry, Outbox, OutboxFullError, Put, Rejected, Verdict
from tests.outbox.filled import LIMITS, NOW, START, entry, send, taken


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
    outbox.put("s", [entry(2), entry(1, lasts_s=None)], origin="backfill", corrects=True)
    outbox.put("t", [entry(3)])
    out = taken(outbox)
    assert [waiting.record_id for waiting in out] == ["r-2", "r-1", "r-3"]
    assert out[0].body == entry(2).body
    assert (out[0].source, out[0].origin, out[0].corrects) == ("s", "backfill", True)
    assert (out[0].start_time, out[0].stop_time) == (START, START + timedelta(seconds=60))
    assert (out[1].stop_time, out[1].is_update) == (None, False)


def test_take_is_bounded_by_records_and_by_bytes_but_gives_always_one(outbox: Outbox):
    """A record that is longer than the limit is not stuck."""
    outbox.put("s", [entry(number) for number in range(10)])
    length = len(entry(0).body)
    assert len(outbox.take(3, 10**9, NOW)) == 3
    assert len(outbox.take(100, 4 * length, NOW)) == 4
    assert len(outbox.take(100, 1, NOW)) == 1


def test_a_checkpoint_is_stored_with_its_batch_and_kept_without_one(outbox: Outbox):
    """A backfill, which has none, leaves it."""
    assert outbox.checkpoint("s") is None
    outbox.put("s", [entry()], checkpoint={"position": [1, "ä"]})
    outbox.put("s", [entry(2)], checkpoint=None)
    assert outbox.checkpoint("s") == {"position": [1, "ä"]}


def test_a_failed_put_stores_nothing_at_all(outbox: Outbox):
    """Neither records nor checkpoint nor counts: one naive time takes the whole batch back."""
    naive = Entry("r-2", datetime(2026, 1, 1), None, b"{}")  # noqa: DTZ001 - that is the point
    with pytest.raises(TypeError):
        outbox.put("s", [entry(1), naive], checkpoint=1, read=2)
    status = outbox.status()
    assert (status.waiting, status.counts, outbox.checkpoint("s")) == (0, {}, None)


def test_the_same_record_again_is_known_while_it_waits_and_after_it_was_sent(outbox: Outbox):
    """An overlapping read sends nothing twice."""
    outbox.put("s", [entry()])
    assert outbox.put("s", [entry()]) == Put(known=1)
    send(outbox)
    assert outbox.put("s", [entry()]) == Put(known=1)
    assert outbox.put("other", [entry()]) == Put(known=1)
    assert taken(outbox) == []


def test_the_same_record_twice_in_a_batch_is_stored_once(outbox: Outbox):
    """HTCondor writes true duplicates."""
    assert outbox.put("s", [entry(), entry(), entry(2)]) == Put(new=2, known=1)
    assert len(taken(outbox)) == 2


def test_a_stop_joins_its_waiting_record(outbox: Outbox):
    """One insert is sent, with the stop time; also when both came in one batch."""
    outbox.put("s", [entry(1, lasts_s=None)])
    assert outbox.put("s", [entry(1)]) == Put(merged=1)
    assert outbox.put("s", [entry(2, lasts_s=None), entry(2)]) == Put(new=1, merged=1)
    assert [(w.is_update, w.body) for w in taken(outbox)] == [
        (False, entry(1).body),
        (False, entry(2).body),
    ]


def test_a_stop_for_a_sent_record_waits_as_an_update_that_holds_the_whole_record(outbox: Outbox):
    """So that an Auditor that lost the record can be given it whole."""
    outbox.put("s", [entry(1, lasts_s=None)])
    send(outbox)
    assert outbox.status().open_records == 1
    assert outbox.put("s", [entry(1)]) == Put(updated=1)
    (update,) = taken(outbox)
    assert (update.is_update, update.body) == (True, entry(1).body)
    assert outbox.status().open_records == 0


@pytest.mark.parametrize("sent", [False, True])
def test_a_bare_stop_time_completes_an_open_record(sent: bool, outbox: Outbox):
    """Also from a source that tells only the end of a run."""
    outbox.put("s", [entry(1, lasts_s=None)])
    if sent:
        send(outbox)
    outbox.put("s", [], stops=[("r-1", START + timedelta(seconds=60))])
    (waiting,) = taken(outbox)
    assert (waiting.is_update, waiting.body) == (sent, entry(1).body)


def test_an_open_record_again_is_known_even_after_its_stop(outbox: Outbox):
    """An older view of a run does not take its stop time back."""
    outbox.put("s", [entry(1)])
    assert outbox.put("s", [entry(1, lasts_s=None)]) == Put(known=1)
    send(outbox)
    assert outbox.put("s", [entry(1, lasts_s=None)]) == Put(known=1)


@pytest.mark.parametrize("sent", [False, True])
def test_another_stop_time_counts_only_from_a_source_that_corrects(sent: bool, outbox: Outbox):
    """Otherwise the first reading stands."""
    outbox.put("s", [entry(1)])
    if sent:
        send(outbox)
    assert outbox.put("s", [entry(1, lasts_s=90)]) == Put(known=1)
    put = outbox.put("s", [entry(1, lasts_s=90)], corrects=True)
    assert put == (Put(updated=1) if sent else Put(merged=1))
    (waiting,) = taken(outbox)
    assert (waiting.is_update, waiting.body) == (sent, entry(1, lasts_s=90).body)


def test_another_start_under_the_same_id_is_a_collision_with_both_versions(outbox: Outbox):
    """A wrapped job id, or a second cluster, is never swallowed; reading it again adds nothing."""
    outbox.put("s", [entry(1)])
    other = entry(1, start=START + timedelta(days=1))
    for _ in range(2):
        assert outbox.put("s", [other]) == Put(rejected=1)
    (row,) = outbox.rejected()
    assert (row.kind, row.record_id, row.raw, row.stored) == (
        "collision",
        "r-1",
        other.body,
        entry(1).body,
    )
    assert [waiting.body for waiting in taken(outbox)] == [entry(1).body]


def test_a_collision_with_a_sent_record_names_its_times(outbox: Outbox):
    """The body of a sent record is gone; what the ledger knows is shown."""
    outbox.put("s", [entry(1)])
    send(outbox)
    outbox.put("s", [entry(1, start=START + timedelta(days=1))])
    (row,) = outbox.rejected()
    assert row.stored is not None
    assert msgspec.json.decode(row.stored)["start_time"] == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("stop", "reason"),
    [
        (("r-9", START), "not known"),
        (("r-1", START - timedelta(seconds=1)), "before"),
    ],
)
def test_an_impossible_stop_time_is_rejected_with_a_reason(
    stop: tuple[str, datetime], reason: str, outbox: Outbox
):
    """For a run that nobody knows, and before the start."""
    outbox.put("s", [entry(1, lasts_s=None)])
    assert outbox.put("s", [], stops=[stop]) == Put(rejected=1)
    assert [reason in row.reason for row in outbox.rejected()] == [True]


def test_a_stop_that_comes_in_flight_turns_into_an_update_when_the_record_is_accepted(
    outbox: Outbox,
):
    """What was in flight had no stop time; the Auditor needs it still."""
    outbox.put("s", [entry(1, lasts_s=None)])
    (in_flight,) = taken(outbox)
    outbox.put("s", [entry(1)])
    outbox.settle([Verdict(in_flight, "sent")])
    (update,) = taken(outbox)
    assert (update.is_update, update.stop_time) == (True, START + timedelta(seconds=60))
    send(outbox)
    assert (taken(outbox), outbox.status().open_records) == ([], 0)


def test_a_stop_that_comes_in_flight_gives_a_rejected_record_another_chance(outbox: Outbox):
    """The verdict was about another content."""
    outbox.put("s", [entry(1, lasts_s=None)])
    (in_flight,) = taken(outbox)
    outbox.put("s", [entry(1)])
    outbox.settle([Verdict(in_flight, "rejected", "no")])
    assert [waiting.is_update for waiting in taken(outbox)] == [False]
    assert rejections(outbox) == {}


def test_a_refused_record_is_in_rejected_with_the_words_and_is_not_sent_again(outbox: Outbox):
    """Until a person says retry, or it is read with another content."""
    outbox.put("s", [entry(1)])
    outbox.settle([Verdict(waiting, "rejected", "the words") for waiting in taken(outbox)])
    (row,) = outbox.rejected()
    assert (row.kind, row.reason, row.raw) == ("refused", "the words", entry(1).body)
    assert outbox.put("s", [entry(1)]) == Put(rejected=1)
    assert taken(outbox) == []
    assert outbox.put("s", [entry(1, cores=2)]) == Put(new=1)


def test_a_kept_record_is_due_later_and_counts_only_real_tries(outbox: Outbox):
    """It stays in its place, and the others go on."""
    outbox.put("s", [entry(1), entry(2)])
    one, two = taken(outbox)
    due_at = NOW + timedelta(seconds=10)
    outbox.settle(
        [
            Verdict(one, "kept", due_at=due_at, counts=True),
            Verdict(two, "kept", due_at=due_at),
        ]
    )
    assert taken(outbox, NOW + timedelta(seconds=9)) == []
    assert [(w.record_id, w.tries) for w in taken(outbox, due_at)] == [("r-1", 1), ("r-2", 0)]


def test_an_unmappable_job_is_kept_raw_once_and_leaves_when_it_can_be_mapped(outbox: Outbox):
    """However often its stretch is read again."""
    job = Rejected("r-1", "no cores", b"raw\xff", "file:17")
    for _ in range(2):
        assert outbox.put("s", [], rejected=[job], read=1).rejected == 1
    (row,) = outbox.rejected()
    assert (row.kind, row.raw, row.place, row.reason) == ("job", b"raw\xff", "file:17", "no cores")
    outbox.put("s", [entry(1)])
    assert rejections(outbox) == {}


def test_every_job_is_counted_by_source_origin_and_outcome(outbox: Outbox):
    """read = filtered + new + merged + updated + known + rejected."""
    outbox.put(
        "s",
        [entry(1), entry(1), entry(2, lasts_s=None)],
        rejected=[Rejected(None, "torn", b"", "")],
        filtered={"never started": 2},
        read=6,
        origin="backfill",
    )
    send(outbox)
    counts = outbox.status().counts
    assert counts == {
        ("s", "backfill", "read", ""): 6,
        ("s", "backfill", "filtered", "never started"): 2,
        ("s", "backfill", "new", ""): 2,
        ("s", "backfill", "known", ""): 1,
        ("s", "backfill", "rejected", ""): 1,
        ("s", "backfill", "sent", ""): 2,
    }


def test_the_ledger_forgets_after_its_days_but_never_an_open_record(tmp_path: Path, clock: Clock):
    """An open record of last year still gets its stop time."""
    limits = OutboxSection(min_free_bytes=0, ledger_days=1)
    with Outbox.open(tmp_path / "o.db", now=clock, limits=limits) as outbox:
        outbox.put("s", [entry(1), entry(2, lasts_s=None)])
        send(outbox)
        clock.now += timedelta(days=365)
        outbox.put("s", [entry(3)])
        outbox.settle([Verdict(waiting, "sent") for waiting in taken(outbox, clock.now)])
        assert outbox.put("s", [entry(1)]) == Put(new=1)
        assert outbox.put("s", [entry(2)]) == Put(updated=1)
        assert outbox.put("s", [entry(3)]) == Put(known=1)


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
        outbox.put("s", [entry(1), entry(2), entry(3)])
    with Outbox.open(tmp_path / "o.db", now=lambda: NOW, limits=limits) as outbox:
        assert why in str(outbox.full())
        with pytest.raises(OutboxFullError, match=why):
            outbox.put("s", [entry(4)], checkpoint=1)
        assert (outbox.status().waiting, outbox.checkpoint("s")) == (3, None)
        send(outbox)
        if why != "min_free_bytes":
            assert outbox.put("s", [entry(4)], checkpoint=1).new == 1


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
    outbox.put("s", [entry(1), entry(2, lasts_s=None)])
    clock.now += timedelta(hours=1)
    outbox.put("s", [entry(2), entry(3)])
    status = outbox.status()
    assert (status.waiting, status.oldest_put_at) == (3, NOW)
    assert status.waiting_bytes == sum(len(waiting.body) for waiting in taken(outbox))
    send(outbox)
    status = outbox.status()
    assert (status.waiting, status.waiting_bytes, status.oldest_put_at) == (0, 0, None)


def test_a_mark_tells_what_is_left_of_what_was_put_before_it(outbox: Outbox):
    """What others put later does not count."""
    outbox.put("s", [entry(1), entry(2)])
    mark = outbox.newest_id()
    outbox.put("s", [entry(3)])
    assert outbox.waiting_up_to(mark) == 2
    outbox.settle([Verdict(taken(outbox)[0], "sent")])
    assert outbox.waiting_up_to(mark) == 1
