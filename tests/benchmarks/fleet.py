"""Many collectors before one Auditor: start-up, every day, an outage; and how many one carries.

    python tests/benchmarks/fleet.py [--size 200] [--auditor real] [--full]

The collectors are daemons, each a process with an outbox and an HTCondor history of its own, in
which jobs go on ending at random. Between them and the Auditor stands a proxy that notes when each
request arrives. For the outage the Auditor is killed with SIGKILL. All of it runs on this machine,
over loopback, and shares its cores: an Auditor with a machine of its own takes more.

`real` is the public server on a PostgreSQL of its own; see tests/real_auditor/served.py for what
has to be there. `--full` takes longer: 60 s of an ordinary day, and a longer outage and cap.
"""

import argparse
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.htcondor import write
from tests.delivery.faulty_auditor import Cut, FaultyAuditor, faulty_auditor
from tests.operation import capacity
from tests.operation.fleet import Fleet, Intervals, busiest, first_of_each, stored
from tests.real_auditor import served

LIMIT_S = 180.0
NODES = 10_000
CAP_S = 300
"""The default of `sender.backoff_cap_s`."""


class Pace(msgspec.Struct, frozen=True):
    """How long the parts take."""

    intervals: Intervals
    steady_s: float
    outage_s: float
    capacity_s: float
    """For each size of request."""


SHORT = Pace(Intervals(poll_s=5, pass_s=5, backoff_s=1, cap_s=20), 10, 35, 2)
FULL = Pace(Intervals(poll_s=5, pass_s=10, backoff_s=1, cap_s=60), 60, 180, 10)
JOBS_A_S = 0.1
"""On each node; thirty-six times the ten an hour of the arithmetic."""
AUDITORS: dict[str, Callable[[], AbstractContextManager[served.Served]]] = {
    "embedded": served.embedded,
    "real": served.real,
}


def main() -> None:
    """Runs all parts, prints the tables."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # leaves nothing behind either
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=200)
    parser.add_argument("--auditor", choices=AUDITORS, default="embedded")
    parser.add_argument("--full", action="store_true")
    arguments = parser.parse_args()
    pace = FULL if arguments.full else SHORT
    lacking = served.lacking()
    if arguments.auditor == "real" and lacking:
        print(f"skipped: {lacking}")
        return
    with AUDITORS[arguments.auditor]() as auditor, faulty_auditor(auditor.url) as proxy:
        run(arguments.size, pace, auditor, proxy, arguments.auditor)
    for name, bring_up in AUDITORS.items():
        if name == "real" and lacking:
            print(f"\nthe real Auditor: skipped: {lacking}")
            continue
        with bring_up() as auditor:
            carry(auditor, name, pace.capacity_s)


def run(size: int, pace: Pace, auditor: served.Served, proxy: FaultyAuditor, name: str) -> None:
    """Plays start-up, an ordinary time and an outage with a fleet, and prints what arrived when."""
    every = pace.intervals
    print(
        f"{size} collectors, {name} Auditor; interval_s {every.poll_s:g} of the source,"
        f" {every.pass_s:g} of the sender (default 10),\nbackoff_cap_s {every.cap_s:g} (default"
        f" {CAP_S}); {JOBS_A_S * size:g} jobs end each second"
    )
    with tempfile.TemporaryDirectory() as temporary:
        fleet = Fleet(Path(temporary), size, proxy.url, every)
        for node in fleet.nodes:
            node.end_job()
        with fleet.running():
            start_up(fleet, proxy, every.pass_s)
            steady(fleet, proxy, auditor, pace)
            outage(fleet, proxy, auditor, pace)
        wrong = Counter(fleet.written())
        wrong.subtract(stored(auditor.url))
    assert fleet.end is not None
    print("in the end")
    line("jobs that ended", len(fleet.written()))
    line("of them lost, and doubled", f"{(+wrong).total()}, {(-wrong).total()}")
    line("CPU seconds of a collector", f"{fleet.end.cpu_s / size:.2f}")
    if any(wrong.values()) or fleet.end.failed:
        raise SystemExit(f"not all is well: {wrong - Counter()}; {fleet.end.failed} daemons failed")


def line(what: str, value: object) -> None:
    """Prints a line of the table."""
    print(f"  {what:<56}{value}", flush=True)


def start_up(fleet: Fleet, proxy: FaultyAuditor, pass_s: float) -> None:
    """All start together, each with a record to send."""
    until = time.monotonic() + LIMIT_S
    while len(first := first_of_each(proxy.requests, 0)) < len(fleet.nodes):
        if time.monotonic() > until:
            raise SystemExit("the fleet did not start in time")
        time.sleep(0.2)
    up = [node.started_at() for node in fleet.nodes]
    waited = [first[node.name] - node.started_at() for node in fleet.nodes]
    evenly = len(up) / pass_s
    print("start-up")
    line("from the first collector that is up to the last", f"{max(up) - min(up):.1f} s")
    line("from being up to the first request, at most", f"{max(waited):.1f} s")
    line("most of these within one second of it", f"{busiest(waited)}; evenly spread {evenly:.0f}")
    line("most of these within one second at the Auditor", busiest(list(first.values())))


def steady(fleet: Fleet, proxy: FaultyAuditor, auditor: served.Served, pace: Pace) -> None:
    """Nothing happens but jobs."""
    jobs_a_s = JOBS_A_S * len(fleet.nodes)
    fleet.work(pace.intervals.poll_s + pace.intervals.pass_s, jobs_a_s)  # until they arrive
    before, cpu_s, started = len(proxy.requests), auditor.cpu_s(), time.monotonic()
    fleet.work(pace.steady_s, jobs_a_s)
    took_s, used_s = time.monotonic() - started, auditor.cpu_s() - cpu_s
    arrived = [request.at for request in proxy.requests[before:]]
    records = sum(request.body.count(b'"record_id"') for request in proxy.requests[before:])
    a_node, _ = capacity.load(JOBS_A_S * 3600, pace.intervals.pass_s)
    evenly = a_node * len(fleet.nodes)
    print(f"day by day, {pace.steady_s:g} s")
    line("requests a second", f"{len(arrived) / took_s:.1f}; by the arithmetic {evenly:.1f}")
    line("most within one second", busiest(arrived))
    line("records a second", f"{records / took_s:.1f}")
    line("cores of the Auditor and its database", f"{used_s / took_s:.2f}")


def outage(fleet: Fleet, proxy: FaultyAuditor, auditor: served.Served, pace: Pace) -> None:
    """The Auditor is killed, is away, and comes back."""
    before = len(proxy.requests)
    auditor.kill()
    proxy.script = lambda _request: Cut()
    fleet.work(pace.outage_s, JOBS_A_S * len(fleet.nodes))
    during = [request.at for request in proxy.requests[before:]]
    auditor.come_back()
    proxy.script = lambda _request: None
    back_at = time.time()
    while sorted(stored(auditor.url)) != sorted(fleet.written()):
        if time.time() - back_at > LIMIT_S:
            break  # the end tells what is not there
        time.sleep(1)
    arrived = [request for request in proxy.requests if request.at >= back_at]
    last_s = max(request.at for request in arrived) - back_at
    first = [at - back_at for at in first_of_each(arrived, back_at).values()]
    probes = sum(request.method == "GET" for request in arrived)
    at_first = 2 * len(first) / pace.intervals.cap_s
    print(f"outage, {pace.outage_s:g} s")
    line("most requests within one second during it", busiest(during))
    line("collectors that came back, the last after", f"{len(first)}, {max(first):.1f} s")
    line("most of them within one second", f"{busiest(first)}; by the arithmetic {at_first:.0f}")
    line("probes, and other requests", f"{probes}, {len(arrived) - probes}")
    line("most requests within one second", busiest([request.at for request in arrived]))
    line("the last request after", f"{last_s:.1f} s")
    print(histogram(first, pace.intervals.cap_s + pace.intervals.pass_s))


def histogram(instants: Sequence[float], length_s: float, bars: int = 10) -> str:
    """A line for each part of the time, with a sign for each instant in it."""
    width_s = length_s / bars
    counts = Counter(int(at / width_s) for at in instants)
    return "\n".join(
        f"{at * width_s:9.0f} s {counts[at]:5}  {'#' * counts[at]}" for at in range(bars)
    )


def carry(auditor: served.Served, name: str, seconds: float) -> None:
    """Measures what an Auditor takes, and prints what follows for ten thousand nodes."""
    print(
        f"\n{name} Auditor, {capacity.SENDERS} senders, a connection for each request"
        f"\n{'records in a request':>22}{'requests/s':>12}{'records/s':>11}{'CPU ms a request':>18}"
    )
    taken = []
    with tempfile.TemporaryDirectory() as temporary:
        history = Path(temporary) / "history"
        write(history, 1)
        for one in capacity.measure(auditor, history, seconds):
            taken.append(one)
            print(
                f"{one.records or 'probe':>22}{one.requests_a_s:12.0f}"
                f"{one.requests_a_s * one.records:11.0f}{one.cpu_s * 1e3:18.2f}",
                flush=True,
            )
    print(
        f"{NODES} nodes: cores of the Auditor and its database that are busy; thousands of nodes"
        "\nthat ask as much as it took above; cores just after an outage of an hour, when"
        f"\n2/{CAP_S} of them come back each second, with a probe and the jobs of an hour"
        f"\n{'jobs/h on a node':>22}{'interval_s':>12}{'requests/s':>12}{'records/s':>11}"
        f"{'cores':>8}{'thousand nodes':>16}{'cores afterwards':>18}"
    )
    for jobs in (1, 10, 100, 1000):
        for pass_s in (10, 60):
            a_node, records = capacity.load(jobs, pass_s)
            busy, cpu_s = capacity.cost(taken, records)
            back_cpu_s = taken[0].cpu_s + capacity.cost(taken, jobs)[1]
            print(
                f"{jobs:22}{pass_s:12}{NODES * a_node:12.1f}{NODES * a_node * records:11.1f}"
                f"{NODES * a_node * cpu_s:8.2f}{1 / (a_node * busy) / 1000:16,.1f}"
                f"{NODES * 2 / CAP_S * back_cpu_s:18.2f}"
            )


if __name__ == "__main__":
    main()
