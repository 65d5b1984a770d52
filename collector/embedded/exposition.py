"""What the embedded Auditor reports to Prometheus, under the names of the real server.

Counts of records are read from the file at each scrape; requests are counted as they are answered.
Paths that do not exist are counted together, because anybody can make up new ones.
"""

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from collector.embedded.store import Store

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

_LABELS = ("endpoint", "method", "status")
_METHODS = frozenset({"GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH"})


class _Records(Collector):
    """Counts of the stored records."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def collect(self) -> Iterator[GaugeMetricFamily]:
        help_text = "Number of records in the Auditor database"
        ((total,),) = self._store.rows("SELECT count(*) FROM record")
        yield GaugeMetricFamily("num_records_database", help_text, value=total)
        for name, label, key in (
            ("site", "site", "site_id"),
            ("group", "group_id", "group_id"),
            ("user", "user_id", "user_id"),
        ):
            family = GaugeMetricFamily(
                f"num_records_database_per_{name}", help_text, labels=[label]
            )
            for value, count in self._store.rows(
                "SELECT value, count(*) FROM meta WHERE key = ? GROUP BY value", [key]
            ):
                family.add_metric([value], count)
            yield family


class Exposition:
    """An ASGI application around another, whose requests it counts."""

    def __init__(self, app: ASGIApp, store: Store) -> None:
        self._app = app
        self._registry = CollectorRegistry()
        self._registry.register(_Records(store))
        self._requests = Counter(
            "auditor_http_requests", "Total number of HTTP requests", _LABELS,
            registry=self._registry,
        )  # fmt: skip
        self._durations = Histogram(
            "auditor_http_requests_duration_seconds",
            "HTTP request duration in seconds for all requests",
            _LABELS,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
            registry=self._registry,
        )

    def text(self) -> bytes:
        """All of it, in Prometheus's text format."""
        return generate_latest(self._registry)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, and counts it."""
        started_s = time.perf_counter()
        status = 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            route = scope.get("route")
            endpoint = getattr(route, "path", "unknown").replace(":path", "")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            labels = (endpoint, method, str(status))
            self._requests.labels(*labels).inc()
            self._durations.labels(*labels).observe(time.perf_counter() - started_s)
