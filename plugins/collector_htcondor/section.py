"""The keys of a `plugin: htcondor` section."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from collector.config import Positive, SourceSection
from collector_htcondor.jobs import Runs, Suspicious

_SPOOL = Path("/var/lib/condor/spool")
Duration = Annotated[float, msgspec.Meta(ge=0)]
Name = Annotated[str, msgspec.Meta(pattern=r"^[^\s-]\S*$")]
"""A daemon's name or address: no blanks, no leading dash."""


class HTCondorSection(SourceSection, kw_only=True):
    """The keys of a source with `plugin: htcondor`."""

    mode: Literal["history", "epochs", "per_job", "condor_history"] = "history"
    """What is read: `history`, one ad for each job that left the queue; `epochs`, one for each run
    of a job (HTCondor 10 and later; without local and scheduler universe); `per_job`, a file for
    each job; `condor_history`, the history of other machines' schedds, by that command."""
    history: Path = _SPOOL / "history"
    """With `mode: history`: the file; its rotated files are found beside it. `condor_config_val
    HISTORY` on the schedd's machine tells where it is."""
    epoch_history: Path = _SPOOL / "epoch_history"
    """With `mode: epochs`: the file, likewise; `condor_config_val JOB_EPOCH_HISTORY`."""
    per_job_history: Path = _SPOOL / "per_job_history"
    """With `mode: per_job`: the directory; `condor_config_val PER_JOB_HISTORY_DIR`."""
    remove: bool = False
    """With `mode: per_job`: whether files are removed once their records are stored."""
    run: Runs = "last"
    """What the record of a job that ran more than once stands for: its `last` run, from its real
    start to its real end; the same under the id that this run has with `mode: epochs` (`named`); or
    all its runs in `total`, as long before its end as all together. `mode: epochs` ignores it."""
    suspicious: Suspicious = "flag"
    """What becomes of a job with impossible values, which its user may have set: `flag` records it,
    with the field `Suspicious` naming them; `reject` puts it into the rejected table."""

    schedd_names: list[Name] = msgspec.field(default_factory=list)
    """With `mode: condor_history`: the schedds to ask, as `condor_status -schedd` names them; none:
    the one of this machine, by its files."""
    pool: Name | None = None
    """The central manager that knows them; none: the one of this machine's configuration."""
    constraint: str | None = None
    """A ClassAd expression: only jobs for which it is true are asked for."""
    condor_history: str = "condor_history"
    """The command, or its path."""
    track_running: bool = False
    """Whether a run is recorded when it begins, without a stop time, and its stop time later."""
    condor_q: str = "condor_q"
    """With `track_running`: the command, or its path."""
    timeout_s: Positive = 300
    """Seconds to wait for one call of a command."""
    window_s: Annotated[float, msgspec.Meta(ge=1)] = 21600
    """Longest time that one call of condor_history asks for."""
    overlap_s: Duration = 1800
    """Every poll also asks for what ended this long before the last one."""
    settle_s: Duration = 5
    """Jobs are asked for this long after their end, at the earliest."""
    rescan_s: Duration = 86400
    """A deeper re-scan asks for what ended within this time; so does the very first poll without
    `since`."""
    rescan_interval_s: Positive = 21600
    """Time between two deeper re-scans, which find jobs that stayed in the queue after their
    end."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode == "epochs" and self.run == "total":
            raise ValueError("run: total does not go with mode: epochs, where each run counts")
        if self.track_running and self.run == "total":
            raise ValueError("run: total does not go with track_running, where each run counts")
        if self.remove and self.mode != "per_job":
            raise ValueError("remove goes with mode: per_job; HTCondor rotates its other files")
        if len(set(self.schedd_names)) < len(self.schedd_names):
            raise ValueError("schedd_names: a name stands twice")
        if self.mode != "condor_history" and (self.schedd_names or self.pool or self.constraint):
            raise ValueError(
                "schedd_names, pool and constraint go with mode: condor_history; files are those "
                "of one schedd, and only_if chooses among their jobs"
            )
