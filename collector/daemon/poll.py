"""One source's poll: what is new goes into the outbox, what goes wrong is reported once."""

import contextlib
import threading
import time

from collector.clock import Now
from collector.daemon.periodic import Progressed
from collector.logs import Log
from collector.outbox import (
    Origin,
    Outbox,
    OutboxError,
    OutboxFullError,
    OutboxInUseError,
    Outcome,
    Tried,
)
from collector.pipeline.collect import Collected, store
from collector.pipeline.sources import MappedSource
from collector.source import Lag, SourceError


class Poll:
    """Polls one source; a source that cannot be read, or a full outbox, ends that poll only."""

    def __init__(
        self,
        mapped: MappedSource,
        outbox: Outbox,
        stop: threading.Event,
        log: Log,
        now: Now,
    ) -> None:
        self.name = mapped.name
        self.interval_s = mapped.source.section.interval_s
        self.lag: Lag | None = None
        """As the source knew it last; while it does not know, what ended since then is not read."""
        self._mapped = mapped
        self._outbox = outbox
        self._stop = stop
        self._log = log.bind(source=self.name)
        self._now = now
        self._problem: str | None = None
        self._tried: Tried | None = None
        self._rejecting = False
        self._looked_at = now()

    def __call__(self, progressed: Progressed) -> str:
        """Polls once; says `ok` or `failed`.

        Raises:
            OutboxError: for an outbox that is damaged or not ours; a new start repairs it, or says
                what to do.
        """
        started, collected = time.monotonic(), Collected()
        try:
            if self._tried is None:
                self._tried = self._stored_tried()
            source = self._mapped.source
            for batch in source.poll(self._outbox.checkpoint(self.name)):
                store(batch, self._mapped, self._outbox, collected, origin=Origin.POLL)
                progressed()
                if self._stop.is_set():
                    break
                if (self._now() - self._looked_at).total_seconds() > self.interval_s:
                    self._look()  # a backlog can take hours
            self._look()
        except (SourceError, OutboxFullError, OutboxInUseError) as error:
            message = str(error)
            result = self._failed(message, type(error).__name__, None)
        except OutboxError:
            raise
        except Exception as error:  # noqa: BLE001 - a plugin's mistake ends its poll, not the others
            message = f"{type(error).__name__}: {error}"
            result = self._failed(message, "mistake in the plugin", error)
        else:
            message, result = "", self._well()
        if collected.tried and self._tried is not None:
            self._tried.add(collected.tried)
        self._note(ok=result == "ok", message=message)
        self._report_rejections(collected)
        emit = self._log.info if collected.read else self._log.debug
        seconds = round(time.monotonic() - started, 3)
        emit("polled", result=result, **collected.counts(), seconds=seconds)
        return result

    def _stored_tried(self) -> Tried:
        """The newest jobs of before this process: a restart does not make a fault forgotten."""
        known = self._outbox.status().sources.get(self.name)
        return Tried() if known is None else known.tried

    def _report_rejections(self, collected: Collected) -> None:
        """Warns when jobs begin to be rejected, and says when the first poll without any is."""
        unmappable = collected.outcomes[Outcome.UNMAPPABLE]
        if bool(unmappable) == self._rejecting or not collected.tried:
            return
        self._rejecting = bool(unmappable)
        if self._rejecting:
            reasons = Tried()
            reasons.add(("", reason) for reason in collected.reasons)
            self._log.warning(
                "jobs rejected",
                jobs=unmappable,
                of=collected.read - collected.outcomes[Outcome.FILTERED],
                error=reasons.reason,
                hint=f"auditor-collector rejected list --source {self.name}",
            )
        else:
            self._log.warning("no jobs rejected any more")

    def _well(self) -> str:
        if self._problem is not None:
            self._log.info("source works again", after=self._problem)
            self._problem = None
        return "ok"

    def _failed(self, message: str, kind: str, error: Exception | None) -> str:
        if self._problem != kind:
            self._log.error("source cannot be read", error=message, exc_info=error)
        self._problem = kind
        # A source that is paused, or cannot be read, falls behind. Whatever may be wrong with
        # asking it, this poll has failed already, and was reported.
        with contextlib.suppress(Exception):
            self._look()
        return "failed"

    def _look(self) -> None:
        """Asks the source how far it is behind."""
        before_at, self._looked_at = self._looked_at, self._now()
        try:
            self.lag = self._mapped.source.lag(self._outbox.checkpoint(self.name))
        except Exception:
            if self.lag is not None:
                since_s = max(0.0, (self._looked_at - before_at).total_seconds())
                self.lag = Lag(self.lag.behind_s + since_s, self.lag.kept_s)
            raise

    def _note(self, *, ok: bool, message: str) -> None:
        """For the status; what an outbox in trouble does not take, the next poll notes."""
        with contextlib.suppress(OutboxError):
            self._outbox.note_poll(
                self.name, ok=ok, message=message, now=self._now(), tried=self._tried
            )
