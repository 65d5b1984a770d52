"""The client for async code: the blocking one, on threads of its own, awaited.

So one client serves any number of event loops and threads, also one loop after the other, and both
clients are the same code. A thread that waits costs a request little beside its time on the
network; at most `_AT_ONCE` requests are under way, the others wait. A task that is cancelled stops
waiting; its request is carried out, or not.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from collector.auditor import blocking
from collector.auditor.blocking import AuditorClientBlocking
from collector.record import Record

_AT_ONCE = 32

P = ParamSpec("P")
T = TypeVar("T")


class AuditorClient:
    """A client for async code; its methods are those of `AuditorClientBlocking`, awaited."""

    def __init__(self, client: AuditorClientBlocking) -> None:
        self._client = client
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="auditor-client")

    async def add(self, record: Record) -> None:
        """See `AuditorClientBlocking.add`."""
        await self._run(self._client.add, record)

    async def bulk_insert(self, records: Iterable[Record]) -> None:
        """See `AuditorClientBlocking.bulk_insert`."""
        await self._run(self._client.bulk_insert, records)

    async def update(self, record: Record) -> None:
        """See `AuditorClientBlocking.update`."""
        await self._run(self._client.update, record)

    async def get_single_record(self, record_id: str) -> Record:
        """See `AuditorClientBlocking.get_single_record`."""
        return await self._run(self._client.get_single_record, record_id)

    async def advanced_query(self, query_string: str) -> list[Record]:
        """See `AuditorClientBlocking.advanced_query`."""
        return await self._run(self._client.advanced_query, query_string)

    async def stream_query(self, query_string: str = "") -> AsyncIterator[Record]:
        """See `AuditorClientBlocking.stream_query`."""
        chunks = self._client.stream_chunks(query_string)
        try:
            while (records := await self._run(next, chunks, None)) is not None:
                for record in records:
                    yield record
        finally:
            with contextlib.suppress(ValueError):  # a cancelled task's thread still reads
                chunks.close()  # type: ignore[attr-defined] # a generator

    async def get(self) -> list[Record]:
        """See `AuditorClientBlocking.get`."""
        blocking.warn_deprecated("get")
        return await self.advanced_query("")

    async def get_started_since(self, timestamp: datetime) -> list[Record]:
        """See `AuditorClientBlocking.get_started_since`."""
        blocking.warn_deprecated("get_started_since")
        return await self.advanced_query(blocking.started_since(timestamp))

    async def get_stopped_since(self, timestamp: datetime) -> list[Record]:
        """See `AuditorClientBlocking.get_stopped_since`."""
        blocking.warn_deprecated("get_stopped_since")
        return await self.advanced_query(blocking.stopped_since(timestamp))

    async def health_check(self) -> bool:
        """See `AuditorClientBlocking.health_check`."""
        return await self._run(self._client.health_check)

    async def close(self) -> None:
        """Closes the connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    async def _run(self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: method(*args, **kwargs))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
