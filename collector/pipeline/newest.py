"""What becomes of the newest jobs of a source: the proof that a configuration gives records.

Reading works and the Auditor answers while every job is rejected, for a typo in one mapping rule.
So `check` makes the newest jobs into records, as a poll would, and stores none of them.
"""

import threading
from collections import Counter
from collections.abc import Iterator

from collector.config import Config
from collector.config.mistakes import did_you_mean
from collector.job import Job
from collector.logs import Log, counted
from collector.mapping.rules import MappingSection, fields_of
from collector.outbox import NewRecord
from collector.pipeline.entries import Entry, entries_of
from collector.pipeline.sources import MappedSource, make_sources
from collector.source import Filtered, Finding, Source, SourceError, Unreadable

NUMBER = 100
_LIMIT_S = 20.0
_ENOUGH = 0.5
"""At least this share of the jobs that no rule leaves out has to give records."""


def try_newest(
    config: Config, log: Log, limit_s: float = _LIMIT_S
) -> Iterator[tuple[str, Finding]]:
    """Makes the newest jobs of each source into records, and yields (source, finding).

    Args:
        config: the configuration.
        log: for what sources say meanwhile.
        limit_s: seconds for each source; what was read by then is judged.
    """
    for number in range(len(config.sources)):
        stop = threading.Event()
        mapped = make_sources(config, log, stop)[number]
        try:
            jobs = newest_of(mapped.source, stop, limit_s)
        except SourceError as error:
            yield mapped.name, Finding.error(f"the newest jobs cannot be read: {error}")
            continue
        except Exception as error:  # noqa: BLE001 - a plugin of anybody
            text = f"the newest jobs cannot be read: {type(error).__name__}: {error}"
            yield mapped.name, Finding.error(text)
            continue
        for finding in judge(jobs, mapped, stopped=stop.is_set()):
            yield mapped.name, finding


def newest_of(source: Source, stop: threading.Event, limit_s: float) -> list[Job | Unreadable]:
    """The newest jobs of a source that can be read in some time.

    Args:
        source: to be read.
        stop: the source's; set when the time is over.
        limit_s: seconds.

    Raises:
        SourceError: when nothing can be read.
    """
    timer = threading.Timer(limit_s, stop.set)
    timer.daemon = True
    timer.start()
    try:
        return source.newest(NUMBER)
    finally:
        timer.cancel()


def judge(
    jobs: list[Job | Unreadable], mapped: MappedSource, *, stopped: bool = False
) -> Iterator[Finding]:
    """What jobs say of the configuration that makes records of them.

    Args:
        jobs: the newest of a source.
        mapped: the source, and the mapping.
        stopped: whether the time to read them was over.
    """
    if not jobs:
        why = "in the time that check takes" if stopped else "of the last 31 days"
        yield Finding.warning(
            f"no job {why} to try the mapping with; backfill --dry-run reads more"
        )
        return
    entries = list(entries_of(jobs, mapped))
    yield _share(entries)
    yield from _lacking(jobs, mapped)
    record = next((one for one in reversed(entries) if isinstance(one, NewRecord)), None)
    if record is not None:
        yield Finding(True, f"a record as it would be sent: {record.body.decode()}")


def _share(entries: list[Entry]) -> Finding:
    good = sum(isinstance(entry, NewRecord) for entry in entries)
    filtered = Counter(entry.reason for entry in entries if isinstance(entry, Filtered))
    left_out = sum(filtered.values())
    reasons = Counter(
        entry.reason for entry in entries if not isinstance(entry, NewRecord | Filtered)
    )
    text = f"of the newest {counted(len(entries), 'job')}, {good} make a record"
    if left_out:
        ((reason, _),) = filtered.most_common(1)
        text += f", {left_out} are left out (mostly: {reason})"
    if reasons:
        ((reason, number),) = reasons.most_common(1)
        text += f", {sum(reasons.values())} would be rejected, {number} of them: {reason}"
    if good < _ENOUGH * (len(entries) - left_out):
        return Finding.error(text)
    return Finding.warning(text) if reasons or not good else Finding(True, text)


def _lacking(jobs: list[Job | Unreadable], mapped: MappedSource) -> Iterator[Finding]:
    """Warnings for fields that the configuration names and none of the jobs has."""
    seen = {name for job in jobs if isinstance(job, Job) for name in job.fields}
    if not seen:
        return
    none = f"none of the newest {counted(len(jobs), 'job')} has a field"
    known = seen | mapped.mapping.fields
    for where, field in _named(mapped.source.section.mapping):
        if field not in seen:
            hint = did_you_mean(field, known - {field})
            hint = hint or f"; a constant is written {{value: {field}}}"
            yield Finding.warning(f"{where}: {none} {field}{hint}")
    for condition in mapped.source.section.only_if:
        if condition.field not in seen:
            hint = did_you_mean(condition.field, known - {condition.field})
            yield Finding.warning(f"only_if: {none} {condition.field}, so all are left out{hint}")


def _named(section: MappingSection) -> Iterator[tuple[str, str]]:
    for kind in ("meta", "components"):
        for name, rules in getattr(section, kind).items():
            for field in sorted(fields_of(rules)) if rules is not None else ():
                yield f"mapping.{kind}.{name}", field
