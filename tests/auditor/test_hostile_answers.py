"""Whatever a server answers, over real sockets: a typed error or a proven success, and in time."""

import contextlib
import gzip
import random
import socket
import socketserver
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from collector.auditor.client import AuditorClientBlocking, AuditorClientBuilder
from collector.auditor.errors import AuditorError, ProtocolError, TimedOutError
from collector.record import Component, Record
from tests.helpers.records import START

Answer = Callable[[socket.socket], None]

TIMEOUT_S = 0.3
RECORD = Record("a", START).with_component(Component("Cores", 8)).with_stop_time(START)
OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = OK + b"Content-Length: "
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


class Hostile(socketserver.ThreadingTCPServer):
    """Reads each request, and answers as it is told."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer: Answer = lambda _connection: None
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(socketserver.BaseRequestHandler):
    server: Hostile

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            seen = b""
            while b"\r\n\r\n" not in seen:
                piece = self.request.recv(65536)
                if not piece:
                    return
                seen += piece
            self.server.answer(self.request)


@pytest.fixture(scope="module")
def server() -> Iterator[Hostile]:
    with Hostile() as hostile:
        threading.Thread(target=hostile.serve_forever, args=(0.02,), daemon=True).start()
        yield hostile
        hostile.shutdown()


@pytest.fixture
def client(server: Hostile) -> Iterator[AuditorClientBlocking]:
    builder = AuditorClientBuilder().connection_string(server.url).timeout(TIMEOUT_S)
    with builder.build_blocking() as made:
        yield made


CALLS: list[Callable[[AuditorClientBlocking], object]] = [
    lambda client: client.add(RECORD),
    lambda client: client.bulk_insert([RECORD]),
    lambda client: client.update_stop_time("a", START),
    lambda client: client.get_single_record("a"),
    lambda client: list(client.stream_query()),
    lambda client: client.check(),
]
STORES = CALLS[:3]


def sends(*pieces: bytes) -> Answer:
    """The pieces, after which the connection is closed."""

    def answer(connection: socket.socket) -> None:
        for piece in pieces:
            connection.sendall(piece)

    return answer


def goes_on(first: bytes, piece: bytes, every_s: float = 0) -> Answer:
    """A piece after the first without an end, for as long as somebody reads them."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(first)
        while True:
            connection.sendall(piece)
            time.sleep(every_s)

    return answer


def waits(connection: socket.socket) -> None:
    """No answer until the client goes away."""
    connection.recv(1)


def bomb() -> bytes:
    """64 MiB of nothing, packed twice."""
    return gzip.compress(gzip.compress(bytes(64 * 2**20)))


NOTHING_PROVEN: dict[str, Answer] = {
    "nothing": sends(),
    "no HTTP": sends(b"220 mail.example.org ESMTP\r\n"),
    "only a head, no length": sends(b"HTTP/1.1 200 OK\r\n\r\n"),
    "only a head, HTTP/1.0": sends(b"HTTP/1.0 200 OK\r\n\r\n"),
    "less than its length": sends(LENGTH + b"10\r\n\r\nabc"),
    "a length that is none": sends(LENGTH + b"-1\r\n\r\n"),
    "two lengths": sends(LENGTH + b"0\r\nContent-Length: 5\r\n\r\nabcde"),
    "a chunk that is none": sends(CHUNKED + b"ZZ\r\n\r\n"),
    "Latin-1 that says JSON": sends(LENGTH + b'25\r\n\r\n{"message": "acc\xe8s refus\xe9"}'),
    "deep nesting": sends(LENGTH + b"200000\r\n\r\n" + b"[" * 200_000),
    "a status of no meaning": sends(b"HTTP/1.1 999 Hello\r\nContent-Length: 0\r\n\r\n"),
    "a change of protocols": sends(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n"),
    "a bomb": sends(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip, gzip\r\nConnection: close\r\n\r\n", bomb()
    ),
    "a date beyond all": sends(
        b"HTTP/1.1 503 Busy\r\nRetry-After: Wed, 21 Oct 99999999999 07:28:00 GMT\r\n"
        b"Date: Wed, 21 Oct 2026 07:28:00 GMT\r\nContent-Length: 0\r\n\r\n"
    ),
    "a redirect to elsewhere": sends(
        b"HTTP/1.1 302 Found\r\nLocation: http://\xff\xfe/\r\nContent-Length: 0\r\n\r\n"
    ),
    "cookies without end": sends(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + b"Set-Cookie: a=b; Expires=1\r\n" * 900,
        b"\r\n{}",
    ),
    "bytes that no header has": sends(b"HTTP/1.1 200 OK\r\nX: \x00\x01\xff\r\n\r\n"),
    "headers without end": goes_on(OK, b"X: " + b"y" * 9000 + b"\r\n"),
    "one header without end": goes_on(OK + b"X: ", b"y" * 9000),
    "interim answers without end": goes_on(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a body without end": goes_on(LENGTH + b"9" * 15 + b"\r\n\r\n", b" " * 65536),
    "a size of a chunk without end": goes_on(CHUNKED, b"0" * 99),
    "a head that trickles": goes_on(b"", b"H", TIMEOUT_S / 5),
    "a body that trickles": goes_on(LENGTH + b"1000\r\n\r\n", b" ", TIMEOUT_S / 5),
    "headers that trickle": goes_on(OK, b"X: y\r\n", TIMEOUT_S / 5),
    "silence": waits,
}


@pytest.mark.parametrize("name", NOTHING_PROVEN)
def test_a_broken_answer_is_a_typed_error_in_time(
    name: str, server: Hostile, client: AuditorClientBlocking
) -> None:
    """For every method: an `AuditorError`, soon after the time-out at the latest."""
    server.answer = NOTHING_PROVEN[name]
    for call in CALLS:
        began = time.monotonic()
        with pytest.raises(AuditorError):
            call(client)
        assert time.monotonic() - began < 2 + 3 * TIMEOUT_S


def test_an_answer_that_trickles_is_over_at_the_deadline(
    server: Hostile, client: AuditorClientBlocking
) -> None:
    """Each byte comes in time, the answer does not."""
    server.answer = NOTHING_PROVEN["a body that trickles"]
    for call in CALLS:
        with pytest.raises(TimedOutError, match="no answer in time"):
            call(client)


def test_a_bomb_is_not_unpacked(server: Hostile, client: AuditorClientBlocking) -> None:
    """It costs the memory of its packed form."""
    server.answer = NOTHING_PROVEN["a bomb"]
    tracemalloc.start()
    try:
        for call in CALLS:
            with pytest.raises(ProtocolError, match="encoding"):
                call(client)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4 * 2**20


PIECES = [
    *(b"HTTP/1.1 ", b"HTTP/1.0 ", b"200 OK", b"500 X", b"403 ", b"204 No", b"100 C", b"\r\n"),
    *(b"\r\n\r\n", b"Content-Length: 0", b"Content-Length: 3", b"Transfer-Encoding: chunked"),
    *(b"Connection: close", b"Content-Encoding: gzip", b"Retry-After: 9", b"Date: x", b"RECORD"),
    *(b"RECORD_EXISTS", b'{"warning": "already exist"}', b"{}", b"null", b"[", b'"', b"\xff", b"0"),
    *(b"0\r\n\r\n", b"3\r\nabc\r\n", b"\0", b": ", b'{"record_id":"a","start_time":"'),
    b'{"record_id":"a","start_time":"2026-01-01T00:00:00Z","stop_time":null}',
]
HEADS = [b"", b"HTTP/1.1 200 OK\r\n", LENGTH + b"2\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"]


@pytest.mark.parametrize(
    "seed", [*range(4), *(pytest.param(n, marks=pytest.mark.slow) for n in range(4, 60))]
)
def test_no_answer_at_random_is_anything_else(
    seed: int, server: Hostile, client: AuditorClientBlocking
) -> None:
    """Pieces of answers in any order: an `AuditorError`, or a success that was answered so."""
    random_ = random.Random(seed)
    for _ in range(60):
        text = random_.choice(HEADS) + b"".join(random_.choices(PIECES, k=random_.randrange(12)))
        if random_.random() < 0.3:  # damage
            at = random_.randrange(len(text) + 1)
            text = text[:at] + random_.randbytes(3) + text[at + 1 :]
        server.answer = sends(text)
        for call in CALLS:
            with contextlib.suppress(AuditorError):
                call(client)
                if call in STORES:
                    assert b" 200" in text, text
                    assert b"Content-Length: 0" in text or b"chunked" in text, text
