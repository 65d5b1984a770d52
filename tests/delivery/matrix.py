"""The faults: what is done to a delivery, and what has to come out. For tests and `make faults`.

A scenario plays in a `World` and says what the Auditor must hold in the end, and what must have
been rejected. That nothing waits then, and that the Auditor holds nothing else, is checked for all.
"""

import gzip
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from collector.auditor.protocol import NO_RUN
from collector.record import decode
from tests.delivery.faulty_auditor import (
    Answer,
    Cut,
    Fault,
    Request,
    Script,
    Slow,
    Stall,
    Stripped,
    Warn,
)
from tests.delivery.world import World

UNEXPECTED = Answer(500, b"UNEXPECTED_ERROR")
RUNS = range(250)
"""Three batches."""


@dataclass
class Outcome:
    """What must be the case in the end."""

    held: Sequence[int]
    rejected: int = 0
    waiting: int = 0
    """Records that still wait, because nothing may be concluded about them."""
    open: bool = False
    """Whether what is held lacks its stop times."""


@dataclass
class Scenario:
    """A fault and what happens."""

    fault: str
    happens: str
    play: Callable[[World], Outcome]


SCENARIOS: dict[str, Scenario] = {}


def scenario(
    fault: str, happens: str
) -> Callable[[Callable[[World], Outcome]], Callable[[World], Outcome]]:
    """Enters a scenario under the name of its function."""

    def enter(play: Callable[[World], Outcome]) -> Callable[[World], Outcome]:
        SCENARIOS[play.__name__] = Scenario(fault, happens, play)
        return play

    return enter


def first(number: int, fault: Fault, *methods: str) -> Script:
    """The first requests meet a fault, those after them do not."""
    left: Iterator[Fault] = iter([fault] * number)
    return lambda request: next(left, None) if request.method in (methods or ("POST",)) else None


def every(number: int, fault: Fault) -> Script:
    """Every n-th request that carries a record of a run meets a fault."""
    seen = itertools.count(1)

    def script(request: Request) -> Fault:
        return fault if _carries_a_run(request) and next(seen) % number == 0 else None

    return script


def some(number: int, fault: Fault) -> Script:
    """One of n requests that carry a record of a run meets a fault, at random, the same each time.

    Every n-th may be the same step of each pass for ever, which is no proxy's way.
    """
    dice = random.Random(number)

    def script(request: Request) -> Fault:
        return fault if _carries_a_run(request) and dice.random() * number < 1 else None

    return script


def _carries_a_run(request: Request) -> bool:
    return b'"record_id"' in request.body and NO_RUN.encode() not in request.body


def about(world: World, numbers: Sequence[int], fault: Fault) -> Script:
    """Requests that hold one of these runs meet a fault."""
    marks = [f'"{world.prefix}-{number}"'.encode() for number in numbers]
    return lambda request: fault if any(mark in request.body for mark in marks) else None


def _outage(fault: Fault, *methods: str) -> Callable[[World], Outcome]:
    def play(world: World) -> Outcome:
        world.put(RUNS)
        world.auditor.script = first(3, fault, *methods)
        world.drain()
        return Outcome(RUNS)

    return play


KEPT = "all is kept; sent again with backoff; told once when it begins and once when it ends"
PAUSED = "all is kept; the sender pauses, says so once, and tries again slowly"
_OUTAGES: list[tuple[str, Fault, tuple[str, ...], str, str]] = [
    ("refuses_connections", Cut("before"), ("POST", "GET"), "connections are cut", KEPT),
    ("answers_429", Answer(429), ("POST", "GET"), "429 Too Many Requests", KEPT),
    ("answers_502", Answer(502, b"<html>"), ("POST", "GET"), "502 from a proxy", KEPT),
    ("answers_503", Answer(503), ("POST", "GET"), "503 from a proxy", KEPT),
    ("answers_504", Answer(504), ("POST", "GET"), "504 from a proxy", KEPT),
    (
        "database_away",
        UNEXPECTED,
        ("POST", "GET"),
        "UNEXPECTED_ERROR, health check fails too",
        KEPT,
    ),
    ("answers_401", Answer(401), ("POST", "GET"), "401 Unauthorized", PAUSED),
    ("answers_403", Answer(403), ("POST", "GET"), "403 Forbidden", PAUSED),
    ("answers_404", Answer(404, b"not found"), ("POST", "GET"), "404 for every path", PAUSED),
    ("answers_301", Answer(301, b"", {"location": "/"}), ("POST", "GET"), "a redirect", PAUSED),
    ("answers_html", Answer(200, b"<html>"), ("POST",), "200 from a portal", PAUSED),
    (
        "answers_html_to_all",
        Answer(200, b"<html>", {"content-type": "text/html"}),
        ("POST", "GET", "PUT"),
        "200 from a portal, to every request",
        PAUSED,
    ),
    ("answers_nothing", Answer(200), ("POST",), "200 without a text from a proxy", PAUSED),
    (
        "answers_nothing_to_all",
        Answer(200),
        ("POST", "GET", "PUT"),
        "200 without a text from a proxy, to every request",
        PAUSED,
    ),
    (
        "answers_typed_nothing",
        Answer(200, b"", {"content-type": "text/html"}),
        ("POST",),
        "200 without a text, and a content type",
        PAUSED,
    ),
    (
        "answers_no_length",
        Answer(200, b"", {"content-length": ""}),
        ("POST",),
        "200 that breaks off after its head",
        PAUSED,
    ),
    (
        "answers_latin_1",
        Answer(200, b'{"message": "acc\xe8s refus\xe9"}', {"content-type": "application/json"}),
        ("POST",),
        "200 with Latin-1 that says JSON",
        PAUSED,
    ),
    ("answers_nesting", Answer(200, b"[" * 50_000), ("POST",), "200 with deep nesting", PAUSED),
    (
        "answers_packed",
        Answer(200, gzip.compress(bytes(2**20)), {"content-encoding": "gzip, gzip"}),
        ("POST",),
        "200 in an encoding that was not asked for",
        PAUSED,
    ),
    (
        "answers_a_far_date",
        Answer(
            503,
            b"busy",
            {
                "retry-after": "Wed, 21 Oct 99999999999 07:28:00 GMT",
                "date": "Wed, 21 Oct 2026 07:28:00 GMT",
            },
        ),
        ("POST", "GET"),
        "503, to be tried again in the year 99999999999",
        KEPT,
    ),
    ("answers_511", Answer(511, b"log in"), ("POST", "GET"), "511 from a portal", PAUSED),
    ("stalls", Stall(1.5), ("POST",), "no answer, and nothing stored", KEPT),
    ("answers_418", Answer(418, b"teapot"), ("POST",), "an answer that no Auditor gives", PAUSED),
    (
        "answers_400_to_all",
        Answer(400, b"<html>"),
        ("POST", "GET"),
        "a proxy that refuses all",
        KEPT,
    ),
    ("torn_answers", Cut("within"), ("POST",), "the answer breaks off", "found there, content"),
    ("lost_answers", Cut("after"), ("POST",), "stored, but the answer is lost", "found, content"),
]
for _name, _fault, _methods, _text, _happens in _OUTAGES:
    SCENARIOS[_name] = Scenario(_text, _happens, _outage(_fault, *_methods))


@scenario(
    "a proxy strips the length of every answer", "each is asked about; delayed, and not stopped"
)
def strips_lengths(world: World) -> Outcome:
    world.direct.bulk_insert([world.record(number) for number in RUNS[::100]])
    world.put(RUNS[:150])
    world.put(RUNS[150:], stop=False)
    world.auditor.script = lambda _request: Stripped()
    world.drain()
    world.put(RUNS[150:])
    world.drain()
    return Outcome(RUNS)


@scenario("200 without a text from a proxy, from the second batch on", PAUSED)
def answers_nothing_later(world: World) -> Outcome:
    world.put(RUNS)
    posts = itertools.count()
    world.auditor.script = lambda request: (
        Answer(200) if request.kind == "POST /records" and 1 <= next(posts) <= 3 else None
    )
    world.drain()
    return Outcome(RUNS)


@scenario("200 without a text from a proxy, in answer to every stop time", PAUSED)
def answers_nothing_to_stops(world: World) -> Outcome:
    _with_open(world)
    world.auditor.script = first(300, Answer(200), "PUT")
    world.drain()
    return Outcome(RUNS)


@scenario("200 from a portal, in answer to a stop time", PAUSED)
def answers_html_to_stops(world: World) -> Outcome:
    _with_open(world)
    world.auditor.script = first(20, Answer(200, b"<html>log in</html>"), "PUT")
    world.drain()
    return Outcome(RUNS)


@scenario(
    "too slow for more than 30 records at a time, and undone when the client hangs up",
    "smaller batches, until answers are quick",
)
def too_slow_for_batches(world: World) -> Outcome:
    world.put(RUNS)
    stall = Stall(1.3)
    world.auditor.script = lambda request: (
        stall if request.body.count(b'"record_id"') > 30 else None
    )
    world.drain()
    return Outcome(RUNS)


@scenario("504 for more than 30 records at a time", "smaller batches, until answers are quick")
def gateway_too_slow_for_batches(world: World) -> Outcome:
    world.put(RUNS)
    busy = Answer(504)
    world.auditor.script = lambda request: busy if request.body.count(b'"record_id"') > 30 else None
    world.drain()
    return Outcome(RUNS)


@scenario(
    "502 for more than 30 records at a time, healthy", "smaller batches, until answers are quick"
)
def gateway_hangs_up_on_batches(world: World) -> Outcome:
    world.put(RUNS)
    bad = Answer(502)
    world.auditor.script = lambda request: bad if request.body.count(b'"record_id"') > 30 else None
    world.drain()
    return Outcome(RUNS)


@scenario(
    "504 for one record, as long as 20 requests hold it",
    "it is tried by itself from then on, and holds nothing else up",
)
def one_slow_record(world: World) -> Outcome:
    world.put(RUNS)
    left = itertools.count()
    slow = about(world, [123], Answer(504))
    world.auditor.script = lambda request: (
        slow(request) if slow(request) is None or next(left) < 20 else None
    )
    world.drain(12)
    others = [number for number in RUNS if number != 123]
    assert world.holds(others), "one record held the others up"
    world.drain()
    return Outcome(RUNS)


@scenario(
    "403 from a firewall, for one record's text", "narrowed down and refused; the others stored"
)
def firewall_refuses_one(world: World) -> Outcome:
    world.direct.bulk_insert([world.record(0)])
    world.put(RUNS)
    world.auditor.script = about(world, [123], Answer(403, b"<html>blocked</html>"))
    world.drain()
    return Outcome([number for number in RUNS if number != 123], rejected=1)


@scenario("400 from a firewall to every record, healthy", "an outage: nothing is refused")
def firewall_refuses_all(world: World) -> Outcome:
    world.direct.bulk_insert([world.record(0)])
    world.put(RUNS)
    refused = Answer(400, b"<html>")
    world.auditor.script = lambda request: (
        refused if request.method == "POST" and len(request.body) > 2 else None
    )
    world.drain(10)
    world.auditor.script = lambda _request: None
    world.drain()
    return Outcome(RUNS)


@scenario("every 2nd answer is lost", "the retry finds its records there and is content")
def loses_every_other_answer(world: World) -> Outcome:
    world.put(RUNS)
    world.auditor.script = every(2, Cut("after"))
    world.drain(30 if world.reads else 600)  # who may not read finds them one by one
    return Outcome(RUNS)


@scenario("no answer within the time-out, though stored", "the retry finds its records there")
def too_slow(world: World) -> Outcome:
    world.put(RUNS)
    world.auditor.script = first(1, Slow(1.5))
    world.drain()
    return Outcome(RUNS)


@scenario("RECORD_EXISTS: all are there", "one query for a batch finds them; nothing else is sent")
def all_duplicates(world: World) -> Outcome:
    world.direct.bulk_insert([world.record(number) for number in RUNS])
    world.put(RUNS)
    world.drain()
    assert len(world.auditor.requests) <= 2 * 3 or world.rights
    return Outcome(RUNS)


@scenario("RECORD_EXISTS: one in a hundred is there", "one query for a batch; the others are sent")
def some_duplicates(world: World) -> Outcome:
    world.direct.bulk_insert([world.record(number) for number in RUNS[::100]])
    world.put(RUNS)
    world.drain()
    assert len(world.auditor.requests) <= 3 * 3 or world.rights
    return Outcome(RUNS)


@scenario("200 with a warning: nothing was stored", "as RECORD_EXISTS")
def warns_of_duplicates(world: World) -> Outcome:
    world.direct.bulk_insert([world.record(number) for number in RUNS[::100]])
    world.put(RUNS)
    world.auditor.script = lambda _request: Warn()
    world.drain()
    return Outcome(RUNS)


@scenario("RECORD_EXISTS: stored without a stop time", "the stop time is sent")
def stored_open(world: World) -> Outcome:
    world.direct.bulk_insert([world.record(number, stop=False) for number in RUNS])
    world.put(RUNS)
    world.drain()
    return Outcome(RUNS, open=not world.reads)


@scenario("RECORD_EXISTS: another run under the same id", "rejected as a collision, both versions")
def collisions(world: World) -> Outcome:
    other = world.record(7, cores=1)
    other.record_id = f"{world.prefix}-8"
    world.direct.bulk_insert([world.record(7), other])
    world.put(RUNS)
    world.drain()
    if not world.reads:
        return Outcome(RUNS)
    (row,) = world.outbox.rejected()
    assert row.reason.startswith("another run is stored under this id: start_time 2")
    assert decode(row.other_version or b"").components == other.components
    assert decode(row.raw) == world.record(8)
    assert world.held()[other.record_id].components == other.components
    return Outcome(RUNS, rejected=1)


@scenario(
    "RECORD_EXISTS: the same run with other amounts",
    "rejected as a collision that names them, both versions",
)
def other_amounts(world: World) -> Outcome:
    other = world.record(7, cores=1)
    world.direct.bulk_insert([other])
    world.put(RUNS)
    world.drain()
    if not world.reads:
        return Outcome(RUNS)
    (row,) = world.outbox.rejected()
    amounts = "components Cores 1, Memory 16000"
    assert (row.kind, row.reason) == (
        "collision",
        f"the same run is stored with other amounts: {amounts}; another mapping?",
    )
    assert world.held()[other.record_id].components == other.components
    return Outcome(RUNS, rejected=1)


@scenario("413 from 10,000 bytes on", "smaller batches, remembered")
def too_large(world: World) -> Outcome:
    world.put(RUNS)
    refuse = Answer(413)
    world.auditor.script = lambda request: refuse if len(request.body) > 10_000 else None
    world.drain()
    before = world.auditor.faults
    world.put(range(1000, 1100))
    world.drain()
    assert world.auditor.faults == before, "the smaller limit was forgotten"
    return Outcome([*RUNS, *range(1000, 1100)])


@scenario(
    "400 for one record", "narrowed down, rejected with the server's words; the others stored"
)
def refuses_one(world: World) -> Outcome:
    world.put(RUNS)
    world.auditor.script = about(world, [123], Answer(400, b"Json deserialize error: no"))
    world.drain()
    return Outcome([number for number in RUNS if number != 123], rejected=1)


@scenario(
    "400 for one record, and the client's role may not ask for health",
    "as above: a 403 to the health check is an answer",
)
def refuses_one_and_its_health(world: World) -> Outcome:
    world.put(RUNS)
    refused = about(world, [123], Answer(400, b"Json deserialize error: no"))

    def script(request: Request) -> Fault:
        if request.kind == "GET /health_check":
            return Answer(403)
        return refused(request)

    world.auditor.script = script
    world.drain()
    return Outcome([number for number in RUNS if number != 123], rejected=1)


@scenario("UNEXPECTED_ERROR for one record, healthy", "narrowed down; rejected after 10 tries")
def poison(world: World) -> Outcome:
    world.put(RUNS)
    world.auditor.script = about(world, [123], UNEXPECTED)
    world.drain()
    return Outcome([number for number in RUNS if number != 123], rejected=1)


@scenario("UNEXPECTED_ERROR for 40 neighbours", "each is rejected; the others go through")
def much_poison(world: World) -> Outcome:
    world.put(RUNS)
    guilty = range(100, 140)
    world.auditor.script = about(world, guilty, UNEXPECTED)
    world.drain()
    return Outcome([number for number in RUNS if number not in guilty], rejected=len(guilty))


def _refused_by_control(world: World, held: Sequence[int], guilty: int) -> Outcome:
    """Who may not read has nothing to make a control of, until one of its records is stored."""
    if not world.reads:
        assert world.outbox.status().waiting == guilty
        assert not world.outbox.status().rejected
        world.put([50])
        world.drain(90)
        held = [*held, 50]
    return Outcome(held, rejected=guilty)


@scenario(
    "UNEXPECTED_ERROR for the only record that waits, healthy",
    "rejected after 10 tries; a control shows each time that others are taken",
)
def lone_poison(world: World) -> Outcome:
    world.direct.bulk_insert([world.record(0)])
    world.put([123])
    world.auditor.script = about(world, [123], UNEXPECTED)
    world.drain()
    return _refused_by_control(world, [0], 1)


@scenario("UNEXPECTED_ERROR for each of 40 that wait, healthy", "as for the only one")
def lone_neighbours(world: World) -> Outcome:
    guilty = range(100, 140)
    world.direct.bulk_insert([world.record(0)])
    world.put(guilty)
    world.auditor.script = about(world, guilty, UNEXPECTED)
    world.drain()
    return _refused_by_control(world, [0], len(guilty))


@scenario("UNEXPECTED_ERROR for everything, healthy; one record waits", "an outage: it is kept")
def refuses_everything_of_one(world: World) -> Outcome:
    world.direct.bulk_insert([world.record(0)])
    world.put([123])
    world.auditor.script = lambda request: UNEXPECTED if request.method == "POST" else None
    world.drain()
    assert len(world.auditor.requests) <= 31 * 7, "a storm"
    world.auditor.script = lambda _request: None
    world.drain()
    return Outcome([0, 123])


@scenario("UNEXPECTED_ERROR for everything, healthy", "an outage: nothing is rejected")
def refuses_everything(world: World) -> Outcome:
    world.put(RUNS)
    world.auditor.script = lambda request: UNEXPECTED if request.method == "POST" else None
    for _ in range(10):
        world.sender.run_pass()
        world.time += timedelta(seconds=90)
    assert len(world.auditor.requests) < 10 * 3 * 66, "a storm"
    world.auditor.script = lambda _request: None
    world.drain()
    return Outcome(RUNS)


@scenario(
    "UNEXPECTED_ERROR from the middle of a pass on, healthy", "an outage: nothing is rejected"
)
def fills_up(world: World) -> Outcome:
    world.put(RUNS)
    posts = itertools.count()
    world.auditor.script = lambda request: (
        UNEXPECTED if request.method == "POST" and next(posts) >= 2 else None
    )
    for _ in range(10):
        world.sender.run_pass()
        world.time += timedelta(seconds=90)
    world.auditor.script = lambda _request: None
    world.drain()
    return Outcome(RUNS)


@scenario(
    "UNEXPECTED_ERROR, healthy: the Auditor's disk has room for 30 records, then for none",
    "an outage: nothing is rejected",
)
def fills_up_to_the_last_row(world: World) -> Outcome:
    world.put(RUNS)
    room = [30]

    def script(request: Request) -> Fault:
        rows = request.body.count(b'"record_id"')
        if request.method != "POST" or rows > room[0]:
            return UNEXPECTED if request.method == "POST" else None
        room[0] -= rows
        return None

    world.auditor.script = script
    world.drain(10)
    assert len(world.held()) > 15
    world.auditor.script = lambda _request: None
    world.drain()
    return Outcome(RUNS)


def _with_open(world: World, numbers: Sequence[int] = RUNS) -> None:
    world.put(numbers, stop=False)
    world.drain()
    world.put(numbers)


@scenario("a stop time for a record that is not there (404)", "the record is inserted whole")
def update_unknown(world: World) -> Outcome:
    world.put(RUNS, stop=False)
    world.auditor.script = lambda request: Answer(200) if request.method == "POST" else None
    world.drain()
    world.auditor.script = lambda _request: None
    world.put(RUNS)
    world.drain()
    return Outcome(RUNS)


@scenario("one stop time is refused for ever", "rejected; the other stop times go through")
def bad_update(world: World) -> Outcome:
    _with_open(world)
    world.auditor.script = about(world, [5], UNEXPECTED)
    world.drain()
    world.direct.update(world.record(5))
    return Outcome(RUNS, rejected=1)


@scenario(
    "the only stop time that waits is refused for ever", "rejected after 10 tries, as a record"
)
def lone_bad_update(world: World) -> Outcome:
    _with_open(world, [5])
    world.auditor.script = about(world, [5], UNEXPECTED)
    world.direct.bulk_insert([world.record(0)])
    world.drain()
    outcome = _refused_by_control(world, [0, 5], 1)
    world.direct.update(world.record(5))
    return outcome


@scenario("all stop times are refused, healthy", "an outage: nothing is rejected")
def refuses_all_updates(world: World) -> Outcome:
    some = RUNS[:20]
    _with_open(world, some)
    world.auditor.script = lambda request: UNEXPECTED if request.method == "PUT" else None
    world.drain(10)
    world.auditor.script = lambda _request: None
    world.drain()
    return Outcome(some)


@scenario("connections are cut while stop times are sent", KEPT)
def cut_updates(world: World) -> Outcome:
    _with_open(world)
    world.auditor.script = every(20, Cut("after"))
    world.drain()
    return Outcome(RUNS)


@scenario("the stop comes while its record is in flight", "it is sent as soon as that is accepted")
def stop_in_flight(world: World) -> Outcome:
    world.put(RUNS, stop=False)
    put = [False]

    def script(_request: Request) -> Fault:
        if not put[0]:
            put[0] = True
            world.put(RUNS)
        return None

    world.auditor.script = script
    world.drain()
    return Outcome(RUNS)


@scenario("the sender dies between the answer and its settling", "found there, content")
def dies_before_settling(world: World) -> Outcome:
    world.put(RUNS)
    for waiting in (world.outbox.take(100, 10**6, world.now()), []):
        if waiting:
            world.client.bulk_insert_encoded([entry.body for entry in waiting])
        world.restart_sender()
    world.drain()
    return Outcome(RUNS)
