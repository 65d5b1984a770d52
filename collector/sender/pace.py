"""How much is sent at a time: less after time-outs, more again when answers are quick.

A batch that is not answered in time is halved for the next try, down to single records; a single
record gets up to twice the time. When as much as failed was answered, each batch within a quarter
of the time-out, the next one is doubled: not before, so that one slow record among many is found in
log₂ n tries. So an Auditor, or a proxy before it, that needs long for a record gets as many
as it can answer, and one that was away for an hour gets whole batches again after a few.
"""

from collector.auditor.errors import TimedOutError, UnavailableError

_PATIENCE_LIMIT_S = 60.0
"""No single record is waited for longer, unless `auditor.timeout_s` is: a stop waits for it."""


class Pace:
    """The largest batch that is worth a try, in records and in bytes."""

    def __init__(self, records: int, bytes_: int, timeout_s: float) -> None:
        """Begins with the configured limits.

        Args:
            records: in a batch, at most.
            bytes_: in a batch, at most.
            timeout_s: for an answer.
        """
        self._most = records
        self._timeout_s = timeout_s
        self._failures = 0
        self._failed_records = 0
        self.records = records
        self.bytes = bytes_
        """Shrinks when the Auditor, or a proxy, refuses a batch for its length; stays so."""

    def timeout_s(self, records: int) -> float:
        """How long to wait for the answer to so many records, in seconds."""
        if records > 1 or not self._failures:
            return self._timeout_s
        return max(self._timeout_s, min(2 * self._timeout_s, _PATIENCE_LIMIT_S))

    def answered(self, records: int, took_s: float) -> None:
        """Takes in how long the answer to a batch took, in seconds."""
        self._failures = 0
        self._failed_records -= records
        if self._failed_records > 0 or records < self.records:
            return
        if took_s < self._timeout_s / 4:
            self.records = min(self._most, 2 * self.records)

    def too_large(self, length: int) -> None:
        """Takes in that a batch of so many bytes was refused for its length."""
        self.bytes = min(self.bytes, length // 2)

    def failed(self, records: int, error: UnavailableError) -> None:
        """Takes in that a batch had no answer.

        A time-out speaks of the batch. So does any other failure that comes again: some proxies
        cut the connection, or answer 502, when they have waited long enough.
        """
        self._failures += 1
        self._failed_records = records
        if isinstance(error, TimedOutError) or self._failures > 1:
            self.records = max(1, min(self.records, records // 2))
