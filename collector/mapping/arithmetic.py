"""Arithmetic over the fields of a job, as the mapping writes it: `RemoteUserCpu + RemoteSysCpu`.

The text is parsed by Python's parser, and only numbers, names, `+ - * /`, parentheses and the
functions below pass; nothing is ever given to `eval`. There are no loops and no powers, and fields
are numbers of at most 64 bits: the text, of at most 1000 characters, bounds the time that a job
takes, whatever its user wrote (100 µs for the longest).
"""

import ast
import math
import operator
from collections.abc import Callable, Mapping

from collector.mapping import quantities

Number = int | float
Fields = Mapping[str, object]

_BINARY: dict[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_FUNCTIONS: dict[str, Callable[..., Number]] = {
    "min": min,
    "max": max,
    "round": round,
    "ceil": math.ceil,
    "floor": math.floor,
    "abs": abs,
}
_LIMIT_CHARACTERS = 1000


class UnknownFieldError(LookupError):
    """Raised when a field of the expression is not known; its argument is the field's name."""


class Expression:
    """A parsed expression.

    Attributes:
        fields: the names of the fields that it needs.
    """

    def __init__(self, text: str) -> None:
        """Parses the text.

        Raises:
            ValueError: naming what is not allowed in it.
        """
        self.text = text
        self.fields: set[str] = set()
        if len(text) > _LIMIT_CHARACTERS:
            raise ValueError(f"the expression is longer than {_LIMIT_CHARACTERS} characters")
        try:
            tree = ast.parse(text.strip(), mode="eval")
        except (SyntaxError, RecursionError, MemoryError) as error:
            raise ValueError(f"{text!r} is not an expression: {error}") from None
        self._evaluate = self._compile(tree.body)

    def __call__(self, fields: Fields) -> Number:
        """The value for the fields of a job.

        Raises:
            UnknownFieldError: when one of the fields is not there.
            ValueError: when one is not a number, or the result is none (division by 0, too large).
        """
        try:
            return self._evaluate(fields)
        except (ZeroDivisionError, OverflowError) as error:
            raise ValueError(f"{self.text}: {error}") from None

    def _compile(self, node: ast.expr) -> Callable[[Fields], Number]:
        match node:
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                return lambda _: value
            case ast.Name(id=name):
                self.fields.add(name)
                return _field(name)
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                negated = self._compile(inner)
                return lambda fields: -negated(fields)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                first, second, apply = self._compile(left), self._compile(right), _BINARY[type(op)]
                return lambda fields: apply(first(fields), second(fields))
            case ast.Call(func=ast.Name(id=name), args=[_, *_] as args, keywords=[]) if (
                name in _FUNCTIONS
            ):
                function = _FUNCTIONS[name]
                if name not in ("min", "max") and len(args) != 1:
                    raise ValueError(f"{name}() takes one value")
                parts = [self._compile(arg) for arg in args]
                if len(parts) == 1 and name in ("min", "max"):
                    raise ValueError(f"{name}() takes two values or more")
                return lambda fields: function(*[part(fields) for part in parts])
        raise ValueError(
            f"{ast.unparse(node)!r} is not allowed; allowed are numbers, names of fields, "
            f"+ - * / ( ) and {', '.join(_FUNCTIONS)}"
        )


def _field(name: str) -> Callable[[Fields], Number]:
    def number_of(fields: Fields) -> Number:
        value = fields.get(name)
        if value is None:
            raise UnknownFieldError(name)
        try:
            return quantities.number(value)
        except ValueError as error:
            raise ValueError(f"{name} = {value!r}: {error}") from None

    return number_of
