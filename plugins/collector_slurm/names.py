"""Names of users and groups, and what is in their place where the host does not know them.

Slurm writes a name where the host that writes it can look the number up, and else, by release and
place: nothing (`sacct` up to 23.02), `(null)` or `nobody` (the jobcomp log: `nobody(60077)`), or
the number (since 23.11). A record without a user or group belongs to nobody, so here it is the
number, as in the newest releases, and such records are counted.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from collector.source import Context, Job, Value

NUMBER_OF = {"User": "UID", "Group": "GID"}
"""Column of a name → column of its number."""

HINT = "let the hosts of slurmctld and slurmdbd know their names (getent passwd, getent group)"

_REPORT_S = 86400
_NOBODY = "nobody"
_NUMBERS_OF_NOBODY = frozenset({99, 65534, 65535, 2**32 - 2})
"""Whom the name `nobody` really belongs to, on the systems that Slurm runs on."""


def with_names(fields: Mapping[str, Value]) -> dict[str, Value]:
    """Puts the number where the name is missing, or is that of nobody.

    A run without Partition, whose start slurmdbd has not learned, has the number 0 as its group
    whoever's it is: then the group is not known.

    Args:
        fields: of a run; absent means unknown.
    """
    named = dict(fields)
    if "Partition" not in named and named.get("GID") == 0:
        del named["GID"]
        named.pop("Group", None)
    for name, number in NUMBER_OF.items():
        if number in named and _is_missing(named.get(name), named[number]):
            named[name] = str(named[number])
    return named


def count_numbers(fields: Mapping[str, Value], counts: Counter[str]) -> None:
    """Counts a run under `User` or `Group` if that is a number for want of a name."""
    for name, number in NUMBER_OF.items():
        if name in fields and fields[name] == str(fields.get(number)):
            counts[name] += 1


class NumberedRuns:
    """Counts the runs whose user or group has no name, and logs them: at first, then once a day."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._counts = Counter[str]()
        self._reported_at = float("-inf")

    def count(self, jobs: Iterable[Job]) -> None:
        """Adds the runs of a batch."""
        for job in jobs:
            count_numbers(job.fields, self._counts)

    def report(self) -> None:
        """Logs what was counted since the last report, if one is due."""
        now = self._context.now().timestamp()
        if self._counts and not 0 <= now - self._reported_at < _REPORT_S:
            self._context.log.warning(
                "users or groups without a name are accounted by their numbers",
                users=self._counts["User"],
                groups=self._counts["Group"],
                hint=HINT,
            )
            self._counts.clear()
            self._reported_at = now


def _is_missing(name: Value | None, number: Value) -> bool:
    return name is None or (name == _NOBODY and number not in _NUMBERS_OF_NOBODY)
