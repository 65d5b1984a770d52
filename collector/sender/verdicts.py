"""Sends a batch and gives each of its records a verdict, whatever the Auditor answers.

An answer to a bulk insert is about the batch, all or nothing. A batch that is refused is cut in
halves, widest first, until the guilty records stand alone; the others are stored on the way. So n
records with one guilty one among them cost about 2·log₂ n requests.

| Answer                       | Verdict                                                           |
|------------------------------|-------------------------------------------------------------------|
| 200                          | sent, updated                                                     |
| RECORD_EXISTS, 200 + warning | found, compared: already_there, updated, or rejected (a collision)|
| 400                          | the guilty one is rejected, unless the health check fails as well |
| 413                          | smaller batches from now on; a single record is rejected          |
| UNEXPECTED_ERROR, healthy    | kept; rejected after `TRIES`, if others were stored meanwhile     |
| UNEXPECTED_ERROR, unhealthy  | kept: raised as an outage                                         |
| 404 to an update             | the record is inserted whole                                      |
| anything else, or none       | kept: raised                                                      |
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from datetime import datetime, timedelta

import msgspec

from collector.auditor.client import AuditorClientBlocking
from collector.auditor.protocol import (
    BODY_LIMIT_BYTES,
    AuditorError,
    ProtocolError,
    RecordExistsError,
    RefusedError,
    TooLargeError,
    UnexpectedError,
    UnknownRecordError,
)
from collector.backoff import Backoff
from collector.outbox import Verdict, Waiting
from collector.record import Record
from collector.sender.duplicates import SINGLY, Search, difference, find

TRIES = 5
"""A record that the Auditor's database refuses while it stores others is rejected after these."""
_FRUITLESS_REQUESTS = 32
"""So many requests refused in a row and nothing stored: it is the Auditor, not the records."""
_SUSPECTS_LIMIT = 10_000


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
        self._stored_batches = 0
        self._suspects: dict[int, int] = {}  # id → batches stored when its database refused it

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
        sending.proven = bool(batch) and all(map(self._may_count, batch))
        sending.updates([entry for entry in batch if entry.is_update])
        sending.inserts([entry for entry in batch if not entry.is_update])
        self.limit_bytes = min(self.limit_bytes, sending.limit_bytes)
        stored = any(verdict.outcome in ("sent", "updated") for verdict in verdicts)
        if stored:
            self._stored_batches += 1
        verdicts.extend(
            self._refused(entry, error, counts=sending.stored_others or self._may_count(entry))
            for entry, error in sending.refused
        )
        if sending.fruitless is not None:
            raise sending.fruitless

    def _may_count(self, entry: Waiting) -> bool:
        """Whether others were stored since the database refused this one: then it is this one."""
        return (
            entry.tries > 0
            or self._suspects.get(entry.id, self._stored_batches) < self._stored_batches
        )

    def _refused(self, entry: Waiting, error: AuditorError, *, counts: bool) -> Verdict:
        tries = entry.tries + counts
        if tries >= TRIES:
            self._suspects.pop(entry.id, None)
            return Verdict(
                entry, "rejected", f"{error} (tried {TRIES} times, while others were stored)"
            )
        if len(self._suspects) >= _SUSPECTS_LIMIT:
            self._suspects.clear()
        self._suspects[entry.id] = self._stored_batches
        wait_s = self._backoff.wait_s(tries, self._random) if counts else self._backoff.cap_s
        due_at = self._now() + timedelta(seconds=wait_s)
        return Verdict(entry, "kept", str(error), due_at=due_at, counts=counts)


class _Sending:
    """One batch under way."""

    def __init__(
        self, client: AuditorClientBlocking, pool: Executor, verdicts: list[Verdict]
    ) -> None:
        self.refused: list[tuple[Waiting, AuditorError]] = []
        """What the Auditor's database refuses, standing alone, while it is healthy."""
        self.fruitless: AuditorError | None = None
        """Set when narrowing was given up, because the Auditor seems to refuse everything."""
        self.proven = False
        """Whether it is known that the Auditor stores what is not in this batch."""
        self.stored_others = False
        """Whether something was stored after something else was refused."""
        self.limit_bytes = BODY_LIMIT_BYTES
        self._client = client
        self._pool = pool
        self._verdicts = verdicts
        self._healthy = False
        self._trouble: AuditorError | None = None

    def updates(self, entries: Sequence[Waiting]) -> None:
        """Sends stop times, several at the same time; what is not there is inserted whole."""
        missing: list[Waiting] = []
        for entry, answer in zip(entries, self._pool.map(self._update, entries), strict=True):
            if answer is None:
                self._verdicts.append(Verdict(entry, "updated"))
                self.stored_others |= bool(self.refused)
            elif isinstance(answer, UnknownRecordError):
                missing.append(entry)
            elif isinstance(answer, RefusedError | UnexpectedError):
                self.refused.append((entry, answer))
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
        stored = self.proven
        while groups:
            group, search = groups.popleft()
            try:
                self._client.bulk_insert_encoded([entry.body for entry in group])
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
                self.limit_bytes = sum(len(entry.body) for entry in group) // 2
                if len(group) > 1:
                    groups.extend(_halves(group, search))
                else:
                    self._verdicts.append(Verdict(group[0], "rejected", str(error)))
            except (RefusedError, UnexpectedError) as error:
                self._check_health()
                if len(group) > 1:
                    groups.extend(_halves(group, search))
                elif isinstance(error, RefusedError):
                    self._verdicts.append(Verdict(group[0], "rejected", str(error)))
                else:
                    self.refused.append((group[0], error))
                refusals += isinstance(error, UnexpectedError)
                if refusals >= _FRUITLESS_REQUESTS and not stored:
                    self.fruitless = error
                    self.refused.extend((entry, error) for left, _ in groups for entry in left)
                    return
            else:
                stored = True
                self.stored_others |= refusals > 0
                self._verdicts.extend(Verdict(entry, "sent") for entry in group)

    def _compare(self, group: Sequence[Waiting], search: Search) -> list[Waiting]:
        """Gives verdicts to those that the Auditor has; returns the others."""
        found = find(self._client, group, search)
        rest: list[Waiting] = []
        to_update: list[Waiting] = []
        for entry in group:
            stored = found.get(entry.record_id)
            if stored is None:
                rest.append(entry)
            elif other := difference(entry, stored):
                self._collision(entry, stored, other)
            elif entry.stop_time in (None, stored.stop_time):
                self._verdicts.append(Verdict(entry, "already_there"))
            elif stored.stop_time is None or entry.corrects:
                to_update.append(entry)
            else:
                self._collision(entry, stored, f"stop_time {stored.stop_time.isoformat()}")
        if to_update:
            self.updates(to_update)
        return rest

    def _collision(self, entry: Waiting, stored: Record, other: str) -> None:
        reason = f"another run is stored under this id: {other}; two clusters with one prefix?"
        self._verdicts.append(
            Verdict(entry, "rejected", reason, stored=msgspec.json.encode(stored))
        )

    def _update(self, entry: Waiting) -> AuditorError | None:
        if self._trouble is not None:
            return self._trouble
        assert entry.stop_time is not None  # only a stop time makes an update
        try:
            self._client.update_stop_time(entry.record_id, entry.stop_time)
        except (UnknownRecordError, RefusedError, UnexpectedError) as error:
            return error
        except AuditorError as error:
            self._trouble = error
            return error
        return None

    def _check_health(self) -> None:
        """Once for a batch: a refusal counts only from an Auditor that is well."""
        if not self._healthy:
            self._client.check()
            self._healthy = True


def _halves(group: Sequence[Waiting], search: Search) -> list[tuple[Sequence[Waiting], Search]]:
    middle = len(group) // 2
    return [(group[:middle], search), (group[middle:], search)]
