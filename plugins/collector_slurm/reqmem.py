"""Reads `ReqMem` of every release as what the whole job asked for.

Up to 20.11 it is of one core or one node (`64Mc`, `4Gn`); since 21.08 it is the sum (`192M`).
"""

import re
from collections.abc import Mapping

from collector.source import Value

COLUMN = "ReqMem"
COUNTED_BY = {"c": "ReqCPUS", "n": "ReqNodes"}
"""What ends the text → the column with what it is multiplied by."""

_OF_ONE = re.compile(r"(\d+(?:\.\d+)?)([KMGTPE]?)([cn])\Z", re.ASCII)


def with_whole_memory(fields: Mapping[str, Value]) -> Mapping[str, Value]:
    """Multiplies what was asked for by core or node; other texts stay as they are."""
    text = fields.get(COLUMN)
    found = _OF_ONE.match(text) if isinstance(text, str) else None
    if found is None:
        return fields
    size, unit, of = found.groups()
    count = fields.get(COUNTED_BY[of])
    if not isinstance(count, int):
        return fields
    whole = float(size) * count
    return {**fields, COLUMN: f"{int(whole) if whole.is_integer() else whole}{unit}"}
