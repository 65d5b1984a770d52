"""The mode `epochs`: makes runs of the ads that shadows write to the epoch history.

A shadow appends an ad at the end of each run, so this history has every run of a job, also those of
jobs that are still in the queue. `history.py` follows the files, as those of the schedd's history.
"""

from collector.source import Job, Unreadable
from collector_htcondor.identity import id_of_run
from collector_htcondor.jobs import FOR_EVER, LONG_AGO, JobReader
from collector_htcondor.run_end import last_run
from collector_htcondor.texts import Texts, instant, unreadable
from collector_htcondor.universes import TRANSFER_SHADOW
from collector_htcondor.witnesses import CLOCK_STEP_S

NO_END = "not the end of a run"
"""Epoch ads of other kinds: the start of a run, file transfers."""


class EpochReader(JobReader):
    """Turns the text of an epoch ad, which a shadow wrote at the end of a run, into that run.

    The end is `EpochWriteDate`, if the last contact agrees; see `run_end.py`. The first run of a
    job has the job's id, a further one also its start: so a run that two shadows report (the schedd
    was restarted meanwhile) has one id.
    """

    def job(self, raw: bytes, where: str) -> Job | Unreadable | str:
        """Makes a job of one ad; see `JobReader.job`."""
        banner_at = raw.rfind(b"\n*** ")
        if not raw.startswith(b"EPOCH ", banner_at + 5):
            return NO_END
        if b" ProcId=-" in raw[banner_at:] or b" ProcId = -" in raw[banner_at:]:
            return TRANSFER_SHADOW
        texts = self._all_texts(self._reader.texts(raw), raw)
        written = instant(texts.get(b"EpochWriteDate"))
        identity = self._identifier.identify(
            texts, raw, written if written > LONG_AGO else FOR_EVER
        )
        if identity is None or texts.get(b"GlobalJobId", b"")[:1] != b'"':
            return unreadable(raw, where, texts, b"GlobalJobId", self.expected_id)
        made = identity.made
        if not 0 < made - CLOCK_STEP_S <= written:
            expected = f"a time after {made}, when the job was made"
            return unreadable(raw, where, texts, b"EpochWriteDate", expected)
        run = last_run(texts, made - CLOCK_STEP_S, written, epoch_end=written)
        if run is None:
            expected = f"a time between {made} and {written}, the end of the run"
            return unreadable(raw, where, texts, b"JobCurrentStartDate", expected)
        if self.left is not None:
            before = self.left.get(identity.job_id, 0)
            self.left[identity.job_id] = max(before, run.start)
        wrong = self._doubts(texts, run, made, written)
        contradicted = ["GlobalJobId"] if identity.forged else []
        return self._made(texts, raw, where, identity, run, run.start, contradicted, wrong)

    def _id_of(self, job_id: str, texts: Texts, start: int) -> str:
        return id_of_run(job_id, texts, start)
