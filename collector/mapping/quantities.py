"""Reads the quantities that schedulers print: numbers, durations, memory sizes.

Every function takes the value as the source gave it and raises ValueError with what was expected.
"""

import math
import re

_DURATION = re.compile(
    r"(?:(?P<days>\d+)-)?(?:(?P<hours>\d+):)?(?P<minutes>\d+):(?P<seconds>\d+(?:\.\d+)?)\Z",
    re.ASCII,
)
_MEMORY = re.compile(r"(\d+(?:\.\d*)?|\.\d+)([KMGTPE]?)(?:i?B)?\Z", re.ASCII | re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?\Z", re.ASCII)
_LIMIT, _LIMIT_DIGITS = 2**64, 100
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}


def number(value: object) -> int | float:
    """A number, or text that is nothing but a decimal number.

    Integers stay integers. Booleans, infinities and NaN are not numbers here, nor is an integer
    that no scheduler counts to: multiplying those of 4000 digits takes minutes.
    """
    if type(value) is int and -_LIMIT < value < _LIMIT:
        return value
    if type(value) is float and math.isfinite(value):
        return value
    if isinstance(value, str) and _NUMBER.match(text := value.strip()):
        if text.lstrip("+-").isdigit():
            return number(int(text)) if len(text) <= _LIMIT_DIGITS else number(None)
        if math.isfinite(found := float(text)):
            return found
    raise ValueError("expected a number")


def integer(value: object) -> int:
    """A whole number, or text that is nothing but one."""
    found = number(value)
    if found != int(found):
        raise ValueError("expected a whole number")
    return int(found)


def duration_s(value: object) -> int | float:
    """Seconds of `[[days-]hours:]minutes:seconds[.fraction]`; a plain number is seconds.

    Source of the format: sacct(1), "Elapsed" and "TotalCPU".
    """
    if not isinstance(value, str):
        return number(value)
    if not (found := _DURATION.match(value.strip())):
        try:
            return number(value)
        except ValueError:
            raise ValueError("expected seconds or [[days-]hours:]minutes:seconds") from None
    days, hours, minutes, seconds = found.group("days", "hours", "minutes", "seconds")
    whole = (int(days or 0) * 24 + int(hours or 0)) * 3600 + int(minutes) * 60
    return whole + (float(seconds) if "." in seconds else int(seconds))


def memory_bytes(value: object) -> int | float:
    """Bytes of a size with the unit K, M, G, T, P or E, each 1024 times the one before.

    A plain number is bytes. Slurm's `4Gc` and `4Gn` (per core, per node) are refused: without the
    number of cores or nodes they are not a size.

    Source of the format: sacct(1), "ReqMem" and `--units`.
    """
    if not isinstance(value, str):
        return number(value)
    if not (found := _MEMORY.match(value.strip())):
        raise ValueError("expected a size as 512, 64M or 1.50T")
    size = float(found[1]) * 1024.0 ** _POWERS[found[2].upper()]
    return int(size) if size.is_integer() else size
