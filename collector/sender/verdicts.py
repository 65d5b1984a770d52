"""Sends a batch and gives each of its records a verdict, whatever the Auditor answers.

An answer to a bulk insert is about the batch, all or nothing. A batch that is refused is cut in
halves, widest first, until the guilty records stand alone; the others are stored on the way. So n
records with one guilty one among them cost about 2·log₂ n requests.

| Answer                       | Verdict                                                           |
|------------------------------|-------------------------------------------------------------------|
| 200                          | sent, stop_sent                                                   |
| RECORD_EXISTS, 200 + warning | found, compared: already_there, stop_sent, or collision           |
| 400                          | the guilty one is refused, unless the health check fails as well  |
| 413                          | smaller batches from now on; a single record is refused           |
| UNEXPECTED_ERROR, healthy    | retrying; refused after `TRIES`, if it takes others each time     |
| UNEXPECTED_ERROR, unhealthy  | retrying: raised as an outage                                     |
| 404 to an update             | the record is inserted whole                                      |
| anything else, or none       | retrying: raised                                                  |

An UNEXPECTED_ERROR is the record's own fault only if the Auditor takes others after it. Where no
other record was stored after it, a control tells: a record that the Auditor holds is inserted as it
is held, and has to be answered with RECORD_EXISTS; an update of no record, with 404. An Auditor
whose disk is full, or whose database may only be read, fails there too, and nothing is rejected.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from datetime import datetime, timedelta

import msgspec

from collector.auditor.client import AuditorClientBlocking
from collector.auditor.protocol import (
    BODY_LIMIT_BYTES,
    AuditorError,
    ForbiddenError,
    ProtocolError,
    RecordExistsError,
    RefusedError,
    TooLargeError,
    UnexpectedError,
    UnknownRecordError,
)
from collector.auditor.query import QueryBuilder
from collector.outbox import Outcome, Verdict, Waiting
from collector.sender.backoff import Backoff
from collector.sender.duplicates import SINGLY, Search, difference, find

TRIES = 10
"""A record that the Auditor's database refuses while it takes others is rejected after these.

So many, because an Auditor under load refuses some requests and takes others, whatever is in them:
if it refuses every second one at random, one record in 5**TRIES, ten million, is rejected for it.
"""
_FRUITLESS_REQUESTS = 32
"""So many requests refused in a row and nothing stored: it is the Auditor, not the records."""
_NO_RUN = "auditor-collector: no run has this id"


class Verdicts:
    """Sends batches; keeps what it learns about the Auditor from one batch to the next."""

    def __init__(
        self,
        client: AuditorClientBlocking,
        limit_bytes: int,
        backoff: Backoff,
        *,
        now: Callable[[], datetime],
        random: Callable[[], float],
    ) -> None:
        self.limit_bytes = limit_bytes
        """Longest batch to be given; shrinks when the Auditor, or a proxy, refuses one."""
        self._client = client
        self._backoff = backoff
        self._now = now
        self._random = random

    def send(self, batch: Sequence[Waiting], verdicts: list[Verdict], pool: Executor) -> None:
        """Sends a batch.

        Args:
            batch: records to insert and stop times to update, in any order.
            verdicts: is added to as verdicts are known, also when this raises.
            pool: where updates are sent at the same time.

        Raises:
            AuditorError: when there is no use in going on; what has no verdict is kept.
        """
        sending = _Sending(self._client, pool, verdicts)
        sending.updates([waiting for waiting in batch if waiting.is_stop])
        sending.inserts([waiting for waiting in batch if not waiting.is_stop])
        self.limit_bytes = min(self.limit_bytes, sending.limit_bytes)
        if sending.refused:
            own_fault = sending.fruitless is None and sending.takes_others()
            verdicts.extend(
                self._refused(*refused, own_fault=own_fault) for refused in sending.refused
            )
            if not own_fault:
                raise sending.fruitless or sending.refused[0][1]

    def _refused(self, waiting: Waiting, error: AuditorError, *, own_fault: bool) -> Verdict:
        tries = waiting.tries + own_fault
        if tries >= TRIES:
            reason = f"{error} (tried {TRIES} times, while others were taken)"
            return Verdict(waiting, Outcome.REFUSED, reason)
        wait_s = self._backoff.wait_s(tries, self._random) if own_fault else self._backoff.cap_s
        due_at = self._now() + timedelta(seconds=wait_s)
        return Verdict(waiting, Outcome.RETRYING, str(error), due_at=due_at, own_fault=own_fault)


class _Sending:
    """One batch under way."""

    def __init__(
        self, client: AuditorClientBlocking, pool: Executor, verdicts: list[Verdict]
    ) -> None:
        self.refused: list[tuple[Waiting, AuditorError]] = []
        """What the Auditor's database refuses, standing alone, while it is healthy."""
        self.fruitless: AuditorError | None = None
        """Set when narrowing was given up, because the Auditor seems to refuse everything."""
        self.limit_bytes = BODY_LIMIT_BYTES
        self._client = client
        self._pool = pool
        self._verdicts = verdicts
        self._healthy = False
        self._takes_others: bool | None = None
        self._trouble: AuditorError | None = None

    def updates(self, entries: Sequence[Waiting]) -> None:
        """Sends stop times, several at the same time; what is not there is inserted whole."""
        missing: list[Waiting] = []
        for waiting, answer in zip(entries, self._pool.map(self._update, entries), strict=True):
            if answer is None:
                self._verdicts.append(Verdict(waiting, Outcome.STOP_SENT))
                if self.refused:
                    self._takes_others = True
            elif isinstance(answer, UnknownRecordError):
                missing.append(waiting)
            elif isinstance(answer, RefusedError | UnexpectedError):
                self.refused.append((waiting, answer))
        if self._trouble is not None:
            self.refused.clear()
            raise self._trouble
        if self.refused:
            self._check_health()
        self.inserts(missing)

    def inserts(self, batch: Sequence[Waiting]) -> None:
        """Stores records, narrowing down what the Auditor refuses."""
        groups: deque[tuple[Sequence[Waiting], Search]] = deque()
        if batch:
            groups.append((batch, Search.RUNS))
        refusals = 0
        stored = False
        while groups:
            group, search = groups.popleft()
            try:
                self._client.bulk_insert_encoded([waiting.body for waiting in group])
            except RecordExistsError as error:
                if search is Search.SINGLY and len(group) > SINGLY:
                    groups.extend(_halves(group, search))
                    continue
                rest = self._compare(group, search)
                if len(rest) == len(group) <= SINGLY:
                    raise ProtocolError(
                        f"{group[0].record_id!r} is stored, says the Auditor, and does not find it",
                        status=error.status,
                        words=error.words,
                    ) from error
                if rest:
                    groups.append((rest, min(Search(search + 1), Search.SINGLY)))
            except TooLargeError as error:
                self.limit_bytes = sum(len(waiting.body) for waiting in group) // 2
                if len(group) > 1:
                    groups.extend(_halves(group, search))
                else:
                    self._verdicts.append(Verdict(group[0], Outcome.REFUSED, str(error)))
            except (RefusedError, UnexpectedError) as error:
                self._check_health()
                if len(group) > 1:
                    groups.extend(_halves(group, search))
                elif isinstance(error, RefusedError):
                    self._verdicts.append(Verdict(group[0], Outcome.REFUSED, str(error)))
                else:
                    self.refused.append((group[0], error))
                refusals += isinstance(error, UnexpectedError)
                if refusals >= _FRUITLESS_REQUESTS and not (stored or self.takes_others()):
                    self.fruitless = error
                    self.refused.extend((waiting, error) for left, _ in groups for waiting in left)
                    return
            else:
                stored = True
                if refusals:
                    self._takes_others = True
                self._verdicts.extend(Verdict(waiting, Outcome.SENT) for waiting in group)

    def takes_others(self) -> bool:
        """Whether the Auditor takes what is not refused; asks it once for a batch, if need be."""
        if self._takes_others is None:
            self._takes_others = self._control()
        return self._takes_others

    def _control(self) -> bool:
        """See the head of the module; an Auditor that holds nothing, or is in trouble, says no."""
        try:
            answer = self._client.stream_query(QueryBuilder().limit(1).build())
            with contextlib.closing(answer) as records:
                held = next(records, None)
            if held is None:
                return False
            with contextlib.suppress(RecordExistsError):
                self._client.bulk_insert_encoded([msgspec.json.encode(held)])
            with contextlib.suppress(UnknownRecordError):
                self._client.update_stop_time(_NO_RUN, held.start_time)
        except AuditorError:
            return False
        return True

    def _compare(self, group: Sequence[Waiting], search: Search) -> list[Waiting]:
        """Gives verdicts to those that the Auditor has; returns the others."""
        found = find(self._client, group, search)
        rest: list[Waiting] = []
        to_update: list[Waiting] = []
        for waiting in group:
            stored = found.get(waiting.record_id)
            if stored is None:
                rest.append(waiting)
            elif other := difference(waiting, stored):
                self._verdicts.append(
                    Verdict(
                        waiting, Outcome.COLLISION, other, other_version=msgspec.json.encode(stored)
                    )
                )
            elif waiting.stop_time in (None, stored.stop_time):
                self._verdicts.append(Verdict(waiting, Outcome.ALREADY_THERE))
            else:
                to_update.append(waiting)
        if to_update:
            self.updates(to_update)
        return rest

    def _update(self, waiting: Waiting) -> AuditorError | None:
        if self._trouble is not None:
            return self._trouble
        assert waiting.stop_time is not None  # only a stop time makes an update
        try:
            self._client.update_stop_time(waiting.record_id, waiting.stop_time)
        except (UnknownRecordError, RefusedError, UnexpectedError) as error:
            return error
        except AuditorError as error:
            self._trouble = error
            return error
        return None

    def _check_health(self) -> None:
        """Once for a batch: a refusal counts only from an Auditor that is well.

        With role-based access, an Auditor by default forbids a writing client to ask; that is an
        answer as well.
        """
        if not self._healthy:
            with contextlib.suppress(ForbiddenError):
                self._client.check()
            self._healthy = True


def _halves(group: Sequence[Waiting], search: Search) -> list[tuple[Sequence[Waiting], Search]]:
    middle = len(group) // 2
    return [(group[:middle], search), (group[middle:], search)]
