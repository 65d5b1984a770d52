"""The keys of a `plugin: htcondor` section."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

import msgspec

from collector.config import Positive, SourceSection, conflict, goes_with
from collector.source.windows import WINDOW_KEYS, Duration, WindowSection
from collector_htcondor.jobs import Runs, Suspicious
from collector_htcondor.universes import WITH_SLOT, Universe

_SPOOL = Path("/var/lib/condor/spool")
Name = Annotated[str, msgspec.Meta(pattern=r"^[^\s-]\S*$")]
"""A daemon's name or address: no blanks, no leading dash."""

_INTERVAL_S, _COMMAND_INTERVAL_S = float("60"), 900.0

_PER_JOB = goes_with(mode="per_job")
_COMMAND = goes_with(mode="condor_history")


class HTCondorSection(WindowSection, kw_only=True):
    """The keys of a source with `plugin: htcondor`."""

    inherited_go_with: ClassVar = {
        key: {"mode": ("condor_history",)} for key in WINDOW_KEYS if key != "timeout_s"
    }

    interval_s: Positive = _INTERVAL_S
    """Seconds between the starts of two polls; 900 with `mode: condor_history` if it is not given,
    since each of its calls makes the schedd's machine read its whole history."""
    mode: Literal["history", "epochs", "per_job", "condor_history"] = "history"
    """What is read: `history`, one ad for each job that left the queue; `epochs`, one for each run
    of a job (HTCondor 10 and later; without local and scheduler universe); `per_job`, a file for
    each job; `condor_history`, the history of other machines' schedds, by that command."""
    history: Annotated[Path, goes_with(mode="history")] = _SPOOL / "history"
    """With `mode: history`: the file; its rotated files are found beside it. `condor_config_val
    HISTORY` on the schedd's machine tells where it is."""
    epoch_history: Annotated[Path, goes_with(mode="epochs")] = _SPOOL / "epoch_history"
    """With `mode: epochs`: the file, likewise; `condor_config_val JOB_EPOCH_HISTORY`."""
    per_job_history: Annotated[Path, _PER_JOB] = _SPOOL / "per_job_history"
    """With `mode: per_job`: the directory; `condor_config_val PER_JOB_HISTORY_DIR`."""
    remove: Annotated[bool, _PER_JOB] = False
    """With `mode: per_job`: whether files are removed once their records are stored."""
    run: Annotated[Runs, goes_with(mode=("history", "per_job", "condor_history"))] = "last"
    """What the record of a job that ran more than once stands for: its `last` run, from its real
    start to its real end; the same under the id that this run has with `mode: epochs` (`named`); or
    all its runs in `total`, as long before its end as all together."""
    suspicious: Suspicious = "flag"
    """What becomes of a job with impossible values, which its user may have set: `flag` records it,
    with the field `Suspicious` naming them; `reject` puts it into the rejected table."""

    universes: Annotated[list[Universe], msgspec.Meta(min_length=1)] = msgspec.field(
        default_factory=lambda: list(WITH_SLOT)
    )
    """Which jobs are accounted, by universe: by default those that hold a slot, of this pool or of
    another batch system (`grid`); not `scheduler` (DAGMan) and `local`, which run on the access
    point. The others are filtered."""

    schedd_names: Annotated[list[Name], _COMMAND] = msgspec.field(default_factory=list)
    """With `mode: condor_history`: the schedds to ask, as `condor_status -schedd` names them; none:
    the one of this machine, by its files."""
    pool: Annotated[Name | None, _COMMAND] = None
    """The central manager that knows them; none: the one of this machine's configuration."""
    constraint: Annotated[str | None, _COMMAND] = None
    """A ClassAd expression: only jobs for which it is true are asked for."""
    condor_history: Annotated[str, _COMMAND] = "condor_history"
    """The command, or its path."""
    track_running: bool = False
    """Whether a run is recorded when it begins, without a stop time, and its stop time later."""
    condor_q: str = "condor_q"
    """With `track_running`: the command, or its path."""
    overlap_s: Annotated[Duration, _COMMAND] = 1800
    """Every poll also asks for what ended this long before the last one."""
    rescan_interval_s: Annotated[Positive, _COMMAND] = 21600
    """Time between two deeper re-scans, which find jobs that stayed in the queue after their
    end."""

    def __post_init__(self) -> None:
        if self.mode == "condor_history" and self.interval_s is _INTERVAL_S:  # it was not given
            self.interval_s = _COMMAND_INTERVAL_S

    @conflict("run", "track_running")
    def _open_records_are_of_one_run(self) -> str | None:
        if self.track_running and self.run == "total":
            return "total does not go with track_running, where each run counts"
        return None

    @conflict("schedd_names")
    def _names_differ(self) -> str | None:
        repeated = {name for name in self.schedd_names if self.schedd_names.count(name) > 1}
        return f"given twice: {', '.join(sorted(repeated))}" if repeated else None

    def can_collide_with(self, other: SourceSection) -> bool:  # noqa: ARG002 - of any source
        """Never: a GlobalJobId names its schedd; see `SourceSection.can_collide_with`."""
        return False
