"""When the sender tries, waits, pauses, and what it says of it."""

import threading
from datetime import timedelta
from pathlib import Path

import pytest

from collector.auditor.client import AuditorClientBuilder
from collector.outbox import (
    OutboxError,
    Outcome,
    SenderState,
)
from tests.delivery.faulty_auditor import Answer, Cut, Request
from tests.delivery.matrix import UNEXPECTED, about, first
from tests.delivery.world import NOW, SETTINGS, World, new_world


def test_an_outage_is_told_once_when_it_begins_and_once_when_it_ends(world: World):
    """However many passes fail in between."""
    world.put(range(10))
    world.auditor.script = lambda _request: Answer(503)
    for _ in range(5):
        world.sender.run_pass()
        world.time += timedelta(seconds=100)
    world.auditor.script = lambda _request: None
    world.drain()
    assert len(world.said("warning")) == 1
    assert [event["event"] for event in world.said("info")] == ["sending again", "sent"]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_access_is_a_pause_told_loudly_and_shown(status: int, world: World):
    """The log has it once, at error level; the status says what happened; nothing is rejected."""
    world.put(range(10))
    world.auditor.script = lambda _request: Answer(status)
    for _ in range(3):
        assert world.sender.run_pass().state == "paused"
        world.time += timedelta(seconds=100)
    shown = world.outbox.status()
    assert len(world.said("error")) == 1
    assert shown.sender is not None
    assert (shown.sender.state, str(status) in shown.sender.reason) == ("paused", True)
    assert (shown.waiting, shown.rejected) == (10, {})


def test_a_pause_is_slow(world: World):
    """After a 403 the next try comes after half of the cap, at the earliest."""
    world.put(range(10))
    world.auditor.script = lambda _request: Answer(403)
    world.sender.run_pass()
    first_try = len(world.auditor.requests)
    world.time += timedelta(seconds=29)
    world.sender.run_pass()
    assert len(world.auditor.requests) == first_try
    world.time += timedelta(seconds=32)
    world.sender.run_pass()
    assert len(world.auditor.requests) > first_try


def test_a_returning_auditor_is_probed_before_it_gets_a_batch(world: World):
    """Each try after a failure costs one small request until one goes well."""
    world.put(range(250))
    world.auditor.script = lambda _request: Cut()
    for _ in range(4):
        world.sender.run_pass()
        world.time += timedelta(seconds=100)
    assert [request.kind for request in world.auditor.requests] == [
        "POST /records",
        *["GET /health_check"] * 3,
    ]


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry-after": "1200"}, 1200),
        (
            {
                "retry-after": "Thu, 01 Jan 2026 00:20:00 GMT",
                "date": "Thu, 01 Jan 2026 00:00:00 GMT",
            },
            1200,
        ),
        ({"retry-after": "soon"}, 1),
    ],
)
def test_retry_after_wins(headers: dict[str, str], wait_s: int, world: World):
    """We do not come back before the server's word on it, be it seconds or a date."""
    world.put(range(10))
    world.auditor.script = first(1, Answer(503, b"", headers))
    world.sender.run_pass()
    world.time = NOW + timedelta(seconds=wait_s - 1)
    assert world.sender.run_pass().outcomes[Outcome.SENT] == 0
    world.time = NOW + timedelta(seconds=wait_s + SETTINGS.backoff_cap_s + 1)
    assert world.sender.run_pass().outcomes[Outcome.SENT] == 10


def test_a_clock_that_is_set_back_ends_a_wait(world: World):
    """After a step back of a day the sender does not wait for a day."""
    world.put(range(10))
    world.auditor.script = first(1, Answer(503))
    world.sender.run_pass()
    world.time -= timedelta(days=1)
    assert world.sender.run_pass().outcomes[Outcome.SENT] == 10


def test_a_machine_that_was_suspended_for_days_goes_on_at_once(world: World):
    """The wait of an outage, and those of refused records, are over; nothing is sent twice."""
    world.put(range(10))
    world.auditor.script = about(world, [3], UNEXPECTED)
    world.sender.run_pass()
    world.auditor.script = lambda _request: Answer(503, b"", {"retry-after": "3600"})
    world.put(range(10, 20))
    world.sender.run_pass()
    world.auditor.script = lambda _request: None
    world.time += timedelta(days=3)
    assert world.sender.run_pass().outcomes[Outcome.SENT] == 11
    assert world.holds(range(20))
    before = len(world.auditor.requests)
    world.sender.run_pass()
    assert len(world.auditor.requests) == before


def test_a_clock_that_is_set_back_does_not_strand_a_record_that_waits_for_its_retry(world: World):
    """A record that is due a month ahead, because the clock was wrong, is due."""
    world.put(range(10))
    poison = Answer(500, b"UNEXPECTED_ERROR")
    world.time += timedelta(days=30)
    world.auditor.script = lambda request: poison if request.method == "POST" else None
    world.sender.run_pass()
    world.auditor.script = lambda _request: None
    world.time -= timedelta(days=30)
    assert world.sender.run_pass().outcomes[Outcome.SENT] == 10


def test_a_sick_auditor_is_an_outage_for_stop_times_too(world: World):
    """Its health check fails as well: no stop time is blamed, and no storm begins."""
    world.put(range(20), stop=False)
    world.drain()
    world.put(range(20))
    world.auditor.script = lambda _request: Answer(500, b"UNEXPECTED_ERROR")
    assert world.sender.run_pass().state == "unreachable"
    assert {waiting.tries for waiting in world.outbox.take(100, 10**6, world.now())} == {0}


def test_an_auditor_that_refuses_everything_though_it_is_healthy_is_an_outage_told_once(
    world: World,
):
    """It is over when something is taken, not when a health check says so."""
    world.put([1])
    world.auditor.script = lambda request: UNEXPECTED if request.method == "POST" else None
    for _ in range(40):
        assert world.sender.run_pass().state == "unreachable"
        world.time += timedelta(seconds=7)
    world.auditor.script = lambda _request: None
    world.drain()
    assert [event["event"] for event in world.log if event["event"] != "sent"] == [
        "sending interrupted; records wait in the outbox",
        "sending again",
    ]


def test_a_minute_of_overload_blames_no_record(world: World):
    """An Auditor under load refuses one record and takes others; that passes before the verdict."""
    world.put(range(10))
    world.auditor.script = about(world, [3], UNEXPECTED)
    while world.time < NOW + timedelta(minutes=1):
        world.sender.run_pass()
        world.time += timedelta(seconds=1)
    world.auditor.script = lambda _request: None
    world.drain()
    assert world.outbox.status().rejected == {}
    assert world.holds(range(10))


def test_an_idle_sender_asks_once_whether_the_auditor_is_there(world: World):
    """A wrong address is known before the first job ends; then there are no requests, no log."""
    for _ in range(3):
        assert world.sender.run_pass().state is SenderState.IDLE
    assert [request.target for request in world.auditor.requests] == ["/health_check"]
    assert world.log == []


def test_an_auditor_that_never_answered_is_known_before_the_first_record(world: World):
    """Unreachable, not idle; idle as soon as it answers."""
    world.auditor.close()
    assert world.sender.run_pass().state is SenderState.UNREACHABLE
    status = world.outbox.status()
    assert status.waiting == 0
    assert status.sender is not None
    assert status.sender.state is SenderState.UNREACHABLE


def test_stop_ends_a_pass_after_the_batch_in_flight(world: World):
    """What was answered is settled, the rest stays."""
    world.put(range(250))

    def script(_request: object) -> None:
        world.stop.set()

    world.auditor.script = script
    world.sender.run_pass()
    sent = 250 - world.outbox.status().waiting
    assert world.auditor.count("POST /records") * 100 == sent or sent == 200
    assert len(world.held()) == sent


def test_stop_times_are_sent_at_the_same_time(world: World):
    """Several connections are in use, and are used again."""
    world.put(range(64), stop=False)
    world.drain()
    world.put(range(64))
    together = threading.Barrier(4, timeout=10)

    def script(request: Request) -> None:
        if request.method == "PUT":
            together.wait()

    world.auditor.script = script
    assert world.sender.run_pass().outcomes[Outcome.STOP_SENT] == 64


def test_an_equal_stop_time_is_not_sent_again_and_a_corrected_one_is(world: World):
    """Reading a run again costs nothing; a correction, from a source that corrects, goes out."""
    world.put([1])
    world.drain()
    before = len(world.auditor.requests)
    assert world.put([1], corrects=True).outcomes[Outcome.KNOWN] == 1
    world.drain()
    assert len(world.auditor.requests) == before
    assert world.put([1], corrects=True, stop=1800).outcomes[Outcome.STOP_QUEUED] == 1
    world.drain()
    assert world.holds([1], stop=1800)


def test_only_one_process_sends(world: World):
    """A pass while another holds the sender's lock does nothing and says so."""
    world.put([1])
    with world.outbox.held_by_sender():
        assert world.sender.run_pass().elsewhere
    assert world.sender.run_pass().outcomes[Outcome.SENT] == 1


def test_a_disk_that_is_full_loses_no_verdict(world: World, monkeypatch: pytest.MonkeyPatch):
    """Records that were sent but could not be settled are found in the Auditor later."""
    world.put(range(250))

    def fails(_verdicts: object) -> None:
        raise OutboxError("outbox.db: no room on the file system")

    with monkeypatch.context() as patched:
        patched.setattr(world.outbox, "settle", fails)
        assert world.sender.run_pass().state == "unreachable"
    world.drain()
    assert world.holds(range(250))
    assert world.outbox.status().counts["here", "poll", "already_there", ""] >= 100


def test_a_bad_certificate_is_a_pause(tmp_path: Path, behind: str):
    """TLS that fails needs somebody; TLS spoken to a plain port is one case of it."""
    with new_world(tmp_path, behind, timeout_s=2) as world:
        world.put([1])
        tls_url = world.auditor.url.replace("http:", "https:")
        with AuditorClientBuilder().connection_string(tls_url).build_blocking() as client:
            world.client = client
            world.restart_sender()
            assert world.sender.run_pass().state == "paused"
        assert world.outbox.status().waiting == 1
