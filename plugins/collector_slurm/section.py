"""The keys of a `plugin: slurm` section."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from collector.source.windows import Duration, WindowSection
from collector_slurm.jobid import Identity
from collector_slurm.run import ENDED_STATES

Names = list[Annotated[str, msgspec.Meta(pattern=r"^[^,\s-](?:[^,\x00-\x1f]*[^,\s])?$")]]
"""Slurm's names: no commas, no leading dash, and blanks only within (`domain users`)."""


class SlurmSection(WindowSection):
    """One entry of `sources:` with `plugin: slurm`."""

    mode: Literal["sacct", "jobcomp"] = "sacct"
    """sacct asks slurmdbd; jobcomp reads the text log of `JobCompType=jobcomp/filetxt`."""

    sacct: str = "sacct"
    """The sacct command, or its path."""
    complete_s: Duration = 300
    """This long after its end a run is taken as it is, even if slurmdbd still lacks a part of it;
    to be longer than `KillWait`, which processes of a cancelled job may have."""
    track_running: bool = False
    """Whether a run is recorded when it begins, without a stop time, and its stop time later."""
    states: Names = msgspec.field(default_factory=lambda: list(ENDED_STATES))
    """States of runs to read, as `sacct -s` has them: codes or names."""
    clusters: Names = msgspec.field(default_factory=list)
    """Clusters to read, or `all`; none: the one that this machine belongs to."""
    partitions: Names = msgspec.field(default_factory=list)
    """Only runs in these partitions."""
    users: Names = msgspec.field(default_factory=list)
    """Only runs of these users."""
    groups: Names = msgspec.field(default_factory=list)
    """Only runs of these groups."""
    accounts: Names = msgspec.field(default_factory=list)
    """Only runs of these accounts."""
    qos: Names = msgspec.field(default_factory=list)
    """Only runs with these QOS."""

    jobcomp_path: Path | None = None
    """The jobcomp log, `JobCompLoc` in slurm.conf; needed for `mode: jobcomp`."""
    time_zone: str | None = None
    """Time zone of slurmctld's local times, as Europe/Berlin; without it this machine's."""

    cluster_in_id: bool = False
    """Record ids are `<record_prefix>-<cluster>-<job id>`; needed when several clusters share a
    prefix."""
    unique_ids_since: datetime | None = None
    """Runs of jobs submitted since then carry their start in the id, always. To be set when job
    ids have begun anew (slurmdbd's database or slurmctld's state was reset)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode == "jobcomp" and self.jobcomp_path is None:
            raise ValueError("jobcomp_path is needed with mode: jobcomp")
        several = len(self.clusters) > 1 or "all" in map(str.lower, self.clusters)
        if several and not self.cluster_in_id:
            raise ValueError(
                "clusters may be more than one: set cluster_in_id: true, since each of them can "
                "have a job with the same id"
            )
        if self.mode == "jobcomp" and self.cluster_in_id:
            raise ValueError(
                "cluster_in_id goes with mode: sacct; the log is one cluster's and does not always "
                "name it, so put the cluster into record_prefix"
            )
        if self.mode == "jobcomp" and self.track_running:
            raise ValueError("track_running goes with mode: sacct; the log has ended jobs only")
        if not self.states:
            raise ValueError("states is empty; leave it out for all states of ended runs")
        if self.time_zone is not None:
            try:
                ZoneInfo(self.time_zone)
            except (ZoneInfoNotFoundError, ValueError) as error:
                raise ValueError(
                    f"time_zone {self.time_zone!r} is not a zone as Europe/Berlin"
                ) from error

    @property
    def leaves_out(self) -> bool:
        """Whether not every run that has ended is to be read."""
        filters = self.partitions + self.users + self.groups + self.accounts + self.qos
        return bool(filters) or not set(self.states).issuperset(ENDED_STATES)

    def identity(self) -> Identity:
        """How runs of this source are named."""
        if self.unique_ids_since is None:
            return Identity(cluster=self.cluster_in_id)
        return Identity(cluster=self.cluster_in_id, all_from=self.unique_ids_since.timestamp())
