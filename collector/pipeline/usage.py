"""Adds up what records say was used, exactly: whole numbers in, whole numbers out.

A run counts where it stopped, as in APEL: one that crosses the edge of a month is of the month of
its stop time as a whole. A record without a stop time is in no sum, and one that stops before it
starts neither; both are counted, so that nobody misses them unknowingly. Run time is that of the
Auditor, in whole seconds, so the sums are those of `sum(runtime)` in its database.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from fractions import Fraction

import msgspec

from collector.auditor.client import AuditorClientBlocking
from collector.auditor.query import Operator, QueryBuilder, SortBy, Value
from collector.record import Record

GROUPS_LIMIT = 200_000
"""Sums are held in memory, and nothing else."""

Group = tuple[str | None, ...]
"""A value for each key that is summed by; None where a record has none."""


class Sums(msgspec.Struct):
    """What the runs of one group used."""

    jobs: int = 0
    wall_s: int = 0
    core_s: int = 0
    """Cores x run time, in seconds."""
    gpu_s: int = 0
    memory_mib_s: int = 0
    cpu_s: int = 0
    """CPU time, of the runs that say it."""
    core_s_of_cpu: int = 0
    """Cores x run time of these runs: what `cpu_s` is compared with."""
    without_cores: int = 0
    without_memory: int = 0
    without_cpu: int = 0

    def add(self, record: Record, runtime_s: int) -> None:
        """Adds one run."""
        amounts = {component.name: component.amount for component in record.components}
        cores, memory, cpu = (amounts.get(name) for name in ("Cores", "Memory", "TotalCPU"))
        self.jobs += 1
        self.wall_s += runtime_s
        self.core_s += (cores or 0) * runtime_s
        self.gpu_s += amounts.get("GPUs", 0) * runtime_s
        self.memory_mib_s += (memory or 0) * runtime_s
        self.without_cores += cores is None
        self.without_memory += memory is None
        if cpu is None:
            self.without_cpu += 1
        else:
            self.cpu_s += cpu
            self.core_s_of_cpu += (cores or 0) * runtime_s

    def merge(self, other: "Sums") -> None:
        """Adds the sums of another group."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Measure(msgspec.Struct, frozen=True):
    """One figure of a group, made of its sums."""

    column: str
    """Its name, with its unit."""
    value: Callable[[Sums], Fraction | None]
    """Exact; None where there is nothing to divide by."""
    exact: tuple[str, ...]
    """The whole numbers that it is made of."""
    places: int = 2
    """Digits after the point in a table."""

    def shown(self, sums: Sums) -> str:
        """Rounded half up from the exact value; empty where there is none."""
        value = self.value(sums)
        return "" if value is None else rounded(value, self.places)


def rounded(value: Fraction, places: int) -> str:
    """A value of at least 0, rounded half up."""
    scaled = value * 10**places
    whole = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)
    before, after = divmod(whole, 10**places)
    return f"{before}.{after:0{places}d}" if places else str(before)


MEASURES: Mapping[str, Measure] = {
    "jobs": Measure("jobs", lambda sums: Fraction(sums.jobs), ("jobs",), 0),
    "wall": Measure("wall_hours", lambda sums: Fraction(sums.wall_s, 3600), ("wall_s",)),
    "core-hours": Measure("core_hours", lambda sums: Fraction(sums.core_s, 3600), ("core_s",)),
    "gpu-hours": Measure("gpu_hours", lambda sums: Fraction(sums.gpu_s, 3600), ("gpu_s",)),
    "memory-hours": Measure(
        "memory_gib_hours",
        lambda sums: Fraction(sums.memory_mib_s, 3600 * 1024),
        ("memory_mib_s",),
    ),
    "cpu-efficiency": Measure(
        "cpu_efficiency_percent",
        lambda sums: Fraction(100 * sums.cpu_s, sums.core_s_of_cpu) if sums.core_s_of_cpu else None,
        ("cpu_s", "core_s_of_cpu"),
        1,
    ),
}

_META = {
    "site": ("site_id", "site"),
    "user": ("user_id", "user"),
    "group": ("group_id", "group"),
    "vo": ("vo", "voms"),
}
"""Keys under which collectors store one thing; the first that a record has counts."""
_TIMES = {"year": "%Y", "month": "%Y-%m", "day": "%Y-%m-%d"}


def is_time(key: str) -> bool:
    """Whether a key to sum by is a part of the stop time."""
    return key in _TIMES


def group_of(record: Record, keys: Iterable[str]) -> Group:
    """The group of a record that has a stop time.

    Args:
        record: any.
        keys: `year`, `month`, `day` of the stop time, UTC; `site`, `user`, `group`, `vo`; any other
            is a meta key. Of several values the first counts. The VO of an FQAN (`/atlas/…`) is its
            first part.
    """
    return tuple(_value(record, key) for key in keys)


def _value(record: Record, key: str) -> str | None:
    if (form := _TIMES.get(key)) is not None:
        return None if record.stop_time is None else f"{record.stop_time.astimezone(UTC):{form}}"
    meta = record.meta or {}
    found = next((meta[name][0] for name in _META.get(key, (key,)) if meta.get(name)), None)
    if key == "vo" and found is not None and found.startswith("/"):
        return found.split("/")[1] or found
    return found


class TooManyGroupsError(Exception):
    """Raised when there are more groups than fit into memory."""


class Usage:
    """Sums by group, of any number of records."""

    def __init__(self, keys: Iterable[str]) -> None:
        """Sums by these keys; see `group_of`."""
        self.keys = tuple(keys)
        self.groups: dict[Group, Sums] = {}
        self.impossible = 0
        """Records that stop before they start; in no sum."""
        self.open = 0
        """Records without a stop time; in no sum."""

    def add(self, record: Record) -> None:
        """Adds a record.

        Raises:
            TooManyGroupsError: when it would be the first of one group too many.
        """
        runtime_s = record.runtime
        if runtime_s is None:
            self.open += 1
        elif record.stop_time is not None and record.stop_time < record.start_time:
            self.impossible += 1
        else:
            group = group_of(record, self.keys)
            if group not in self.groups and len(self.groups) == GROUPS_LIMIT:
                raise TooManyGroupsError(f"over {GROUPS_LIMIT} groups; sum by fewer keys")
            self.groups.setdefault(group, Sums()).add(record, runtime_s)

    def total(self) -> Sums:
        """The sums of all groups."""
        total = Sums()
        for sums in self.groups.values():
            total.merge(sums)
        return total

    def rows(self, measure: Measure) -> Iterator[tuple[Group, Sums]]:
        """Groups and sums: by the keys if one of them is a time, else the largest first."""

        def place(row: tuple[Group, Sums]) -> tuple[Fraction, list[tuple[bool, str]]]:
            size = Fraction(0) if any(map(is_time, self.keys)) else measure.value(row[1])
            return -(size or Fraction(0)), [(one is None, one or "") for one in row[0]]

        yield from sorted(self.groups.items(), key=place)


def usage_of(
    client: AuditorClientBlocking,
    keys: Iterable[str],
    since: datetime | None = None,
    until: datetime | None = None,
) -> Usage:
    """Sums up the runs of an Auditor that stopped in `since <= stop < until`.

    Args:
        client: of the Auditor.
        keys: see `group_of`.
        since: aware; None: from the first on.
        until: aware; None: to the last.

    Returns:
        The sums; `open` are the runs that began before `until` and have no stop time.

    Raises:
        AuditorError: when it cannot be read in full.
        TooManyGroupsError: see `Usage.add`.
    """
    usage, span, query = Usage(keys), Operator(), QueryBuilder()
    if since is not None:
        span.gte(Value.set_datetime(since))
    if until is not None:
        span.lt(Value.set_datetime(until))
    if since is not None or until is not None:
        query.with_stop_time(span)
        usage.open = _count_open(client, until)
    for record in client.stream_query(query.build()):
        usage.add(record)
    return usage


def _count_open(client: AuditorClientBlocking, until: datetime | None) -> int:
    """How many records have no stop time, and started before an instant.

    No query selects them; but sorted by stop time, largest first, they come before all others, and
    the answer is read no further than that.
    """
    query = QueryBuilder().sort_by(SortBy().descending("stop_time"))
    if until is not None:
        query.with_start_time(Operator().lt(Value.set_datetime(until)))
    with contextlib.closing(client.stream_query(query.build())) as records:
        return sum(1 for _ in itertools.takewhile(lambda record: record.stop_time is None, records))
