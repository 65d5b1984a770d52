"""Calls `sacct`: in UTC and epoch seconds, with bounded questions, and gives the runs it prints.

Source: sacct(1); behaviour measured on Slurm 22.05, 24.11 and 26.05, see `docs/slurm.md`.
"""

import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

from collector.source import Context, SourceError, Value
from collector.source.command import output_of
from collector.source.windows import Window
from collector_slurm.columns import KEY_COLUMNS, KEYS, Columns
from collector_slurm.rows import OutputError, runs_of
from collector_slurm.run import RUNNING_STATES, Run
from collector_slurm.section import SlurmSection

_TOKEN_BYTES = 9
_NOT_PASSED_ON = ("SACCT_", "SLURM_CLUSTERS", "SLURM_BITSTR_LEN")


def environment(given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment for Slurm's commands: times in UTC and as epoch seconds, no habits of a user.

    Source: sacct(1), "ENVIRONMENT VARIABLES".
    """
    kept = {name: value for name, value in given.items() if not name.startswith(_NOT_PASSED_ON)}
    return {**kept, "TZ": "UTC", "SLURM_TIME_FORMAT": "%s", "LC_ALL": "C.UTF-8"}


class Sacct:
    """The command, with the options of a section.

    Every method raises a SourceError when it cannot be run, fails, takes too long, or prints what
    is not whole rows; those that give runs raise it at the end, when some may have been given.
    """

    def __init__(self, section: SlurmSection, context: Context) -> None:
        self._section = section
        self._context = context

    def version(self) -> str:
        """Slurm's version, as `sacct` calls it."""
        return self._printed("--version")

    def columns(self, *more: str) -> Columns:
        """Chooses what the mapping needs, and more, of what this `sacct` offers."""
        offered = frozenset(self._printed("--helpformat").split())
        missing = [name for name in KEY_COLUMNS if name not in offered]
        if missing:
            raise SourceError(
                f"{self._section.sacct} --helpformat does not offer {', '.join(missing)}; "
                "is it Slurm's sacct, of 20.11 or later?"
            )
        fields = self._context.fields
        return Columns.choose(
            fields if fields is None else fields.union(more),
            offered,
            lambda: secrets.token_urlsafe(_TOKEN_BYTES),
        )

    def ended_in(self, window: Window, columns: Columns) -> Iterator[Run]:
        """The runs that ended in a window, by the section's states and filters, without steps."""
        # A window of one second would show two.
        for run in self._in(window, self._section.states, columns):
            if window.begin <= run.ended < window.end:
                yield run

    def running_at(self, second: int, columns: Columns, *more: str) -> Iterator[Run]:
        """The runs that have begun and not ended, by the section's filters, without steps."""
        for run in self._in(Window(second - 1, second + 1), RUNNING_STATES, columns, *more):
            if run.is_running:
                yield run

    def of_jobs(self, ids: Iterable[Value], columns: Columns) -> Iterator[Run]:
        """All runs of jobs that are named, with all of their steps if the columns want them."""
        return self._runs([f"--jobs={','.join(map(str, ids))}"], columns)

    def let_through(self, job_id: str, now: int) -> Iterator[Run]:
        """The runs of a job that the section's states and filters let through: ended, or running
        in this second (`-s R` with a long window would show all that ran in it).
        """
        named = f"--jobs={job_id}"
        yield from self._in(Window(0, now + 2), self._section.states, KEYS, named)
        yield from self.running_at(now, KEYS, named)

    def _in(
        self, window: Window, states: Iterable[str], columns: Columns, *more: str
    ) -> Iterator[Run]:
        """The runs that a window shows; without `-E`, `-s` would show none."""
        section = self._section
        filters = {
            "partition": section.partitions,
            "user": section.users,
            "group": section.groups,
            "accounts": section.accounts,
            "qos": section.qos,
        }
        arguments = [
            f"--starttime={_utc(window.begin)}",
            f"--endtime={_utc(window.end - 1)}",
            f"--state={','.join(states)}",
            *(f"--{name}={','.join(values)}" for name, values in filters.items() if values),
            *([] if section.users else ["--allusers"]),
            *more,
        ]
        return self._runs(arguments, columns.without_steps())

    def _runs(self, arguments: list[str], columns: Columns) -> Iterator[Run]:
        section = self._section
        command = [
            section.sacct,
            "--duplicates",
            "--parsable",
            "--noheader",
            "--noconvert",
            f"--delimiter={columns.delimiter}",
            f"--format={','.join(columns.names)}",
            *([] if columns.steps else ["--allocations"]),
            *([f"--clusters={','.join(section.clusters)}"] if section.clusters else []),
            *arguments,
        ]
        try:
            yield from runs_of(self._output(command), columns)
        except OutputError as error:
            raise SourceError(f"{' '.join(command)!r}: {error}") from error

    def _printed(self, option: str) -> str:
        output = self._output([self._section.sacct, option])
        return b"".join(output).decode(errors="replace").strip()

    def _output(self, command: list[str]) -> Iterator[bytes]:
        return output_of(command, self._section.timeout_s, self._context.stop, environment())


def _utc(second: int) -> str:
    """An instant as `sacct -S` reads it, in UTC."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
