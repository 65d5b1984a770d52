"""The one grammar for Slurm's job ids.

    id     = number [ "_" task | "_[" tasks "]" | "+" offset ] [ "." step ]
    step   = number | number "+" offset | "batch" | "extern" | "interactive" | "TBD"

`38_7` is a task of an array, `163_[5-10%2]` the tasks of an array that have not started, `42+1` a
component of a heterogeneous job, and `31.batch` or `42+1.2` a step of a job.

Source: sacct(1), "JobID"; `slurm_step_id_string` in Slurm's slurm_protocol_api.c.
"""

import re
from typing import Self

import msgspec

_ID = re.compile(
    r"(?P<number>\d+)"
    r"(?:_(?P<task>\d+)|_\[(?P<tasks>[\d,:%-]+(?:\.{3})?)\]|\+(?P<offset>\d+))?"
    r"(?:\.(?P<step>\d+(?:\+\d+)?|batch|extern|interactive|TBD))?",
    re.ASCII,
)


_WITH_START = re.compile(r"-\d{9,11}\Z")
"""What `Identity.of` adds for a further run: job ids are shorter (below 67,108,864)."""


class JobId(msgspec.Struct, frozen=True):
    """A job id, taken apart."""

    number: int
    """The job's number, or that of its array or heterogeneous job."""
    task: int | None = None
    """Which task of an array."""
    tasks: str | None = None
    """The tasks of an array that have not started yet, as Slurm writes them: `5-10%2`."""
    offset: int | None = None
    """Which component of a heterogeneous job."""
    step: str | None = None
    """Which step of the job; None for the job itself."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Takes an id apart.

        Raises:
            ValueError: for a text that is no id of a job or step.
        """
        found = _match(text)
        number, task, tasks, offset, step = found.groups()
        return cls(
            int(number),
            None if task is None else int(task),
            tasks,
            None if offset is None else int(offset),
            step,
        )

    @property
    def job(self) -> str:
        """The id of the job that this belongs to, without the step."""
        if self.task is not None:
            return f"{self.number}_{self.task}"
        if self.tasks is not None:
            return f"{self.number}_[{self.tasks}]"
        return str(self.number) if self.offset is None else f"{self.number}+{self.offset}"

    def __str__(self) -> str:
        return self.job if self.step is None else f"{self.job}.{self.step}"


class Identity(msgspec.Struct, frozen=True):
    """How the runs of a source are distinguished."""

    cluster: bool = False
    """Whether the cluster's name is in the id."""
    all_from: float = float("inf")
    """Epoch seconds; runs of jobs submitted since then carry their beginning in the id, always."""

    def of(self, run_id: str, cluster: str, submit: int, start: int, *, first: bool) -> str:
        """The id of a run: the job id as the existing collectors have it, for its first run."""
        if self.cluster:
            run_id = f"{cluster}-{run_id}"
        return run_id if first and submit < self.all_from else f"{run_id}-{start}"

    def cluster_of(self, job_id: str) -> str | None:
        """The cluster in an id that `of` made, "" if there is none; None for other texts."""
        run_id = _WITH_START.sub("", job_id)
        name, dash, run_id = run_id.rpartition("-") if self.cluster else ("", "-", run_id)
        found = _ID.fullmatch(run_id)
        return name if dash and found is not None and found["step"] is None else None


def check_job(text: str) -> None:
    """Checks that a text is the id of a job, and not of a step.

    Raises:
        ValueError: when it is not.
    """
    if text.isascii() and text.isdecimal():
        return  # nearly always
    if _match(text)["step"] is not None:
        raise ValueError(f"{text!r} is the id of a step, not of a job")


def _match(text: str) -> re.Match[str]:
    found = _ID.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a job id as 31, 38_7, 163_[5-10%2], 42+1 or 31.batch")
    return found
