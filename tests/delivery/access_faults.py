"""Faults of access, for the same matrix: a role that is lost for a while, wholly or in part, and a
proxy that forbids, or breaks, some kinds of requests and passes the others.
"""

import itertools

from tests.delivery.faulty_auditor import Answer, Fault, Request, Script
from tests.delivery.matrix import RUNS, SCENARIOS, Outcome, scenario, some
from tests.delivery.world import World

__all__ = ["RUNS", "SCENARIOS"]

FORBIDDEN = Answer(403, b"Insufficient permissions")
PROXY_403 = Answer(403, b"<html><h1>Forbidden</h1></html>", {"content-type": "text/html"})
PROXY_502 = Answer(502, b"<html><h1>Bad Gateway</h1></html>", {"content-type": "text/html"})
OPEN, WHOLE, SOON = RUNS[:120], RUNS[120:200], RUNS[200:]


def to(fault: Fault, *methods: str, first: int = 0, last: int = 10**9) -> Script:
    """The n-th requests of some methods, from the first to the last, meet a fault."""
    seen = itertools.count()

    def script(request: Request) -> Fault:
        return fault if request.method in methods and first <= next(seen) <= last else None

    return script


def _stops_withheld(world: World, fault: Answer) -> Outcome:
    """Stop times cannot be sent for long; whole records that come after them are."""
    world.put(OPEN, stop=False)
    world.drain()
    world.put(OPEN)
    world.put(WHOLE)
    world.auditor.script = to(fault, "PUT")
    world.drain(5)
    held = world.held()
    assert len(held) == len(OPEN) + len(WHOLE), "whole records waited for stop times"
    assert world.sender.run_pass().state in ("paused", "unreachable")
    world.auditor.script = lambda _request: None
    world.put(SOON)
    world.drain()
    return Outcome(RUNS)


STOPS = "stop times wait and the state says why; all else is sent"


@scenario("403 for every stop time, and for nothing else", STOPS)
def forbids_stop_times(world: World) -> Outcome:
    return _stops_withheld(world, FORBIDDEN)


@scenario("502 from a proxy for every stop time, and for nothing else", STOPS)
def breaks_stop_times(world: World) -> Outcome:
    return _stops_withheld(world, PROXY_502)


@scenario("404 from a proxy for every stop time, and for nothing else", STOPS)
def hides_stop_times(world: World) -> Outcome:
    return _stops_withheld(world, Answer(404, b"<html>", {"content-type": "text/html"}))


@scenario("405 from a proxy for every stop time, and for nothing else", STOPS)
def knows_no_put(world: World) -> Outcome:
    return _stops_withheld(world, Answer(405, b"<html>", {"content-type": "text/html"}))


@scenario("404 as the Auditor's own for every stop time, though the records are there", STOPS)
def forgets_updates(world: World) -> Outcome:
    return _stops_withheld(world, Answer(404))


@scenario("the right to write is lost in the middle of a pass", "paused until it is back")
def write_is_lost(world: World) -> Outcome:
    world.put(RUNS)
    world.auditor.script = to(FORBIDDEN, "POST", "PUT", first=2)
    world.drain(3)
    assert world.sender.run_pass().state == "paused"
    world.auditor.script = lambda _request: None
    world.drain()
    return Outcome(RUNS)


@scenario("the right to read is lost while some are there already", "delivered as with write only")
def read_is_lost(world: World) -> Outcome:
    world.direct.bulk_insert([world.record(number) for number in RUNS[::7]])
    world.put(RUNS)
    world.auditor.script = to(FORBIDDEN, "GET", first=1)
    world.drain()
    return Outcome(RUNS)


@scenario(
    "502 from a proxy for everything that reads", "proved by sending again, as with write only"
)
def breaks_reading(world: World) -> Outcome:
    world.put(RUNS)
    world.auditor.script = to(PROXY_502, "GET")
    world.drain()
    return Outcome(RUNS)


@scenario(
    "502 from a proxy for everything that reads; some are there already",
    "the others are sent; these wait until they can be compared",
)
def breaks_comparing(world: World) -> Outcome:
    world.direct.bulk_insert([world.record(number) for number in RUNS[::50]])
    world.put(RUNS)
    world.auditor.script = to(PROXY_502, "GET")
    world.drain(5)
    assert len(world.held()) == len(RUNS), "new records waited for what is there already"
    world.auditor.script = lambda _request: None
    world.drain()
    return Outcome(RUNS)


def _some_fail(world: World, fault: Answer) -> Outcome:
    """Records without a stop time, and then whole ones, through a proxy that fails now and then."""
    world.put(OPEN, stop=False)
    world.auditor.script = some(3, fault)
    world.sender.run_pass()
    world.put(RUNS)
    world.drain(60)
    return Outcome(RUNS)


@scenario(
    "403 from a proxy for a third of the requests that carry a run, at random",
    "sent again; none is rejected",
)
def forbids_some(world: World) -> Outcome:
    return _some_fail(world, PROXY_403)


@scenario(
    "502 from a proxy for a third of the requests that carry a run, at random",
    "sent again with backoff",
)
def breaks_some(world: World) -> Outcome:
    return _some_fail(world, PROXY_502)


@scenario(
    "400 from a proxy for a third of the requests that carry a run, at random",
    "sent again; none is rejected",
)
def refuses_some(world: World) -> Outcome:
    world.put(RUNS)
    world.auditor.script = some(3, Answer(400, PROXY_502.body, PROXY_502.headers))
    world.drain(60)
    return Outcome(RUNS)
