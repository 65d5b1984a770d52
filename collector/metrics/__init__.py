"""Metrics and health, over HTTP or as a file; imported only where the configuration asks for it.

    metrics.py    what is measured, and where it can be read
    families.py   what the outbox's books say, as metrics: names, help, labels
    server.py     /metrics and /healthz on a thread of their own

Counters of records come from the outbox, so they survive a restart; those of polls and passes
start at 0 again. Names are `auditor_collector_<what>_<unit>`, with `_total` for counters;
docs/metrics.md lists them all.
"""

from collector.metrics.families import Sight
from collector.metrics.metrics import Metrics

__all__ = ["Metrics", "Sight"]
