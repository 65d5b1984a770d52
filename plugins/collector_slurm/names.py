"""Names of users and groups, and what is in their place where the host does not know them.

Slurm writes a name where the host that writes it can look the number up, and else, by release and
place: nothing (`sacct` up to 23.02), `(null)` or `nobody` (the jobcomp log: `nobody(60077)`), or
the number (since 23.11). A record without a user or group belongs to nobody, so here it is the
number, as in the newest releases, and such records are counted.
"""

from collections import Counter
from collections.abc import Mapping

from collector.source import Value

NUMBER_OF = {"User": "UID", "Group": "GID"}
"""Column of a name → column of its number."""

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


def _is_missing(name: Value | None, number: Value) -> bool:
    return name is None or (name == _NOBODY and number not in _NUMBERS_OF_NOBODY)
