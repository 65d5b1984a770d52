"""What programs for pyauditor rely on beside the tutorial: names, numbers, loops, error texts."""

import asyncio
import inspect
import subprocess
import sys
import threading
from datetime import UTC, datetime

import pytest

from collector import auditor as ours
from collector.auditor import AuditorClientBuilder, Component, Meta, Record, Score, Value
from collector.auditor.errors import RecordExistsError, UnknownRecordError
from tests.helpers.auditor_server import RunningAuditor

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
LIST_OF_NAMES = """
import inspect, pyauditor
for name in sorted(dir(pyauditor)):
    made = getattr(pyauditor, name)
    if inspect.isclass(made):
        print(name, '', made.__text_signature__ or '')
        for member in sorted(dir(made)):
            if not member.startswith('_'):
                print(name, member, getattr(getattr(made, member), '__text_signature__', '') or '')
"""


class Number:
    """A whole number as numpy has them: neither an int nor a float, but convertible to both."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value

    def __float__(self) -> float:
        return float(self.value)


def test_every_public_name_and_its_arguments_are_there() -> None:
    """Each class, method and attribute of 0.11.2; its arguments under their names, first."""
    done = subprocess.run(
        [sys.executable, "-c", LIST_OF_NAMES], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("\n") > 80
    for line in done.stdout.splitlines():
        name, member, signature = line.split(" ", 2)
        made = getattr(ours, name)
        fields = {field for kind in made.__mro__ for field in getattr(kind, "__annotations__", {})}
        if member:
            assert hasattr(made, member) or member in fields, line
        wanted = [
            part.strip()
            for part in signature.strip("()").split(",")
            if part.strip() not in {"", "$self", "/"}
        ]
        if wanted:
            there = list(inspect.signature(getattr(made, member) if member else made).parameters)
            there = [parameter for parameter in there if parameter != "self"]
            assert there[: len(wanted)] == wanted, line


def test_numbers_of_numpy_are_numbers() -> None:
    """Whatever converts to a whole number, or to a float; not booleans, not texts."""
    number: object = Number(8)
    component = Component("Cores", number)  # type: ignore[arg-type]
    assert component.with_score(Score("s", number)) == Component("Cores", 8, [Score("s", 8.0)])  # type: ignore[arg-type]
    assert type(component.amount) is int
    assert Value.set_count(count=number).text == Value.set_runtime(runtime=number).text == "8"  # type: ignore[arg-type]
    assert Value.set_datetime(datetime=START).text == "2026-01-31T12:00:00+00:00"
    for wrong in (True, 1.5, "8", None):
        with pytest.raises(RuntimeError):
            Component("Cores", wrong)  # type: ignore[arg-type]


def test_meta_is_asked_by_keyword() -> None:
    """None for a key that is not there."""
    meta = Meta().insert(key="site", value=["a"])
    assert meta.get(key="site") == ["a"]
    assert meta.get(key="group") is None


def test_a_host_may_have_its_scheme(auditor: RunningAuditor) -> None:
    """`address("http://127.0.0.1", 8000)`, as the plugins' configurations have it."""
    for host in ("127.0.0.1", "http://127.0.0.1"):
        with AuditorClientBuilder().address(host, auditor.port).build_blocking() as client:
            assert client.health_check()


def test_a_record_is_read_by_its_encoded_id(auditor: RunningAuditor) -> None:
    """As pyauditor wants it, and as it is stored; the stored one comes first."""
    with auditor.client() as client:
        client.bulk_insert([Record("a/b c", START), Record("a%2Fb", START), Record("50%", START)])
        for asked, found in (
            ("a/b c", "a/b c"),
            ("a%2Fb%20c", "a/b c"),
            ("a%2Fb", "a%2Fb"),
            ("50%", "50%"),
            ("50%25", "50%"),
        ):
            assert client.get_single_record(asked).record_id == found
        with pytest.raises(UnknownRecordError):
            client.get_single_record("%20nobody")


def test_errors_begin_as_programs_know_them(auditor: RunningAuditor) -> None:
    """COBalD/TARDIS recognises an unknown record by this text."""
    with AuditorClientBuilder().connection_string(auditor.url).build_blocking() as client:
        record = Record("a", START).with_stop_time(START)
        with pytest.raises(RuntimeError) as unknown:
            client.update(record)
        begins = "Reqwest Error: HTTP status client error (404 Not Found) for url (http://127"
        assert str(unknown.value).startswith(begins)
        client.add(record)
        with pytest.raises(RecordExistsError, match=r"^The record already exists"):
            client.add(record)
    with (
        AuditorClientBuilder().address("127.0.0.1", 9).build_blocking() as client,
        pytest.raises(RuntimeError, match=r"^Reqwest Error: error sending request for url"),
    ):
        client.add(Record("b", START))


def test_one_async_client_serves_loops_one_after_the_other_and_in_threads(
    auditor: RunningAuditor,
) -> None:
    """Nothing of it belongs to a loop."""
    client = AuditorClientBuilder().connection_string(auditor.url).build()

    async def adds(first: int) -> None:
        await asyncio.gather(
            *(client.add(Record(f"r{first + number}", START)) for number in range(20))
        )

    asyncio.run(adds(0))
    asyncio.run(adds(100))
    threads = [
        threading.Thread(target=lambda first=first: asyncio.run(adds(first)))
        for first in (200, 300, 400)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    async def count() -> int:
        found = len([record async for record in client.stream_query()])
        await client.close()
        return found

    assert asyncio.run(count()) == 100


def test_the_queued_client_is_found_without_the_client_knowing_an_outbox() -> None:
    """By its entry point, also where it was not asked for before."""
    assert ours.QueuedAuditorClient.__name__ == "QueuedAuditorClient"
    assert "QueuedAuditorClient" in dir(ours)
