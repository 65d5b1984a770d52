"""How much one Auditor takes, and what follows for a number of nodes.

Several senders post at once for some seconds, each request over a connection of its own, as it is
with nodes whose passes are further apart than a connection is kept. They share the machine with the
Auditor, so what it takes by itself is rather more.
"""

import http.client
import itertools
import math
import os
import re
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from tests.benchmarks.htcondor import source
from tests.real_auditor.served import Served

SENDERS = 8
SIZES = (1, 10, 100, 1000)
PROBE = 0
"""A request for its health, which has no records."""
KIND = {"content-type": "application/json"}


class Taken(msgspec.Struct, frozen=True):
    """What an Auditor took."""

    records: int
    """In each request."""
    requests_a_s: float
    cpu_s: float
    """Of the Auditor and its database, for each request."""


def measure(auditor: Served, history: Path, seconds: float) -> Iterator[Taken]:
    """Measures one size of request after another.

    Args:
        auditor: to be measured; is given records.
        history: of HTCondor; its first job's record is sent, under ever new ids.
        seconds: for each size.
    """
    mapped = source(history)
    job = next(job for batch in mapped.source.poll(None) for job in batch.jobs)
    record = mapped.mapping.record(job).encode()
    for size in (PROBE, *SIZES):
        cpu_s, started = auditor.cpu_s(), time.monotonic()
        posted = _at_once(partial(_post, auditor.url, record, size, started + seconds))
        took_s = time.monotonic() - started
        yield Taken(size, posted / took_s, (auditor.cpu_s() - cpu_s) / posted)


def _at_once(do: Callable[[int], int]) -> int:
    """Calls it in several processes at once; gives the sum of what they return."""
    children: list[tuple[int, int]] = []
    for sender in range(SENDERS):
        receive, send = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(send, b"%d" % do(sender))
            except Exception:  # noqa: BLE001 - a child has nobody to raise it to
                traceback.print_exc()
            finally:
                os._exit(0)
        os.close(send)
        children.append((child, receive))
    done = []
    for child, receive in children:
        with os.fdopen(receive) as answer:
            done.append(answer.read())
        os.waitpid(child, 0)
    return sum(map(int, done))


def _post(url: str, record: bytes, size: int, until: float, sender: int) -> int:
    """Sends until an instant; gives the number of requests, each answered with 200."""
    netloc = urlsplit(url).netloc
    before, record_id, after = re.split(rb'(?<="record_id":")([^"]*)', record, maxsplit=1)
    for request in itertools.count():
        if time.monotonic() >= until:
            return request
        body = b",".join(
            b"%s%s-%d-%d-%d-%d%s" % (before, record_id, size, sender, request, number, after)
            for number in range(size)
        )
        connection = http.client.HTTPConnection(netloc, timeout=60)
        if size == PROBE:
            connection.request("GET", "/health_check")
        else:
            connection.request("POST", "/records", b"[%s]" % body, KIND)
        answer = connection.getresponse()
        words = answer.read()
        connection.close()
        assert answer.status == 200, (answer.status, words[:200])
    raise AssertionError


def cost(taken: Sequence[Taken], records: float) -> tuple[float, float]:
    """What a request of so many records costs an Auditor, between the sizes that were measured.

    Returns:
        The share of a second that it can spend on it, at the most requests that it took, and CPU
        seconds.
    """
    for low, high in itertools.pairwise(one for one in taken if one.records != PROBE):
        if low.records <= records <= high.records:
            at = (records - low.records) / (high.records - low.records)
            share = (1 - at) / low.requests_a_s + at / high.requests_a_s
            return share, (1 - at) * low.cpu_s + at * high.cpu_s
    raise ValueError(f"{records} records in a request were not measured")


def load(jobs_an_hour: float, pass_s: float) -> tuple[float, float]:
    """Requests a second of one node on which jobs end at random, and the records in each.

    A pass sends one request if a job ended since the one before: of a Poisson process, that is with
    probability 1 - exp(-jobs in a pass).
    """
    in_a_pass = jobs_an_hour / 3600 * pass_s
    busy = -math.expm1(-in_a_pass)
    return busy / pass_s, in_a_pass / busy
