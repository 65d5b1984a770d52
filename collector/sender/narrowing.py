"""One batch under way: narrowed down until what is refused, or there already, is alone.

An answer to a bulk insert is about the batch, all or nothing. A batch that is refused is cut in
halves, in order, until the guilty records are alone; the others are stored on the way. So n
records with one guilty one among them cost about 2·log₂ n requests. A record that was refused
before is sent by itself, so that the others are not held up for it again.
"""

import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor

import msgspec

from collector.auditor.client import AuditorClientBlocking
from collector.auditor.errors import (
    AuditorError,
    ForbiddenError,
    ProtocolError,
    RecordExistsError,
    RefusedError,
    TimedOutError,
    TooLargeError,
    UnavailableError,
    UnexpectedError,
    UnknownRecordError,
    UnprovenError,
)
from collector.outbox import Outcome, Verdict, Waiting
from collector.sender.duplicates import SINGLY, Search, difference, find
from collector.sender.pace import Pace
from collector.sender.proof import Proof

_FRUITLESS_REQUESTS = 32
"""So many requests refused in a row and nothing stored: it is the Auditor, not the records."""

_Group = tuple[Sequence[Waiting], Search]


class Narrowing:
    """A batch under way."""

    def __init__(
        self,
        client: AuditorClientBlocking,
        proof: Proof,
        pace: Pace,
        pool: Executor,
        verdicts: list[Verdict],
    ) -> None:
        self.refused: list[tuple[Waiting, AuditorError]] = []
        """What the Auditor refuses, standing alone, while it is healthy."""
        self.slow: list[tuple[Waiting, TimedOutError]] = []
        """What is not answered in time although it is alone."""
        self.withheld: list[tuple[Waiting, AuditorError]] = []
        """What cannot be updated, or compared, now, while the Auditor takes new records."""
        self.fruitless: AuditorError | None = None
        """Set when narrowing was given up, because the Auditor seems to refuse everything."""
        self.stored = False
        """Whether anything was stored."""
        self._client = client
        self._proof = proof
        self._pace = pace
        self._pool = pool
        self._verdicts = verdicts
        self._healthy = False
        self._believed = False  # what answers has shown that it is an Auditor
        self._takes_others: bool | None = None
        self._trouble: AuditorError | None = None
        self._unreadable: UnavailableError | None = None
        self._refusals = 0
        self._groups: deque[_Group] = deque()

    def updates(self, entries: Sequence[Waiting]) -> None:
        """Sends stop times, several at the same time; what is not there is inserted whole."""
        missing: list[Waiting] = []
        done: list[Waiting] = []
        refused: list[tuple[Waiting, AuditorError]] = []
        failed: list[Waiting] = []
        for waiting, answer in zip(entries, self._pool.map(self._update, entries), strict=True):
            if answer is None:
                done.append(waiting)
            elif isinstance(answer, UnknownRecordError):
                missing.append(waiting)
            elif isinstance(answer, RefusedError | UnexpectedError):
                refused.append((waiting, answer))
            else:
                failed.append(waiting)
        if done:
            if not (missing or self._believed):  # "unknown" is what only an Auditor answers
                self._proof.of_update(done[-1])
            self._believed = self.stored = True
            self._verdicts.extend(Verdict(waiting, Outcome.STOP_SENT) for waiting in done)
            if refused:
                self._takes_others = True
        if self._trouble is not None:
            trouble, self._trouble = self._trouble, None
            self._raise_unless_it_takes_records(trouble)
            self.withheld.extend((waiting, trouble) for waiting in failed)
        elif refused:
            self._check_health()
            self.refused.extend(refused)
        self.inserts(missing)

    def inserts(self, batch: Sequence[Waiting]) -> None:
        """Stores records, narrowing down what the Auditor refuses."""
        fresh = [waiting for waiting in batch if not waiting.tries]
        if fresh:
            self._groups.append((fresh, Search.RUNS))
        self._groups.extend(([waiting], Search.RUNS) for waiting in batch if waiting.tries)
        while self._groups:
            group, search = self._groups.popleft()
            try:
                self._post(group)
            except RecordExistsError as error:
                self._believed = True
                self._there_already(group, search, error)
            except TooLargeError as error:
                self._pace.too_large(sum(len(waiting.body) for waiting in group))
                if not self._halve(group, search):
                    self._verdicts.append(Verdict(group[0], Outcome.REFUSED, str(error)))
            except (RefusedError, UnexpectedError) as error:
                self._check_health()
                self._narrow(group, search, error)
            except ForbiddenError as error:
                self._raise_unless_it_takes_records(error)
                refused = RefusedError(str(error), status=error.status)
                self._narrow(group, search, refused)
            except TimedOutError as error:
                self._pace.failed(len(group), error)
                if len(group) > 1:
                    raise
                self.slow.append((group[0], error))
                if not self.stored:  # nobody knows whether it is the record, or the Auditor
                    return
            except UnavailableError as error:
                self._pace.failed(len(group), error)
                raise
            except UnprovenError:
                self._proof.of_insert(group[-1])
                self._sent(group)
            else:
                if not self._believed:
                    self._proof.of_insert(group[-1])
                self._sent(group)
            if self.fruitless is not None:
                return

    def takes_others(self) -> bool:
        """Whether the Auditor takes what is not refused; asks it once for a batch, if need be."""
        if self._takes_others is None:
            self._takes_others = self._proof.takes_others()
        return self._takes_others

    def _post(self, group: Sequence[Waiting]) -> None:
        timeout_s = self._pace.timeout_s(len(group))
        began = time.monotonic()
        self._client.bulk_insert_encoded([waiting.body for waiting in group], timeout_s=timeout_s)
        self._pace.answered(len(group), time.monotonic() - began)

    def _sent(self, group: Sequence[Waiting]) -> None:
        self._believed = self.stored = True
        if self._refusals:
            self._takes_others = True
        self._verdicts.extend(Verdict(waiting, Outcome.SENT) for waiting in group)

    def _narrow(
        self, group: Sequence[Waiting], search: Search, error: RefusedError | UnexpectedError
    ) -> None:
        """Halves a group that is refused, or keeps its only record as refused."""
        if not self._halve(group, search):
            self.refused.append((group[0], error))
        self._refusals += 1
        if self._refusals >= _FRUITLESS_REQUESTS and not (self.stored or self.takes_others()):
            self.fruitless = error

    def _halve(self, group: Sequence[Waiting], search: Search) -> bool:
        """Whether there are two halves to go on with."""
        if len(group) == 1:
            return False
        middle = len(group) // 2
        self._groups.extendleft([(group[middle:], search), (group[:middle], search)])
        return True

    def _there_already(
        self, group: Sequence[Waiting], search: Search, error: RecordExistsError
    ) -> None:
        """Finds what of a group the Auditor has; goes on with the rest."""
        if search is Search.SINGLY and len(group) > SINGLY:
            self._halve(group, search)
            return
        if self._proof.may_read and self._unreadable is None:
            try:
                rest = self._compare(group, search)
            except ForbiddenError:
                self._proof.reading_is_refused()
            except TimedOutError:
                raise
            except UnavailableError as trouble:  # what is new in the group is sent all the same
                self._unreadable = trouble
            else:
                if len(rest) == len(group) <= SINGLY:
                    raise ProtocolError(
                        f"{group[0].record_id!r} is stored, says the Auditor, and does not find it",
                        status=error.status,
                        words=error.words,
                    ) from error
                if rest:
                    self._groups.append((rest, min(Search(search + 1), Search.SINGLY)))
                return
        if self._halve(group, search):
            return
        if self._unreadable is None:
            self._there_unread(group[0])
        else:
            self.withheld.append((group[0], self._unreadable))

    def _there_unread(self, waiting: Waiting) -> None:
        """A record that is there and may not be compared.

        If it waited without its stop time before, that version may be the stored one: its answer
        was lost. Its id is ours then, and the stop time is sent; else nothing is changed.
        """
        if waiting.revision and waiting.stop_time is not None:
            self.updates([waiting])
        else:
            self._verdicts.append(Verdict(waiting, Outcome.ALREADY_THERE_UNREAD))

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
        except UnprovenError as error:
            return self._ask_for_update(waiting, error)
        except AuditorError as error:
            self._trouble = error
            return error
        return None

    def _ask_for_update(self, waiting: Waiting, unproven: UnprovenError) -> AuditorError | None:
        try:
            self._proof.of_update(waiting)
        except AuditorError as error:
            self._trouble = unproven if isinstance(error, UnprovenError) else error
            return self._trouble
        return None

    def _check_health(self) -> None:
        """Once for a batch: a refusal counts only from an Auditor that is well.

        With role-based access, an Auditor forbids everybody to ask; a proxy may strip the length of
        the answer, or break it. None of it says anything: the control does.
        """
        if self._healthy:
            return
        try:
            self._client.check()
        except ForbiddenError:
            pass
        except UnavailableError as error:
            self._raise_unless_it_takes_records(error)
        except UnprovenError as error:
            if error.words:
                raise
        self._healthy = True

    def _raise_unless_it_takes_records(self, error: AuditorError) -> None:
        """Returns if what failed is one kind of request, or one text, and not sending itself.

        Raises:
            AuditorError: when not even an empty list may be sent, or when what answers has not
                behaved as an Auditor.
        """
        if isinstance(error, UnprovenError):
            raise error
        try:
            self._client.bulk_insert_encoded([])
        except AuditorError:
            raise error from None
