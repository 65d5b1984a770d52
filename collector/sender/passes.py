"""One pass: take → send → verdicts → settle, until nothing is due; and when to try again."""

import contextlib
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import msgspec

from collector.auditor.client import AuditorClientBlocking
from collector.auditor.errors import (
    AuditorError,
    ForbiddenError,
    ProtocolError,
    UnavailableError,
    UnprovenError,
)
from collector.config import SenderSection
from collector.logs import Log
from collector.outbox import (
    ACCEPTED,
    REJECTED,
    Outbox,
    OutboxError,
    OutboxInUseError,
    Outcome,
    SenderState,
    Verdict,
    Waiting,
)
from collector.sender.backoff import Backoff
from collector.sender.pace import Pace
from collector.sender.verdicts import Verdicts

_BACK_AFTER_S = 30
"""An Auditor that has answered for so long, within one pass, is back."""
_TROUBLE = (SenderState.UNREACHABLE, SenderState.PAUSED)


class Pass(msgspec.Struct):
    """What became of the records of a pass."""

    outcomes: Counter[Outcome] = msgspec.field(default_factory=Counter)
    state: SenderState = SenderState.SENDING
    elsewhere: bool = False
    """Nothing was done, because another process sends."""

    @property
    def accepted(self) -> int:
        """How many records and stop times the Auditor has."""
        return sum(self.outcomes[outcome] for outcome in ACCEPTED)

    @property
    def rejected(self) -> int:
        """How many went to the table of what was rejected."""
        return sum(self.outcomes[outcome] for outcome in REJECTED)


class Sender:
    """Sends what waits in an outbox to an Auditor."""

    def __init__(
        self,
        outbox: Outbox,
        client: AuditorClientBlocking,
        settings: SenderSection,
        *,
        log: Log,
        now: Callable[[], datetime],
        random: Callable[[], float],
        stop: threading.Event,
    ) -> None:
        """Keeps all; sends nothing.

        Args:
            outbox: what waits.
            client: of the Auditor.
            settings: `sender:` of the configuration.
            log: for state changes and one line a pass.
            now: the time, aware.
            random: gives a number from 0 to below 1.
            stop: ends a pass after the batch in flight.
        """
        self._outbox = outbox
        self._client = client
        self._settings = settings
        self._log = log
        self._now = now
        self._random = random
        self._stop = stop
        self._backoff = Backoff(settings.backoff_s, settings.backoff_cap_s)
        self._pace = Pace(settings.batch_records, settings.batch_bytes, client.timeout_s)
        self._verdicts = Verdicts(client, self._pace, self._backoff, now=now, random=random)
        self._failures = 0
        self._failed_at: datetime | None = None
        self._wait_s = 0.0
        self._state = SenderState.IDLE
        self._state_since: datetime | None = None
        self._reason = ""
        self._answered = False

    def run_pass(self, progressed: Callable[[], None] = lambda: None) -> Pass:
        """Sends what is due, unless it is too early after a failure or another process sends.

        Never raises for what Auditor, network or disk do; see `Pass.state`.

        Args:
            progressed: called after each batch, so that a long pass is told from a hanging one.
        """
        result = Pass(state=self._state)
        if self._too_early():
            return result
        started_at = self._now()
        outcomes: Counter[Outcome] = Counter()
        self._verdicts.withheld = None
        try:
            with self._outbox.held_by_sender():
                self._send_all(outcomes, progressed)
        except OutboxInUseError:
            return Pass(state=self._state, elsewhere=True)
        except (AuditorError, OutboxError) as error:
            self._failed(error)
        else:
            if (withheld := self._verdicts.withheld) is not None:
                self._withheld(withheld)
            # An Auditor that is healthy may still refuse what is not yet due again.
            waits = self._outbox.waits()
            if withheld is None and (outcomes.keys() - {Outcome.RETRYING} or not waits):
                self._well(SenderState.SENDING if waits else SenderState.IDLE)
        result = Pass(outcomes, self._state)
        if outcomes:
            seconds = (self._now() - started_at).total_seconds()
            counts = {str(outcome): number for outcome, number in outcomes.items()}
            self._log.info("sent", **counts, seconds=round(seconds, 3))
        return result

    def _send_all(self, outcomes: Counter[Outcome], progressed: Callable[[], None]) -> None:
        """Sends and settles batch after batch.

        While a batch is under way, the verdicts of the one before are settled and the one after is
        taken. So at most one batch more than with a strict alternation is sent again after a crash.
        """
        began_at = self._now()
        if self._failures:
            self._probe()
        batch = [] if self._stop.is_set() else self._take(after=0)
        if not batch:
            if not self._answered and not self._stop.is_set():
                self._probe()  # a wrong address is known before the first job ends
                self._answered = True
            return
        done: list[Verdict] = []
        with (
            ThreadPoolExecutor(1) as line,
            ThreadPoolExecutor(self._settings.updates_at_once) as pool,
        ):
            while batch:
                flight = line.submit(self._deliver, batch, pool)
                self._settle(done, outcomes)
                following = [] if self._stop.is_set() else self._take(after=batch[-1].id)
                done, trouble = flight.result()
                progressed()
                if trouble is not None:
                    self._settle(done, outcomes)
                    raise trouble
                self._failures, self._answered = 0, True
                if following and self._verdicts.withheld is None and self._is_back(began_at):
                    self._enter(SenderState.SENDING, "")  # a backlog can take hours
                batch = following
            self._settle(done, outcomes)

    def _deliver(
        self, batch: Sequence[Waiting], pool: ThreadPoolExecutor
    ) -> tuple[list[Verdict], AuditorError | None]:
        verdicts: list[Verdict] = []
        try:
            self._verdicts.send(batch, verdicts, pool)
        except AuditorError as error:
            return verdicts, error
        return verdicts, None

    def _probe(self) -> None:
        """One small request, not a batch, to an Auditor that may just return.

        Its health, where somebody may ask for it. Where roles forbid that, or a proxy strips what
        would prove it, the Auditor is up; whether it takes records, nothing but a batch shows.
        """
        try:
            self._client.check()
        except ForbiddenError:
            self._client.bulk_insert_encoded([])
        except UnprovenError as error:
            if error.words:  # a page
                raise
        except UnavailableError as error:
            if error.status is None:
                raise
            self._client.bulk_insert_encoded([])  # a proxy may break only what reads

    def _take(self, *, after: int) -> list[Waiting]:
        return self._outbox.take(self._pace.records, self._pace.bytes, self._now(), after=after)

    def _settle(self, verdicts: Sequence[Verdict], outcomes: Counter[Outcome]) -> None:
        if not verdicts:
            return
        self._outbox.settle(verdicts)
        outcomes.update(verdict.outcome for verdict in verdicts)
        for verdict in verdicts:
            if verdict.outcome in REJECTED:
                waiting = verdict.waiting
                log = self._log.bind(record_id=waiting.record_id, source=waiting.source)
                # The Auditor's words, after the colon, may quote the record: names of users.
                log.warning("record rejected", error=verdict.reason.partition(": ")[0])
                log.debug("record rejected, in full", error=verdict.reason)

    def _too_early(self) -> bool:
        """Whether the wait after a failure lasts; a clock that was set back ends it."""
        if self._failed_at is None or not self._failures:
            return False
        return 0 <= (self._now() - self._failed_at).total_seconds() < self._wait_s

    def _is_back(self, since: datetime) -> bool:
        """Whether another failure would be a new one: none in a pass that has gone on for long."""
        lasts_s = (self._now() - since).total_seconds()
        return self._state not in _TROUBLE or lasts_s >= _BACK_AFTER_S

    def _failed(self, error: AuditorError | OutboxError) -> None:
        self._failures += 1
        self._failed_at = self._now()
        if _needs_somebody(error):
            # Nothing changes until somebody acts; half of the cap at least, so that it is slow.
            self._wait_s = self._backoff.cap_s * (1 + self._random()) / 2
            self._enter(SenderState.PAUSED, str(error))
        else:
            retry_after_s = getattr(error, "retry_after_s", None)
            self._wait_s = self._backoff.wait_s(self._failures, self._random, retry_after_s)
            self._enter(SenderState.UNREACHABLE, str(error))

    def _withheld(self, error: AuditorError) -> None:
        """The Auditor takes new records, but not stop times, or does not show what it has."""
        state = SenderState.PAUSED if _needs_somebody(error) else SenderState.UNREACHABLE
        self._enter(state, f"new records are sent; some others wait: {error}")

    def _well(self, state: SenderState) -> None:
        self._failures = 0
        self._enter(state, "")

    def _enter(self, state: SenderState, reason: str) -> None:
        """Logs a change of state once, and keeps it, with its present reason, for the status."""
        if state == self._state and self._state_since is not None:
            if reason != self._reason:
                self._reason = reason
                with contextlib.suppress(OutboxError):
                    self._outbox.note_sender(state, reason, self._state_since)
            return
        self._reason = reason
        before, self._state, now = self._state, state, self._now()
        lasted = None if self._state_since is None else now - self._state_since
        self._state_since = now
        with contextlib.suppress(OutboxError):  # it may be the outbox that is in trouble
            self._outbox.note_sender(state, reason, now)
        if state is SenderState.PAUSED:
            self._log.error(
                "sending paused; nothing is lost, but somebody has to act", error=reason
            )
        elif state is SenderState.UNREACHABLE:
            self._log.warning("sending interrupted; records wait in the outbox", error=reason)
        elif before in _TROUBLE and lasted is not None:
            self._log.info("sending again", after_s=round(lasted.total_seconds()))


def _needs_somebody(error: BaseException) -> bool:
    """Whether trying again soon is useless: access, address, certificates."""
    if isinstance(error, ForbiddenError | ProtocolError):
        return True
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            # A connection that was cut within TLS is an outage; everything else is a refusal.
            return not isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError)
        cause = cause.__cause__ or cause.__context__
    return False
