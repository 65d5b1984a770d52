"""Explains a job: where it was read, what each rule made of it, its record, and where that is now.

The job is read by its source and made into a record by the one way that all jobs go
(`entries.py`), so an explanation says what happens and nothing else.
"""

import re
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from collector.auditor.client import AuditorClientBlocking
from collector.auditor.errors import AuditorError, UnknownRecordError
from collector.config import Config
from collector.config.load import rules_of
from collector.config.pseudonyms import of_site
from collector.job import Job
from collector.mapping.evaluation import Site
from collector.mapping.trace import Traced, trace
from collector.outbox import NewRecord, Outbox, Whereabouts
from collector.pipeline.entries import Read, entries_of
from collector.pipeline.sources import MappedSource
from collector.record import Component, Record, decode, shared
from collector.source import Filtered, SourceError, Unreadable, guarded
from collector.source.guard import text_of

_CLOSE_S = 2
"""A witness this close to the start, or the end, agrees with it."""


class Witness(msgspec.Struct):
    """A field that says when the run began, ended, or what became of it."""

    field: str
    value: Any
    at: datetime | None = None
    """The value as an instant, if it is one."""
    agrees: str = ""
    """`start`, `end`, or both, with which it agrees."""


class Explanation(msgspec.Struct):
    """The way of one job."""

    source: str
    where: str
    """Where its text was read."""
    raw: str
    record_id: str | None = None
    start_at: datetime | None = None
    stop_at: datetime | None = None
    witnesses: list[Witness] = []
    rules: list[Traced] = []
    left_out: str = ""
    """Why it is not accounted, by a rule or a filter."""
    rejected: str = ""
    """Why no record can be made of it."""
    record: msgspec.Raw | None = None
    """As it is sent."""
    outbox: Whereabouts | None = None
    auditor: str = ""
    """What the Auditor has of it."""


def explain(read: Read, mapped: MappedSource, config: Config, where: str = "") -> Explanation:
    """Explains what a source read.

    Args:
        read: the job, or what was made of it instead.
        mapped: the source, and the mapping of its jobs.
        config: the configuration.
        where: of what has no place of its own.
    """
    (entry,) = entries_of([read], mapped)
    found = Explanation(mapped.name, getattr(read, "where", where), "")
    if isinstance(read, Job):
        found.raw = text_of(read.raw).decode(errors="backslashreplace")
        found.record_id = f"{mapped.source.section.record_prefix}-{read.id}"
        found.start_at, found.stop_at = read.start_at, read.stop_at
        found.witnesses = list(_witnesses(read, mapped))
        rules = rules_of(mapped.source.section, type(mapped.source), config)
        site = Site(of_site(config) or str, config.places.file.parent)
        found.rules = trace(rules, read.fields, site)
    elif isinstance(read, Unreadable):
        found.raw = read.raw.decode(errors="backslashreplace")
    if isinstance(entry, NewRecord):
        found.record = msgspec.Raw(entry.body)
    elif isinstance(entry, Filtered):
        found.left_out = entry.reason
    else:
        found.rejected = entry.reason
        found.record_id = entry.record_id or found.record_id
    return found


def _witnesses(job: Job, mapped: MappedSource) -> Iterator[Witness]:
    """By the whole text of the job: its mapping needs few of these fields."""
    source = mapped.source
    context = msgspec.structs.replace(source.context, fields=None)
    whole = type(source)(source.section, context)
    read = guarded(whole.parse, text_of(job.raw), job.where)
    fields = read.fields if isinstance(read, Job) else job.fields
    for name in source.witnesses:
        if (value := fields.get(name)) is None:
            continue
        at = _instant(value)
        agrees = [
            word
            for word, chosen in (("start", job.start_at), ("end", job.stop_at))
            if at is not None
            and chosen is not None
            and abs((chosen - at).total_seconds()) < _CLOSE_S
        ]
        yield Witness(name, value, at, " and ".join(agrees))


def _instant(value: object) -> datetime | None:
    """The instant of epoch seconds, or of a text in ISO 8601."""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 10**9:
            return datetime.fromtimestamp(value, UTC)
        at = datetime.fromisoformat(value) if isinstance(value, str) and "T" in value else None
    except (ValueError, OverflowError, OSError):
        return None
    return at if at is not None and at.tzinfo is not None else None


def find(
    wanted: str, mapped: MappedSource, outbox: Outbox | None, back: timedelta
) -> list[tuple[Read, str]]:
    """The runs of a job, with where each was read: by the source, or kept with what was rejected.

    Args:
        wanted: the scheduler's id of the job, or a record id.
        mapped: the source to look in.
        outbox: whose rejected rows are looked at, if there is one.
        back: how far back the source is read.

    Raises:
        SourceError: when the source cannot be read.
    """
    prefix = f"{mapped.source.section.record_prefix}-"
    job_id = wanted.removeprefix(prefix)
    found: list[tuple[Read, str]] = []
    for row in outbox.rejected(source=mapped.name, reason=job_id) if outbox else []:
        is_it = row.record_id is not None and _is(row.record_id.removeprefix(prefix), job_id)
        if row.kind == "unmappable" and is_it:
            found.append((guarded(mapped.source.parse, row.raw, row.where), row.where))
    try:
        batch = mapped.source.one(job_id)
    except (SourceError, ValueError):
        pass  # not by this source, or not with this id
    else:
        found += [(job, job.where) for job in batch.jobs]
        found += [(unreadable, unreadable.where) for unreadable in batch.unreadable]
        found += [(Filtered(reason), "") for reason in batch.filtered]
    return found or _search(job_id, mapped, back)


def _search(job_id: str, mapped: MappedSource, back: timedelta) -> list[tuple[Read, str]]:
    now = mapped.source.context.now()
    for period in (timedelta(hours=1), timedelta(days=1), timedelta(days=7), back):
        found: list[tuple[Read, str]] = [
            (job, job.where)
            for batch in mapped.source.backfill(now - min(period, back), now)
            for job in batch.jobs
            if _is(job.id, job_id)
        ]
        if found or period >= back:
            return found
    return []


def _is(found: str, wanted: str) -> bool:
    """Whether the id of a run is that of a job: the same, or with that as one of its parts."""
    return found == wanted or bool(
        re.search(rf"(?<![\w.]){re.escape(wanted)}(?![\w.])", found) if wanted else None
    )


def locate(
    found: Sequence[Explanation], outbox: Outbox | None, client: AuditorClientBlocking | None
) -> None:
    """Adds where each record is now: in the outbox, in the Auditor.

    Args:
        found: explanations, which are changed.
        outbox: where to look; None: nowhere.
        client: of the Auditor; None: it is not asked.
    """
    for one in found:
        if one.record_id is None:
            continue
        if outbox is not None:
            one.outbox = outbox.whereabouts(one.record_id)
        if client is not None:
            ours = None if one.record is None else decode(bytes(one.record))
            one.auditor = in_auditor(one.record_id, ours, client)


def in_auditor(record_id: str, ours: Record | None, client: AuditorClientBlocking) -> str:
    """What the Auditor has of a record, in words."""
    try:
        stored = client.get_single_record(record_id)
    except UnknownRecordError:
        return "not there"
    except AuditorError as error:
        return f"not known: {error}"
    if ours is None:
        return "there"
    of_both = shared(ours.components, stored.components)  # a later release may add some
    different = [
        f"{name} {theirs} there, {of_ours} by the source"
        for name, theirs, of_ours in (
            ("start", stored.start_time, ours.start_time),
            ("stop", stored.stop_time, ours.stop_time),
            ("components", _amounts(stored.components), _amounts(of_both)),
        )
        if theirs != of_ours
    ]
    return f"there, and different: {'; '.join(different)}" if different else "there, and equal"


def _amounts(components: Sequence[Component]) -> dict[str, int]:
    return {component.name: component.amount for component in components}


def stopping(limit_s: float, stop: threading.Event) -> threading.Timer:
    """Ends the reading of a source after some time."""
    timer = threading.Timer(limit_s, stop.set)
    timer.daemon = True
    timer.start()
    return timer
