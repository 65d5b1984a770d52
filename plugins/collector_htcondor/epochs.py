"""The mode `epochs`: makes runs of the ads that shadows write to the epoch history.

A shadow appends an ad at the end of each run, so this history has every run of a job, also those of
jobs that are still in the queue. `history.py` follows the files, as those of the schedd's history.
"""

from datetime import UTC, datetime

from collector.source import Job, Unreadable
from collector_htcondor.jobs import (
    CLOCK_STEP_S,
    IDENTITY,
    JobReader,
    impossible,
    instant,
    unreadable,
)

NO_END = "not the end of a run"
"""Epoch ads of other kinds: the start of a run, file transfers."""


class EpochReader(JobReader):
    """Turns the text of an epoch ad, which a shadow wrote at the end of a run, into that run.

    Start and end are `JobCurrentStartDate` and `EpochWriteDate`. The first run of a job has the
    job's id, a further one also its start: so a run that two shadows report (the schedd was
    restarted meanwhile) has one id.
    """

    def job(self, raw: bytes, where: str) -> Job | Unreadable | str:
        """Makes a job of one ad; see `JobReader.job`."""
        if not raw.startswith(b"EPOCH ", raw.rfind(b"\n*** ") + 5):
            return NO_END
        texts = self._reader.texts(raw)
        identity = IDENTITY.match(texts.get(b"GlobalJobId", b""))
        if identity is None:
            return unreadable(raw, where, texts, b"GlobalJobId", '"<schedd>#<job>#<time>"')
        made, stop = int(identity[2]), instant(texts.get(b"EpochWriteDate"))
        if not 0 < made - CLOCK_STEP_S <= stop:
            expected = f"a time after {made}, when the job was made"
            return unreadable(raw, where, texts, b"EpochWriteDate", expected)
        start = instant(texts.get(b"JobCurrentStartDate"))
        if not made - CLOCK_STEP_S <= start <= stop + CLOCK_STEP_S:
            expected = f"a time between {made} and {stop}, the end of the run"
            return unreadable(raw, where, texts, b"JobCurrentStartDate", expected)
        stop = max(start, stop)
        wrong = impossible(texts, start, stop, made, stop)
        if wrong and self._rejects:
            return Unreadable(raw, where, f"impossible values, which a user can set: {wrong}")
        of_job = identity[1].decode(errors="replace")
        first = texts.get(b"JobStartDate") == texts[b"JobCurrentStartDate"]
        return Job(
            id=of_job if first else f"{of_job}#{start}",
            start_at=datetime.fromtimestamp(start, UTC),
            stop_at=datetime.fromtimestamp(stop, UTC),
            fields=self._fields(texts, raw, stop - start, wrong),
            raw=raw,
            where=where,
            suspicious=bool(wrong),
        )
