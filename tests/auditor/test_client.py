"""Both clients do what they say, or raise an error that says what happened."""

import asyncio
import contextlib
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from collector.auditor import (
    AuditorClient,
    AuditorClientBlocking,
    AuditorClientBuilder,
    Component,
    MetaOperator,
    MetaQuery,
    QueryBuilder,
    Record,
    protocol,
)
from collector.record import InvalidRecordError, Meta

START = datetime(2021, 12, 6, 16, 29, 43, 79043, tzinfo=UTC)


class Both:
    """Calls a method of one of the clients and waits for its result."""

    def __init__(self, client: AuditorClient | AuditorClientBlocking) -> None:
        self._client = client
        self._runner = asyncio.Runner()

    def __call__(self, method: str, *arguments: object) -> object:
        result = getattr(self._client, method)(*arguments)
        if isinstance(self._client, AuditorClientBlocking):
            return list(result) if method == "stream_query" else result

        async def wait() -> object:
            return [one async for one in result] if method == "stream_query" else await result

        return self._runner.run(wait())

    def close(self) -> None:
        """Closes the connections."""
        self("close")
        self._runner.close()


def client_of(kind: str, url: str, timeout_s: float = 10) -> Both:
    """A client of one kind."""
    builder = AuditorClientBuilder().connection_string(url).timeout(timeout_s)
    return Both(builder.build() if kind == "async" else builder.build_blocking())


@pytest.fixture(params=["async", "blocking"])
def call(request: pytest.FixtureRequest, url: str) -> Iterator[Both]:
    """Each client in turn."""
    client = client_of(request.param, url)
    yield client
    client.close()


def record(record_id: str) -> Record:
    """A record without a stop time."""
    return Record(record_id, START).with_component(Component("CPU", 2))


def test_what_was_stored_is_read_back(call: Both) -> None:
    """One by one, in bulk, by id, by query, all at once."""
    call("add", record("a"))
    call("bulk_insert", [record(f"b/{number} #@?&") for number in range(5)])
    assert call("get_single_record", "b/3 #@?&") == record("b/3 #@?&")
    assert call("advanced_query", QueryBuilder().with_record_id("a").build()) == [record("a")]
    found = call("stream_query")
    assert isinstance(found, list)
    assert len(found) == 6
    assert call("health_check") is True


def test_a_stop_time_is_set_by_update_and_by_adding_again(call: Both) -> None:
    """Adding the same record with a stop time is the tutorial's way."""
    for method in ("update", "add"):
        open_record = record(method)
        call("add", open_record)
        call(method, open_record.with_stop_time(START + timedelta(hours=1)))
        found = call("get_single_record", method)
        assert isinstance(found, Record)
        assert found.runtime == 3600


def test_adding_never_overwrites_a_stop_time(call: Both) -> None:
    """A record that is complete stays as it is."""
    call("add", record("a").with_stop_time(START))
    with pytest.raises(protocol.RecordExistsError):
        call("add", record("a").with_stop_time(START + timedelta(hours=1)))
    with pytest.raises(protocol.RecordExistsError):
        call("add", record("a"))
    assert call("get_single_record", "a") == record("a").with_stop_time(START)


def test_refusals_are_typed(call: Both) -> None:
    """Each kind of failure has its own error."""
    call("add", record("a"))
    with pytest.raises(protocol.RecordExistsError):
        call("bulk_insert", [record("b"), record("a")])
    with pytest.raises(protocol.UnknownRecordError):
        call("get_single_record", "b")
    with pytest.raises(protocol.UnknownRecordError):
        call("get_single_record", " ")
    with pytest.raises(protocol.UnknownRecordError):
        call("update", record("b").with_stop_time(START))
    with pytest.raises(protocol.RefusedError, match="unknown field `x`"):
        call("advanced_query", "x=1")
    meta = Meta().insert("k", ["x" * 250] * 20)
    many = [record(f"l{number}").with_meta(meta) for number in range(450)]
    with pytest.raises(protocol.TooLargeError):
        call("bulk_insert", many)
    with pytest.raises(InvalidRecordError, match=r"give it one: record\.with_stop_time"):
        call("update", record("a"))


def test_deprecated_getters_warn_and_work(call: Both) -> None:
    """The warning stands at the line that calls."""
    call("add", record("a").with_stop_time(START + timedelta(hours=1)))
    for method, arguments, count in (
        ("get", (), 1),
        ("get_started_since", (START,), 1),
        ("get_started_since", (START + timedelta(seconds=1),), 0),
        ("get_stopped_since", (START + timedelta(hours=1),), 1),
        ("get_stopped_since", (START + timedelta(hours=2),), 0),
    ):
        with pytest.warns(DeprecationWarning, match="use advanced_query or stream_query"):
            found = call(method, *arguments)
        assert isinstance(found, list)
        assert len(found) == count


@contextlib.contextmanager
def listener(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that reads a request's head, and then does as it is told."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            seen = b""
            while b"\r\n\r\n" not in seen:
                seen += self.request.recv(65536)
            answer(self.request)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def sends(text: bytes) -> Callable[[socket.socket], None]:
    """An answer, after which the connection is closed."""
    return lambda connection: connection.sendall(text)


HALF = record("a").encode() + b'{"rec'
RESET = b""


@pytest.mark.parametrize("kind", ["async", "blocking"])
@pytest.mark.parametrize(
    "text",
    [
        RESET,
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + HALF,
        b"HTTP/1.1 503 Busy\r\n\r\n",
    ],
)
def test_no_whole_answer_is_no_answer(kind: str, text: bytes) -> None:
    """A reset, nonsense, an answer that breaks off, a proxy without its server: unavailable."""
    with listener(sends(text)) as url:
        client = client_of(kind, url)
        with pytest.raises(protocol.UnavailableError):
            client("stream_query")
        with pytest.raises(protocol.UnavailableError):
            client("add", record("a"))
        assert client("health_check") is False
        client.close()


@pytest.mark.parametrize("kind", ["async", "blocking"])
def test_a_query_that_breaks_off_is_not_taken_for_complete(kind: str) -> None:
    """Without a length, only the unfinished record tells."""
    with listener(sends(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + HALF)) as url:
        client = client_of(kind, url)
        with pytest.raises(protocol.ProtocolError, match="not a record"):
            client("advanced_query", "")
        client.close()


@pytest.mark.parametrize("kind", ["async", "blocking"])
def test_a_server_that_says_nothing_is_unavailable_in_time(kind: str) -> None:
    """The time-out of the builder holds."""
    done = threading.Event()

    def waits(_connection: socket.socket) -> None:
        done.wait(30)

    with listener(waits) as url:
        client = client_of(kind, url, timeout_s=0.2)
        with pytest.raises(protocol.UnavailableError, match="no answer"):
            client("add", record("a"))
        done.set()
        client.close()


@pytest.mark.parametrize("kind", ["async", "blocking"])
def test_nobody_listens(kind: str) -> None:
    """A refused connection is unavailable, and says so."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    client = client_of(kind, url)
    with pytest.raises(
        protocol.UnavailableError, match=r"POST /record: no answer \(.*(refused|failed)"
    ):
        client("add", record("a"))
    client.close()


def test_a_stream_can_be_left(url: str) -> None:
    """Who breaks out of a query leaves no connection behind."""
    with AuditorClientBuilder().connection_string(url).build_blocking() as client:
        client.bulk_insert([record(f"r{number}") for number in range(2000)])
        for _ in range(20):
            stream = client.stream_query()
            next(stream)
            stream.close()
        assert len(client.advanced_query("limit=3")) == 3


def test_the_health_check_says_what_is_wrong(url: str) -> None:
    """`check` raises what `health_check` makes a False of."""
    with AuditorClientBuilder().connection_string(f"{url}/nowhere").build_blocking() as client:
        assert client.health_check() is False
        with pytest.raises(protocol.ForbiddenError, match="no Auditor answers at this address"):
            client.check()


def test_queries_reach_the_server_as_they_were_built(url: str) -> None:
    """Brackets, signs and blanks survive the way through the HTTP library."""
    meta = Meta().insert("a [b]&=+%/ü", ["x [0]&=+%/ü", "#?"])
    with AuditorClientBuilder().connection_string(url).build_blocking() as client:
        client.add(record("a").with_meta(meta))
        operator = MetaOperator().contains(["x [0]&=+%/ü", "#?"])
        query = QueryBuilder().with_meta_query(MetaQuery().meta_operator("a [b]&=+%/ü", operator))
        assert client.advanced_query(query.build()) == [client.get_single_record("a")]


@pytest.mark.parametrize("kind", ["async", "blocking"])
def test_an_empty_answer_is_believed_only_of_a_healthy_auditor(kind: str) -> None:
    """A real Auditor whose database is away answers a query with 200 and nothing."""
    answers = iter(
        [
            *(b"200 OK", b"500 Internal Server Error"),
            *(b"200 OK", b"403 Forbidden", b"403 Forbidden"),
            *(b"200 OK", b"403 Forbidden", b"500 Internal Server Error"),
        ]
    )

    def answer(connection: socket.socket) -> None:
        head = b"HTTP/1.1 " + next(answers)
        connection.sendall(head + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with listener(answer) as url:
        client = client_of(kind, url)
        with pytest.raises(
            protocol.UnexpectedError, match="GET /health_check was answered with 500"
        ):
            client("advanced_query", "")
        assert client("advanced_query", "") == []  # who may only read cannot know more
        with pytest.raises(protocol.UnexpectedError, match="PUT /record was answered with 500"):
            client("advanced_query", "")  # who may write can
        client.close()
