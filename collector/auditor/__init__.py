"""The client of an Auditor: the protocol, and clients with the names of `pyauditor`.

The names of the public package `pyauditor` are offered here, so that a program written for it runs
after changing only the import. They are loaded when they are first used, because the clients need
httpx and most of this program does not.
"""

import importlib
from typing import TYPE_CHECKING, Any

from collector.record import Component, Meta, Record, Score

if TYPE_CHECKING:
    QueuedAuditorClient: Any
    from collector.auditor.client import (
        AuditorClient,
        AuditorClientBlocking,
        AuditorClientBuilder,
    )
    from collector.auditor.query import (
        ComponentQuery,
        MetaOperator,
        MetaQuery,
        Operator,
        QueryBuilder,
        SortBy,
        Value,
    )

_HOMES = {
    "AuditorClient": "client",
    "AuditorClientBlocking": "client",
    "AuditorClientBuilder": "client",
    "ComponentQuery": "query",
    "MetaOperator": "query",
    "MetaQuery": "query",
    "Operator": "query",
    "QueryBuilder": "query",
    "SortBy": "query",
    "Value": "query",
}

__all__ = [
    "AuditorClient",
    "AuditorClientBlocking",
    "AuditorClientBuilder",
    "Component",
    "ComponentQuery",
    "Meta",
    "MetaOperator",
    "MetaQuery",
    "Operator",
    "QueryBuilder",
    "QueuedAuditorClient",
    "Record",
    "Score",
    "SortBy",
    "Value",
]


def __getattr__(name: str) -> Any:
    if name == "QueuedAuditorClient":
        return importlib.import_module(f"{__name__}.client").queued_client()
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
