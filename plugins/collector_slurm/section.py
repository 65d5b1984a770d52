"""The keys of a `plugin: slurm` section."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, ClassVar, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from collector.config import SourceSection, checked, conflict, goes_with
from collector.source.windows import WINDOW_KEYS, Duration, WindowSection
from collector_slurm.jobid import Identity
from collector_slurm.run import ENDED_STATES

Names = list[Annotated[str, msgspec.Meta(pattern=r"^[^,\s-](?:[^,\x00-\x1f]*[^,\s])?$")]]
"""Slurm's names: no commas, no leading dash, and blanks only within (`domain users`)."""

_SACCT = goes_with(mode="sacct")
_JOBCOMP = goes_with(mode="jobcomp")


def _check_zone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"expected a time zone as Europe/Berlin, not {name!r}") from error


class SlurmSection(WindowSection):
    """One entry of `sources:` with `plugin: slurm`."""

    inherited_go_with: ClassVar = {key: {"mode": ("sacct",)} for key in WINDOW_KEYS}

    mode: Literal["sacct", "jobcomp"] = "sacct"
    """sacct asks slurmdbd; jobcomp reads the text log of `JobCompType=jobcomp/filetxt`."""

    sacct: str = "sacct"
    """The sacct command, or its path; with `mode: jobcomp` for its version only."""
    complete_s: Annotated[Duration, _SACCT] = 300
    """This long after its end a run is taken as it is, even if slurmdbd still lacks a part of it;
    to be longer than `KillWait`, which processes of a cancelled job may have."""
    track_running: Annotated[bool, _SACCT] = False
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

    jobcomp_path: Annotated[Path | None, _JOBCOMP] = None
    """The jobcomp log, `JobCompLoc` in slurm.conf; needed for `mode: jobcomp`."""
    time_zone: Annotated[str | None, checked(_check_zone), _JOBCOMP] = None
    """Time zone of slurmctld's local times, as Europe/Berlin; without it this machine's."""

    cluster_in_id: Annotated[bool, _SACCT] = False
    """Record ids are `<record_prefix>-<cluster>-<job id>`; needed when several clusters share a
    prefix."""
    unique_ids_since: datetime | None = None
    """Runs of jobs submitted since then carry their start in the id, always. To be set when job
    ids have started over (slurmdbd's database or slurmctld's state was reset)."""

    @conflict("jobcomp_path", "mode")
    def _log_is_named(self) -> str | None:
        if self.mode == "jobcomp" and self.jobcomp_path is None:
            return "needed with mode: jobcomp"
        return None

    @conflict("clusters", "cluster_in_id")
    def _clusters_are_told_apart(self) -> str | None:
        several = len(self.clusters) > 1 or "all" in map(str.lower, self.clusters)
        if not several or self.cluster_in_id:
            return None
        return (
            "may be more than one: set cluster_in_id: true, since each of them can have a job with "
            "the same id"
        )

    @conflict("states")
    def _has_states(self) -> str | None:
        return None if self.states else "empty; leave it out for all states of ended runs"

    def can_collide_with(self, other: SourceSection) -> bool:
        """Job ids are numbers of their cluster; see `SourceSection.can_collide_with`."""
        if not isinstance(other, SlurmSection) or (self.cluster_in_id and other.cluster_in_id):
            return False
        return (self.mode, self.clusters, self.jobcomp_path) != (
            other.mode,
            other.clusters,
            other.jobcomp_path,
        )

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
