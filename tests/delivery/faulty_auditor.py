"""A fault-injecting Auditor: real sockets in front of a real one, misbehaving by script.

It forwards every request to the Auditor behind it, unless its script says otherwise for this one.
What was forwarded was carried out; what the client hears of it is the script's business. With
`rights` it forbids what a real Auditor forbids to a client of that role.
"""

import contextlib
import http.client
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Request:
    """A request as it came in."""

    method: str
    target: str
    body: bytes
    at: float = field(default_factory=time.time)
    """When it had come in, in seconds since 1970."""

    @property
    def kind(self) -> str:
        """`POST /records`, without a query."""
        return f"{self.method} {self.target.partition('?')[0]}"


@dataclass
class Answer:
    """Is given instead of the Auditor's; nothing is forwarded."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    """An empty one is left out: without a length, the connection ends after the body."""


@dataclass
class Cut:
    """The connection is reset: before the request is forwarded, after it, or within the answer."""

    when: str = "before"


@dataclass
class Slow:
    """The request is forwarded at once, and answered only after this many seconds."""

    seconds: float


@dataclass
class Warn:
    """A conflict is answered as with `ignore_record_exists_error`: 200, and nothing stored."""


@dataclass
class Stall:
    """The request is not forwarded, and not answered: after these seconds the connection ends."""

    seconds: float


@dataclass
class Stripped:
    """The request is forwarded; a proxy strips the length of its answer."""


Fault = Answer | Cut | Slow | Warn | Stall | Stripped | None
Script = Callable[[Request], Fault]


class FaultyAuditor(ThreadingHTTPServer):
    """Listens on a port of its own until it is closed."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, behind: str, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.behind = behind
        self._tls = tls
        self.script: Script = lambda _request: None
        self.rights: frozenset[str] | None = None
        """Of read and write, what the client's role may do; None: there are no roles."""
        self.requests: list[Request] = []
        self.faults = 0
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.server_address[1]}"

    def count(self, kind: str) -> int:
        """How many requests of a kind came in."""
        return sum(request.kind == kind for request in self.requests)

    def get_request(self) -> tuple[socket.socket, Any]:
        """A connection; its handshake is left to its own thread."""
        connection, address = super().get_request()
        if self._tls is None:
            return connection, address
        return self._tls.wrap_socket(
            connection, server_side=True, do_handshake_on_connect=False
        ), address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what some tests are about."""

    def close(self) -> None:
        """Stops listening."""
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: FaultyAuditor

    def handle_one_request(self) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            super().handle_one_request()

    def do_GET(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        request = Request(self.command, self.path, self.rfile.read(length))
        self.server.requests.append(request)
        fault = self.server.script(request)
        self.server.faults += fault is not None
        if fault is None and not self._may(request):
            self._answer(403, b"Insufficient permissions", {})
            return
        match fault:
            case Answer(status, body, headers):
                self._answer(status, body, headers)
                return
            case Cut("before"):
                self._reset()
                return
            case Stall(seconds):
                time.sleep(seconds)
                self._reset()
                return
        try:
            status, body, headers = self._forward(request)
        except (OSError, http.client.HTTPException):  # away; so are we
            self._reset()
            return
        match fault:
            case Cut("after"):
                self._reset()
            case Cut("within"):
                self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
                self.wfile.flush()
                self._reset()
            case Slow(seconds):
                time.sleep(seconds)
                self._answer(status, body, headers)
            case Stripped():
                self.send_response_only(status)
                self.send_header("connection", "close")
                self.end_headers()
                self.wfile.write(body)
                self.close_connection = True
            case Warn() if body == b"RECORD_EXISTS":
                self._answer(
                    200, b'{"warning": "One or more records already exist, but it was ignored"}', {}
                )
            case _:
                self._answer(status, body, headers)

    do_POST = do_PUT = do_GET  # noqa: N815 - the names that http.server looks for

    def _may(self, request: Request) -> bool:
        """As a real Auditor with roles, which forbids everybody to ask for its health."""
        if self.server.rights is None:
            return True
        right = "read" if request.method == "GET" else "write"
        return right in self.server.rights and request.kind != "GET /health_check"

    def _forward(self, request: Request) -> tuple[int, bytes, dict[str, str]]:
        behind = http.client.HTTPConnection(urlsplit(self.server.behind).netloc, timeout=30)
        with contextlib.closing(behind):
            kind = {"content-type": "application/json"}
            behind.request(request.method, request.target, request.body, kind)
            answer = behind.getresponse()
            return answer.status, answer.read(), {}

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response_only(status)
        for name, value in {"content-length": str(len(body)), **headers}.items():
            if value:
                self.send_header(name, value)
        self.close_connection |= not headers.get("content-length", "0")
        self.end_headers()
        self.wfile.write(body)

    def _reset(self) -> None:
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True
        self.connection.close()

    def log_message(self, *args: object) -> None:
        pass


@contextlib.contextmanager
def faulty_auditor(behind: str, tls: ssl.SSLContext | None = None) -> Iterator[FaultyAuditor]:
    """A fault-injecting Auditor for as long as the context lasts."""
    auditor = FaultyAuditor(behind, tls=tls)
    try:
        yield auditor
    finally:
        auditor.close()
