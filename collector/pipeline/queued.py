"""`QueuedAuditorClient`: records are put into an outbox, and sent when the Auditor can be reached.

It has the methods of the class of that name in the public package `pyauditor`, over this package's
outbox and sender. So what `add` returned from is on disk, survives a crash and a restart, and is
sent once; an outage is waited for; a record that the Auditor refuses, or that another run's id
collides with, stops no other, and is kept with the reason (`auditor-collector rejected list`).

`AuditorClientBuilder.build_queued` finds it by its entry point, because a client knows no outbox.
"""

import asyncio
import functools
import random
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import structlog

from collector.auditor.awaited import AuditorClient
from collector.auditor.blocking import AuditorClientBlocking
from collector.clock import utc_now
from collector.config import SenderSection
from collector.outbox import Intake, NewRecord, Outbox
from collector.record import InvalidRecordError, Record
from collector.sender import Sender

_SOURCE = "client"
"""Under this name the outbox counts what came through a client."""

T = TypeVar("T")


class QueuedAuditorClient:
    """Takes records at any time, and sends them in the background; see the head of the module."""

    def __init__(
        self, client: AuditorClientBlocking, path: str | Path | None, interval_s: float
    ) -> None:
        """Opens the outbox, goes on with what waits in it, and begins to send.

        Args:
            client: for the Auditor; closed by `stop`.
            path: the outbox; made if needed. None, or `:memory:`: one that ends with `stop`.
            interval_s: between two tries to send, in seconds.

        Raises:
            OutboxError: when the outbox cannot be opened.
        """
        self._folder: str | None = None
        if path is None or str(path) == ":memory:":
            self._folder = tempfile.mkdtemp(prefix="auditor-client-")
            path = Path(self._folder) / "outbox.db"
        self._client = client
        self._reader = AuditorClient(client)
        self._outbox = Outbox.open(path, now=utc_now)
        self._stop = threading.Event()
        self._sender = Sender(
            self._outbox,
            client,
            SenderSection(interval_s=interval_s),
            log=structlog.get_logger(),
            now=utc_now,
            random=random.random,
            stop=self._stop,
        )
        self._interval_s = interval_s
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="auditor-client-outbox")
        self._thread = threading.Thread(target=self._send, name="auditor-client", daemon=True)
        self._thread.start()

    async def add(self, record: Record) -> None:
        """Puts a record into the outbox; when it returns, the record is on disk.

        One that was added without a stop time, and now has one, is updated.

        Raises:
            InvalidRecordError: for a record that an Auditor would refuse.
            OutboxError: when it cannot be stored; nothing of it was.
        """
        await self.bulk_insert([record])

    async def bulk_insert(self, records: Iterable[Record]) -> None:
        """As `add`, for several records: all of them are stored, or none."""
        intake = Intake(_SOURCE, [NewRecord.of(record) for record in records])
        await self._run(self._writer, functools.partial(self._outbox.put, intake))

    async def update(self, record: Record) -> None:
        """As `add`, for a record with a stop time.

        Raises:
            InvalidRecordError: when it has none.
        """
        if record.stop_time is None:
            raise InvalidRecordError(f"record {record.record_id!r} has no stop time to update")
        await self.bulk_insert([record])

    async def get_single_record(self, record_id: str) -> Record:
        """Reads from the Auditor; see `AuditorClient.get_single_record`."""
        return await self._reader.get_single_record(record_id)

    async def advanced_query(self, query_string: str) -> list[Record]:
        """Reads from the Auditor; see `AuditorClient.advanced_query`."""
        return await self._reader.advanced_query(query_string)

    def stream_query(self, query_string: str = "") -> AsyncIterator[Record]:
        """Reads from the Auditor; see `AuditorClient.stream_query`."""
        return self._reader.stream_query(query_string)

    async def get(self) -> list[Record]:
        """Reads from the Auditor; see `AuditorClient.get`."""
        return await self._reader.get()

    async def get_started_since(self, timestamp: datetime) -> list[Record]:
        """Reads from the Auditor; see `AuditorClient.get_started_since`."""
        return await self._reader.get_started_since(timestamp)

    async def get_stopped_since(self, timestamp: datetime) -> list[Record]:
        """Reads from the Auditor; see `AuditorClient.get_stopped_since`."""
        return await self._reader.get_stopped_since(timestamp)

    async def health_check(self) -> bool:
        """Whether the Auditor and its database are there."""
        return await self._reader.health_check()

    def waiting(self) -> int:
        """How many records and stop times wait to be sent."""
        return self._outbox.status().waiting

    async def stop(self) -> None:
        """Tries once more to send what waits, and closes everything; what still waits stays."""
        await self._run(None, self._end)
        await self._reader.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    async def close(self) -> None:
        """As `stop`."""
        await self.stop()

    def _end(self) -> None:
        self._writer.shutdown()
        self._stop.set()
        self._thread.join()
        self._stop.clear()  # else the pass would take nothing
        self._sender.run_pass()
        self._outbox.close()

    def _send(self) -> None:
        while not self._stop.is_set():
            self._sender.run_pass()
            self._stop.wait(self._interval_s)

    @staticmethod
    async def _run(threads: ThreadPoolExecutor | None, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(threads, work)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()
