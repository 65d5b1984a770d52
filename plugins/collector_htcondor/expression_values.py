"""The values of ClassAd expressions, and what operators make of them.

Beside integers of 64 bits, reals, booleans, texts and lists there are `undefined` (an attribute
that is not there) and `error`. Both go through most operators: error before undefined.
"""

import math
import operator
from collections.abc import Callable
from typing import Any


class UnknownError(Exception):
    """Raised for what is not computed here: its value is not known."""


class _Special:
    """A value that is no value."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


UNDEFINED, ERROR = _Special("undefined"), _Special("error")

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_BITS: dict[str, Callable[[int, int], int]] = {
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
}
_REALS: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
_SHIFT_LIMIT = 64


def is_number(value: Any) -> bool:
    """Whether it is a number, or a boolean, which counts as 0 or 1."""
    return isinstance(value, (int, float))


def wrapped(value: Any) -> Any:
    """An integer as 64 bits hold it; anything else as it is."""
    if type(value) is int:
        return (value + 2**63) % 2**64 - 2**63
    return value


def truth(value: Any) -> Any:
    """True, false, undefined, or error for what is neither."""
    if value is UNDEFINED or value is ERROR or isinstance(value, bool):
        return value
    return value != 0 if is_number(value) else ERROR


def special(left: Any, right: Any) -> Any:
    """What undefined and error make of an operation; None if both are values."""
    if left is ERROR or right is ERROR:
        return ERROR
    return UNDEFINED if left is UNDEFINED or right is UNDEFINED else None


def identical(left: Any, right: Any) -> bool:
    """`=?=`: the same type and value; texts by upper and lower case."""
    if isinstance(left, list) or isinstance(right, list):
        raise UnknownError("lists are compared")
    return type(left) is type(right) and (left is right or left == right)


def compare(sign: str, left: Any, right: Any) -> Any:
    """Comparisons; texts without upper and lower case, numbers and booleans as numbers."""
    found = special(left, right)
    if found is not None:
        return found
    if isinstance(left, list) or isinstance(right, list):
        raise UnknownError("lists are compared")
    if isinstance(left, str) and isinstance(right, str):
        if not (left.isascii() and right.isascii()):
            raise UnknownError("texts that are not ASCII are compared")
        return _COMPARE[sign](left.lower(), right.lower())
    if is_number(left) and is_number(right):
        if isinstance(left, float) or isinstance(right, float):
            left, right = float(left), float(right)
        return _COMPARE[sign](left, right)
    return ERROR


def arithmetic(sign: str, left: Any, right: Any) -> Any:
    """`+ - * / %`, and operators of bits."""
    found = special(left, right)
    if found is not None:
        return found
    if not (is_number(left) and is_number(right)):
        return ERROR
    if sign in _BITS or sign in ("<<", ">>", ">>>"):
        return _of_bits(sign, left, right)
    if isinstance(left, float) or isinstance(right, float):
        if sign == "%" or (sign == "/" and not isinstance(right, float) and right == 0):
            return ERROR
        if sign == "/" and right == 0:
            raise UnknownError("a real is divided by 0.0")
        return _REALS[sign](float(left), float(right))
    left, right = int(left), int(right)
    if sign in ("/", "%"):
        if right == 0:
            return ERROR
        quotient = abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
        return wrapped(quotient if sign == "/" else left - right * quotient)
    return wrapped(int(_REALS[sign](left, right)))


def _of_bits(sign: str, left: Any, right: Any) -> Any:
    if type(left) is not int or type(right) is not int:
        return ERROR
    if sign in _BITS:
        return _BITS[sign](left, right)
    if not 0 <= right < _SHIFT_LIMIT:
        raise UnknownError("a shift by more than 63 bits")
    if sign == "<<":
        return wrapped(left << right)
    return wrapped((left if sign == ">>" else left % 2**64) >> right)


def to_real(value: Any) -> Any:
    """A number as a real; error for what is none."""
    return float(value) if is_number(value) else ERROR


def to_integer(value: Any) -> Any:
    """A number cut towards zero; error for what is none."""
    if not is_number(value):
        return ERROR
    if isinstance(value, float) and not (math.isfinite(value) and abs(value) < 2**63):
        raise UnknownError("a real beyond 64 bits")
    return int(value)
