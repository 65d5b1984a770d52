"""Sends a batch and gives each of its records a verdict, whatever the Auditor answers.

| Answer                       | Outcome                                                           |
|------------------------------|-------------------------------------------------------------------|
| 200, and the proof of it     | sent, stop_sent                                                   |
| 200 without proof            | asked for: sent or stop_sent where it is found, else raised       |
| RECORD_EXISTS, 200 + warning | found, compared: already_there, stop_sent, or collision           |
| the same, and we may not read| narrowed down: already_there_unread                               |
| 400                          | the guilty one is refused, if the Auditor takes others            |
| 403, and an empty list is not| as UNEXPECTED_ERROR: something on the way refuses this text, or   |
|                              | some requests                                                     |
| 413                          | smaller batches from now on; a single record is refused           |
| UNEXPECTED_ERROR, healthy    | retrying; refused after `TRIES`, if it takes others each time     |
| UNEXPECTED_ERROR, unhealthy  | retrying: raised as an outage                                     |
| no answer in time, 504       | smaller batches until answers are quick; a single record is       |
|                              | retrying: by itself, and with more time                           |
| 404 to an update             | the record is inserted whole                                      |
| any failure of an update, or | retrying, later; new records are sent meanwhile, if an empty list |
| 502, 503 to a comparison     | is accepted                                                       |
| anything else, or none       | retrying: raised                                                  |

A refusal is the record's own fault only if the Auditor takes others after it. Where no other record
was stored after it, a control shows it: see `Proof.takes_others`. An Auditor whose disk is full, or
whose database may only be read, fails there too, and nothing is rejected.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from datetime import datetime, timedelta
from http import HTTPStatus

from collector.auditor.client import AuditorClientBlocking
from collector.auditor.errors import AuditorError, RefusedError, TimedOutError, UnavailableError
from collector.outbox import Outcome, Verdict, Waiting
from collector.sender.backoff import Backoff
from collector.sender.narrowing import Narrowing
from collector.sender.pace import Pace
from collector.sender.proof import Proof

TRIES = 10
"""A record that the Auditor's database refuses while it takes others is rejected after these.

So many, because an Auditor under load refuses some requests and takes others, whatever is in them:
if it refuses every second one at random, one record in 5**TRIES, ten million, is rejected for it.
"""

_UNKNOWN_FAULT_FACTOR = 10


class Verdicts:
    """Sends batches; keeps what it learns about the Auditor from one batch to the next."""

    def __init__(
        self,
        client: AuditorClientBlocking,
        pace: Pace,
        backoff: Backoff,
        *,
        now: Callable[[], datetime],
        random: Callable[[], float],
    ) -> None:
        self.pace = pace
        """How much to give at a time."""
        self.proof = Proof(client, now)
        self._client = client
        self._backoff = backoff
        self._now = now
        self._random = random
        self.withheld: AuditorError | None = None
        """Why the last pass withheld stop times, or records that could not be compared."""
        self._slow_in_a_row = 0

    def send(self, batch: Sequence[Waiting], verdicts: list[Verdict], pool: Executor) -> None:
        """Sends a batch.

        Args:
            batch: records to insert and stop times to update, in any order.
            verdicts: is added to as verdicts are known, also when this raises.
            pool: where updates are sent at the same time.

        Raises:
            AuditorError: when there is no use in going on; what has no verdict is kept.
        """
        sending = Narrowing(self._client, self.proof, self.pace, pool, verdicts)
        sending.updates([waiting for waiting in batch if waiting.is_stop])
        sending.inserts([waiting for waiting in batch if not waiting.is_stop])
        verdicts.extend(self._slow(*slow) for slow in sending.slow)
        verdicts.extend(self._withheld(*withheld) for withheld in sending.withheld)
        if sending.refused:
            own_fault = sending.fruitless is None and sending.takes_others()
            verdicts.extend(
                self._refused(*refused, own_fault=own_fault) for refused in sending.refused
            )
            if not own_fault:
                raise sending.fruitless or sending.refused[0][1]
        self._raise_if_all_is_slow(sending)

    def _refused(self, waiting: Waiting, error: AuditorError, *, own_fault: bool) -> Verdict:
        if own_fault and isinstance(error, RefusedError) and _by_the_auditor(error):
            return Verdict(waiting, Outcome.REFUSED, str(error))
        tries = waiting.tries + own_fault
        if tries >= TRIES:
            reason = f"{error} (tried {TRIES} times, while others were accepted)"
            return Verdict(waiting, Outcome.REFUSED, reason)
        wait_s = self._backoff.wait_s(tries, self._random) if own_fault else self._backoff.cap_s
        if not (own_fault or self.proof.may_read):
            # Without a control nobody knows whose fault it is; all others are tried before.
            wait_s *= _UNKNOWN_FAULT_FACTOR
        due_at = self._now() + timedelta(seconds=wait_s)
        return Verdict(waiting, Outcome.RETRYING, str(error), due_at=due_at, own_fault=own_fault)

    def _withheld(self, waiting: Waiting, error: AuditorError) -> Verdict:
        self.withheld = error
        soon = isinstance(error, UnavailableError)
        wait_s = self._backoff.wait_s(1, self._random) if soon else self._backoff.cap_s
        due_at = self._now() + timedelta(seconds=wait_s)
        return Verdict(waiting, Outcome.RETRYING, str(error), due_at=due_at)

    def _raise_if_all_is_slow(self, sending: Narrowing) -> None:
        """Goes on after one slow record that is known for it; not after the second in a row."""
        if sending.stored:
            self._slow_in_a_row = 0
        elif sending.slow:
            waiting, error = sending.slow[0]
            self._slow_in_a_row += 1
            if not waiting.tries or self._slow_in_a_row > 1:
                self._slow_in_a_row = 0
                raise error

    def _slow(self, waiting: Waiting, error: TimedOutError) -> Verdict:
        # Later than the sender tries again after any failure, so that the others come first.
        due_at = self._now() + timedelta(seconds=2 * self._backoff.cap_s)
        alone = waiting.tries == 0  # counts once, so that it is tried by itself from now on
        return Verdict(waiting, Outcome.RETRYING, str(error), due_at=due_at, own_fault=alone)


def _by_the_auditor(error: RefusedError) -> bool:
    """Whether a refusal is the Auditor's: something on the way may refuse at random."""
    return error.status != HTTPStatus.FORBIDDEN and not error.words.lstrip().startswith("<")
