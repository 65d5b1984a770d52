"""The embedded Auditor: the server's HTTP API (release 0.11) on one SQLite file.

It answers as the real server does, so that a collector, a reader or a test can be tried without
PostgreSQL; `docs/embedded-auditor.md` lists where it differs, and why. An answer that says "stored"
is given after the records are on disk (see `store.py`), so a crash loses nothing acknowledged. A
request that fails is answered, logged, and ends nothing.
"""

import contextlib
import signal
import socket
import sqlite3
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

import msgspec
import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route
from starlette.types import ASGIApp

from collector.auditor.protocol import BODY_LIMIT_BYTES
from collector.embedded import filters, intake, page
from collector.embedded.access import Guard, Roles
from collector.embedded.connections import CONNECTIONS, Connection
from collector.embedded.exposition import CONTENT_TYPE, Exposition
from collector.embedded.store import ConflictError, Store

log = structlog.get_logger(__name__)

T = TypeVar("T")

_RECORD_EXISTS = Response("RECORD_EXISTS", 500)
_UNEXPECTED = Response("UNEXPECTED_ERROR", 500)
_EMPTY = Response()
_PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'",
    "x-content-type-options": "nosniff",
}
_DROP_LIMIT_BYTES = 16 * BODY_LIMIT_BYTES
_LIMIT = f"{BODY_LIMIT_BYTES} bytes"
_SUFFIX = "but the error was ignored due to AUDITOR configuration."
_NO_SUCH_RECORD = "A database error was encountered while trying to get a record from the database"


class Tls(msgspec.Struct, frozen=True):
    """PEM files for TLS with client certificates."""

    certificate: Path
    key: Path
    ca: Path
    """Signed the certificates of the clients that may talk to us."""


class Auditor:
    """The routes of an Auditor, over a store."""

    def __init__(
        self,
        store: Store,
        *,
        ignore_record_exists_error: bool = False,
        hosts: Iterable[str] = (),
        roles: Roles | None = None,
    ) -> None:
        self._store = store
        self._ignore_record_exists_error = ignore_record_exists_error
        self.app = Exposition(Guard(self._routes(), hosts, roles), store)

    def _routes(self) -> Starlette:
        app = Starlette(
            routes=[
                Route("/", self.page),
                Route("/metrics", self.metrics),
                Route("/health_check", self.health_check),
                Route("/record", self.add, methods=["POST"]),
                Route("/record", self.update, methods=["PUT"]),
                Route("/records", self.bulk_add, methods=["POST"]),
                Route("/records", self.query),
                Route("/record/{record_id:path}", self.single),
            ],
            exception_handlers={HTTPException: _http_exception, sqlite3.Error: _store_failed},
        )
        app.router.redirect_slashes = False
        for route in app.routes:
            assert isinstance(route, Route)
            assert route.methods
            route.methods.discard("HEAD")
        return app

    async def page(self, request: Request) -> Response:
        """Shows what is stored."""
        try:
            text = await run_in_threadpool(page.render, self._store, request.query_params)
        except (ValueError, OverflowError) as error:
            return PlainTextResponse(str(error), 400)
        return HTMLResponse(text, headers=_PAGE_HEADERS)

    async def metrics(self, _request: Request) -> Response:
        """Counts of records and requests."""
        text = await run_in_threadpool(self.app.text)
        return Response(text, media_type=CONTENT_TYPE)

    async def health_check(self, _request: Request) -> Response:
        """200 while the file can be read."""
        await run_in_threadpool(self._store.rows, "SELECT 1 FROM record LIMIT 1")
        return _EMPTY

    async def add(self, request: Request) -> Response:
        """Stores one record."""
        body = await _body(request)
        record = _decoded(intake.decode_record, body)
        return await self._insert([record], body, f"Record already exists, {_SUFFIX}")

    async def bulk_add(self, request: Request) -> Response:
        """Stores all records of an array, or none."""
        body = await _body(request)
        records = _decoded(intake.decode_records, body)
        return await self._insert(records, body, f"One or more records already exist, {_SUFFIX}")

    async def _insert(self, records: list[intake.NewRecord], body: bytes, warning: str) -> Response:
        if intake.has_nul(body):
            return _UNEXPECTED
        try:
            await run_in_threadpool(self._store.insert, records)
        except ConflictError as error:
            log.info("record_exists", record_id=str(error))
            if self._ignore_record_exists_error:
                return JSONResponse({"warning": warning})
            return _RECORD_EXISTS
        return _EMPTY

    async def update(self, request: Request) -> Response:
        """Sets the stop time of a record."""
        change = _decoded(intake.decode_stop_time, await _body(request))
        if "\0" in change.record_id:
            return PlainTextResponse(
                'error returned from database: invalid byte sequence for encoding "UTF8": 0x00', 500
            )
        if await run_in_threadpool(self._store.update, change):
            return _EMPTY
        return PlainTextResponse(f"Updating unknown record {change.record_id} not possible.", 404)

    async def query(self, request: Request) -> Response:
        """Streams the records that the query string selects."""
        try:
            selection = filters.parse(request.url.query)
        except filters.BadQueryError as error:
            return JSONResponse({"error": str(error)}, 400)
        chunks = self._store.select(selection.sql, selection.values)
        # The first piece before the head: what the file refuses is then answered as such.
        first = await run_in_threadpool(next, chunks, b"")
        return StreamingResponse(_in_threads(first, chunks), media_type="application/json")

    async def single(self, request: Request) -> Response:
        """Reads one record."""
        quoted = request.scope["raw_path"].removeprefix(b"/record/")
        if b"/" in quoted or not quoted:  # that of an id would be %2F
            raise HTTPException(404)
        record_id = unquote_to_bytes(quoted).decode(errors="replace")
        try:
            intake.check_name(record_id)
        except ValueError:
            return JSONResponse(None)
        found = await run_in_threadpool(
            lambda: b"".join(self._store.select("WHERE record_id = ?", [record_id]))
        )
        if not found:
            return JSONResponse({"error": _NO_SUCH_RECORD}, 500)
        return Response(found, media_type="application/json")


@contextlib.contextmanager
def running(
    db: Path, listen: str = "127.0.0.1:0", *, ignore_record_exists_error: bool = False
) -> Iterator[str]:
    """Runs an embedded Auditor on a thread, for as long as the context lasts.

    Args:
        db: the SQLite file; created when it is missing.
        listen: `HOST:PORT`; port 0 lets the system choose one.
        ignore_record_exists_error: as the server's option of that name.

    Yields:
        Its address, `http://HOST:PORT`.
    """
    listening = bind(listen)
    store = Store(db)
    auditor = Auditor(store, ignore_record_exists_error=ignore_record_exists_error)
    server = _Server(configuration(auditor.app))
    thread = threading.Thread(target=server.run, args=([listening],), name="auditor", daemon=True)
    thread.start()
    try:
        yield address(listening)
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
        store.close()


def serve(
    db: Path,
    listen: str,
    ready: Callable[[str], None],
    *,
    ignore_record_exists_error: bool = False,
    tls: Tls | None = None,
    hosts: Iterable[str] = (),
    roles: Roles | None = None,
) -> None:
    """Runs an embedded Auditor until SIGTERM or SIGINT.

    Args:
        db: the SQLite file; created when it is missing.
        listen: `HOST:PORT`; port 0 lets the system choose one.
        ready: called with the address, when connections are accepted.
        ignore_record_exists_error: as the server's option of that name.
        tls: talk TLS, and only to clients with a certificate of this CA.
        hosts: names of this server, beside those of the machine.
        roles: what each client may do; needs `tls`.
    """
    with bind(listen) as listening, contextlib.closing(Store(db)) as store:
        auditor = Auditor(
            store,
            ignore_record_exists_error=ignore_record_exists_error,
            hosts=hosts,
            roles=roles,
        )
        server = _Server(configuration(auditor.app, tls))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, server.end)
        ready(address(listening, tls=tls is not None))
        server.run([listening])


class _Server(uvicorn.Server):
    """Ends at a signal with status 0; uvicorn's own would send itself the signal again."""

    def end(self, _number: int, _frame: FrameType | None) -> None:
        """Finishes the answers that are under way; a second time, does not."""
        self.force_exit = self.should_exit
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals to `serve`."""
        yield


def bind(listen: str) -> socket.socket:
    """Opens a listening socket.

    Raises:
        ValueError: when `listen` is not HOST:PORT.
        OSError: when the address cannot be had.
    """
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"{listen!r}: expected HOST:PORT, for example 127.0.0.1:8000")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, int(port)), family=family, backlog=128)
    # Accepted connections inherit it; without it an answer in two pieces waits for 40 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def address(listening: socket.socket, *, tls: bool = False) -> str:
    """The address of a listening socket as a URL."""
    host, port = listening.getsockname()[:2]
    return f"http{'s' if tls else ''}://{f'[{host}]' if ':' in host else host}:{port}"


def configuration(app: ASGIApp, tls: Tls | None = None) -> uvicorn.Config:
    """How uvicorn runs: quietly, on one loop, with bounded headers, and time to finish answers."""
    files: dict[str, Any] = {}
    if tls is not None:
        files = {
            "ssl_certfile": tls.certificate,
            "ssl_keyfile": tls.key,
            "ssl_ca_certs": str(tls.ca),
            "ssl_cert_reqs": ssl.CERT_REQUIRED,
        }
    return uvicorn.Config(
        app,
        http=Connection,
        limit_concurrency=CONNECTIONS,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=65536,
        timeout_graceful_shutdown=5,
        **files,
    )


async def _body(request: Request) -> bytes:
    """Reads a JSON body of at most 2 MiB.

    Raises:
        HTTPException: 400 when it is not JSON, 413 when it is longer.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not kind.endswith(("/json", "+json")):
        raise HTTPException(400, "Content type error")
    declared = request.headers.get("content-length", "")
    body, dropped_bytes = bytearray(), 0
    async for chunk in request.stream():
        if len(body) + len(chunk) <= BODY_LIMIT_BYTES and not dropped_bytes:
            body += chunk
            continue
        # A client that still sends would not read an answer; so drop what it sends, within bounds.
        dropped_bytes += len(chunk)
        if dropped_bytes > _DROP_LIMIT_BYTES:
            break
    if dropped_bytes:
        text = f"({declared} bytes) is larger than allowed (limit: {_LIMIT})."
        if not declared:
            text = f"has exceeded limit ({_LIMIT})."
        closing = {"connection": "close"} if dropped_bytes > _DROP_LIMIT_BYTES else {}
        raise HTTPException(413, f"JSON payload {text}", closing)
    return bytes(body)


def _decoded(decode: Callable[[bytes], T], body: bytes) -> T:
    try:
        return decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise HTTPException(400, f"Json deserialize error: {error}") from error


async def _in_threads(first: bytes, chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Reads each chunk on a thread; a reader that goes away closes the file at once."""
    try:
        if first:
            yield first
        while chunk := await run_in_threadpool(next, chunks, b""):
            yield chunk
    finally:
        chunks.close()  # type: ignore[attr-defined] # a generator


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405 and request.url.path in {"/record", "/records"}:  # noqa: PLR2004
        return Response(status_code=405)
    if error.status_code in {404, 405}:
        return Response("The requested resource was not found. 404 Not Found", 404)
    return PlainTextResponse(error.detail, error.status_code, headers=error.headers)


async def _store_failed(request: Request, error: Exception) -> Response:
    log.error("store_failed", path=request.url.path, error=str(error))
    return _UNEXPECTED
