"""Proves that an empty answer of `sacct` is one: by a run that is known to exist, the canary.

`sacct` ends with status 0, no rows and no word after a failed query: for a cluster that it does not
know (`-M typo`, a ClusterName that is not registered), when a table is missing, when slurmdbd hides
the runs (PrivateData). On the other hand it complains of harmless things (slurm.conf) on standard
error at each call. So neither the status nor what it says decides whether there were no runs:

- of each cluster the newest run that a window showed is kept in the checkpoint;
- a window reaches back over it where that makes it no longer than `window_s`, so that the proof is
  in the same answer, and costs no call;
- else a window of the canary's second is asked for, and then its job by id (a requeue after its end
  changes its row). A canary that is not shown makes the window an outage;
- one that may have been purged (`RETAINED_S`) is no outage: it is given up, and so is the proof;
- without a canary (first start), an empty answer is believed unless it comes with an error that
  `sacct` does not print at calls that are known to be good. What was read in this state is read
  again when a first run is shown, and `status` says that it is not proved.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from collector.source import Context, SourceError
from collector.source.windows import LOOK_BACK_S, Window, stopwatch
from collector_slurm.columns import KEYS
from collector_slurm.command import Sacct
from collector_slurm.run import Run
from collector_slurm.section import SlurmSection

RETAINED_S = LOOK_BACK_S
"""slurmdbd purges by months, mostly; what is younger than this is not taken to be purged."""


def unproved_since(unproved: Mapping[str, int]) -> str | None:
    """What `status` says of clusters without a canary; None if there are none."""
    if not unproved:
        return None
    of = ", ".join(f" of cluster {name}" if name else "" for name in sorted(unproved))
    since = datetime.fromtimestamp(min(unproved.values()), UTC)
    return (
        f"not proved: sacct has shown no run{of} since {since:%Y-%m-%d %H:%M} UTC, and does not "
        "say whether there was none or it cannot read them; auditor-collector check compares with "
        "sacctmgr"
    )


class Canary(msgspec.Struct, frozen=True):
    """A run that slurmdbd has shown."""

    ended: int
    """In epoch seconds."""
    job_id: str


class Witnesses(Protocol):
    """The part of a checkpoint that is kept here."""

    canaries: dict[str, Canary]
    """By cluster."""
    unproved: dict[str, int]
    """By cluster without a canary: what ended since this epoch second was read, but nothing proves
    that all was shown."""


class Answer:
    """The runs of a window, and the newest one of each cluster.

    A window that reaches back shows runs before its beginning too: they prove, and are not given.
    """

    def __init__(self, runs: Iterator[Run], window: Window) -> None:
        self._runs, self._begin = runs, window.begin
        self.newest: dict[str, Canary] = {}
        self.took_s = 0.0
        """How long `sacct` took, without what was done with its rows."""

    def __iter__(self) -> Iterator[Run]:
        while True:
            elapsed_s = stopwatch()
            run = next(self._runs, None)
            self.took_s += elapsed_s()
            if run is None:
                return
            cluster, end = str(run.fields["Cluster"]).lower(), int(run.ended)
            if cluster not in self.newest or end > self.newest[cluster].ended:
                self.newest[cluster] = Canary(end, str(run.fields["JobID"]))
            if end >= self._begin:
                yield run


class Proof:
    """Decides whether an answer that shows no run of a cluster is believed."""

    def __init__(self, section: SlurmSection, context: Context, sacct: Sacct) -> None:
        self._section, self._context, self._sacct = section, context, sacct
        self._before: set[str] = set()

    def reach(self, window: Window, known: Witnesses) -> Window:
        """The window, and the time before it back to the oldest canary, if that is not too long."""
        oldest = min((one.ended for one in known.canaries.values()), default=window.begin)
        if window.end - self._section.window_s <= oldest < window.begin:
            return Window(oldest, window.end)
        return window

    def demand(self, window: Window, answer: Answer, known: Witnesses) -> None:
        """Proves a window that was read, and keeps the newest runs that it showed.

        Raises:
            SourceError: when it is not proved that all of it was shown.
        """
        shown = self._slots(answer.newest)
        for cluster in sorted(known.canaries.keys() - shown.keys()):
            if not self._expected(cluster):  # was read by an earlier configuration
                del known.canaries[cluster]
            else:
                self._demand_canary(cluster, known)
        for cluster, canary in shown.items():
            before = known.canaries.get(cluster)
            if before is None or canary.ended >= before.ended:
                known.canaries[cluster] = canary
        for cluster in self._named() or ([] if known.canaries else [""]):
            if cluster not in known.canaries:
                if self._sacct.complaint:
                    raise SourceError(
                        f"sacct printed no rows, but {self._sacct.complaint}; nothing shows "
                        "whether that is harmless"
                    )
                known.unproved.setdefault(cluster, window.begin)

        for cluster in known.unproved.keys() - self._before:
            if cluster in known.canaries:  # shown by the same poll: it begins before the first run
                del known.unproved[cluster]

    def begin(self, known: Witnesses) -> int | None:
        """Begins a poll: gives since when runs are to be read again, as there is a proof now that
        was missing when they were read; None if there are none.
        """
        proved = [one for one in known.unproved if one in known.canaries or not self._expected(one)]
        begins = [known.unproved.pop(one) for one in proved]
        self._before = set(known.unproved)
        if not begins:
            return None
        return max(min(begins), int(self._context.now().timestamp()) - LOOK_BACK_S)

    def demand_any(self, known: Witnesses) -> None:
        """Proves, by all canaries, that an empty answer to a call without a window is one.

        Raises:
            SourceError: when one of them is not shown.
        """
        for cluster in sorted(known.canaries):
            if self._expected(cluster):
                self._demand_canary(cluster, known)

    def _named(self) -> list[str]:
        """The clusters that the section names."""
        names = [name.lower() for name in self._section.clusters]
        return [] if "all" in names else names

    def _slots(self, newest: dict[str, Canary]) -> dict[str, Canary]:
        """By cluster; the one of this machine is kept without its name, which can change."""
        if self._section.clusters:
            return newest
        return {"": max(newest.values(), key=lambda one: one.ended)} if newest else {}

    def _expected(self, cluster: str) -> bool:
        """Whether a cluster is one that this configuration reads."""
        if not self._section.clusters:
            return cluster == ""
        return cluster in self._named() or (not self._named() and cluster != "")

    def _demand_canary(self, cluster: str, known: Witnesses) -> None:
        canary = known.canaries[cluster]
        if self.shows(cluster, canary):
            return
        if self._context.now().timestamp() - canary.ended < RETAINED_S:
            where = f" of cluster {cluster}" if cluster else ""
            ended = f"{datetime.fromtimestamp(canary.ended, UTC):%Y-%m-%d %H:%M:%S} UTC"
            raise SourceError(
                f"sacct shows no run{where}, and no more job {canary.job_id}, which ended at "
                f"{ended}: so it is not known what ended since then. Is the cluster still "
                "registered (sacctmgr list cluster), and may this user see all jobs (PrivateData "
                "in slurmdbd.conf)?"
            )
        self._context.log.info("canary was purged", job=canary.job_id, cluster=cluster or None)
        del known.canaries[cluster]

    def shows(self, cluster: str, canary: Canary) -> bool:
        """Whether slurmdbd shows a run: in a window as those that are read, or by its id."""
        past = canary.ended < self._context.now().timestamp()  # sacct refuses the future
        second = Window(canary.ended, canary.ended + 1)
        if past and [*self._sacct.ended_in(second, KEYS, cluster)]:
            return True
        return bool([*self._sacct.of_jobs([canary.job_id], KEYS, cluster)])
