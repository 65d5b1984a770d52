"""The functions of ClassAd expressions that job ads and HTCondor's own transforms use.

Each takes values and gives one. A call with a number or type of arguments that it does not take
raises TypeError or UnknownError: its value is not known.
"""

import math
from collections.abc import Callable
from typing import Any

from collector_htcondor.expression_values import (
    ERROR,
    UNDEFINED,
    UnknownError,
    compare,
    is_number,
    to_integer,
)

_LIMIT_CHARACTERS = 10_000


def _listed(values: Any) -> list[Any]:
    """The numbers of a list, without those that are undefined."""
    if not isinstance(values, list):
        raise UnknownError("a list is expected")
    found = [value for value in values if value is not UNDEFINED]
    if not all(is_number(value) and not isinstance(value, bool) for value in found):
        raise UnknownError("numbers are expected")
    return found


def _extreme(choose: Callable[[list[Any]], Any]) -> Callable[[Any], Any]:
    def found(values: Any) -> Any:
        numbers = _listed(values)
        if not numbers:
            return UNDEFINED
        real = any(isinstance(number, float) for number in numbers)
        return float(choose(numbers)) if real else choose(numbers)

    return found


def _rounded(how: Callable[[float], int]) -> Callable[[Any], Any]:
    def found(value: Any) -> Any:
        if not is_number(value):
            raise UnknownError("a number is expected")
        if isinstance(value, float) and not abs(value) < 2**53:
            raise UnknownError("a real of which integers are not exact")
        return how(value)

    return found


def _integer(value: Any) -> Any:
    if not is_number(value):
        raise UnknownError("a number is expected")
    return to_integer(value)


def _real(value: Any) -> Any:
    if not is_number(value):
        raise UnknownError("a number is expected")
    return float(value)


def _string(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if type(value) is int:
        return str(value)
    raise UnknownError("a real or a list as text")


def _strcat(*values: Any) -> str:
    texts = [_string(value) for value in values]
    if sum(map(len, texts)) > _LIMIT_CHARACTERS:
        raise UnknownError("a text that is too long")
    return "".join(texts)


def _substr(text: Any, offset: Any, length: Any = None) -> Any:
    if not isinstance(text, str) or type(offset) is not int or not text.isascii():
        raise UnknownError("a text and a number are expected")
    if offset < 0 or (length is not None and (type(length) is not int or length < 0)):
        raise UnknownError("numbers from the end of a text")
    return text[offset:] if length is None else text[offset : offset + length]


def _cased(how: Callable[[str], str]) -> Callable[[Any], Any]:
    def found(value: Any) -> Any:
        text = _string(value)
        if not text.isascii():
            raise UnknownError("a text that is not ASCII")
        return how(text)

    return found


def _size(value: Any) -> Any:
    if isinstance(value, list) or (isinstance(value, str) and value.isascii()):
        return len(value)
    raise UnknownError("a text or a list is expected")


def _member(value: Any, values: Any) -> Any:
    if value is UNDEFINED or value is ERROR or not isinstance(values, list):
        raise UnknownError("a value and a list are expected")
    return any(compare("==", value, other) is True for other in values)


def _quantize(value: Any, unit: Any) -> Any:
    numbers = type(value) is int and type(unit) is int
    if not numbers or unit <= 0 or value < 0:
        raise UnknownError("positive integers are expected")
    return -(-value // unit) * unit


def _is(*types: type) -> Callable[[Any], bool]:
    return lambda value: type(value) in types


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "isundefined": lambda value: value is UNDEFINED,
    "iserror": lambda value: value is ERROR,
    "isstring": _is(str),
    "isinteger": _is(int),
    "isreal": _is(float),
    "isboolean": _is(bool),
    "min": _extreme(min),
    "max": _extreme(max),
    "sum": lambda values: sum(_listed(values)),
    "int": _integer,
    "real": _real,
    "string": _string,
    "floor": _rounded(math.floor),
    "ceiling": _rounded(math.ceil),
    "ceil": _rounded(math.ceil),
    "strcat": _strcat,
    "substr": _substr,
    "toupper": _cased(str.upper),
    "tolower": _cased(str.lower),
    "size": _size,
    "member": _member,
    "quantize": _quantize,
}
"""By name in lower case."""
