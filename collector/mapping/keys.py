"""What a part of the YAML file may declare of its keys, beside their types and defaults.

Three things, each reported with the line and the path of its key, together with all others:

- `checked(function)`: what one value has to be, beside its type;
- `goes_with(mode="sacct")`: a key that means something only with that value of another key;
- `@conflict("key", "other")`: a method that says why values of several keys exclude each other.

```python
class ExampleSection(SourceSection, kw_only=True):
    mode: Literal["file", "command"] = "file"
    log: Annotated[Path | None, goes_with(mode="file")] = None
    window_s: Annotated[float, msgspec.Meta(ge=1), goes_with(mode="command")] = 3600

    @conflict("log", "mode")
    def _log_is_needed(self) -> str | None:
        return "needed with mode: file" if self.mode == "file" and self.log is None else None
```

A conflict is reported at the first of its keys. It is not asked for when one of them has a mistake
of its own, so a method sees values of the declared types only. The checks run where YAML is read
(`collector.config`), not when Python code makes a struct.
"""

import typing
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import msgspec

Method = TypeVar("Method", bound=Callable[[Any], str | None])

_KEYS = "__conflicting_keys__"


def checked(check: Callable[[Any], object]) -> msgspec.Meta:
    """Marks a value that has to pass a check, which raises ValueError with what is expected."""
    return msgspec.Meta(extra={"check": check})


def goes_with(**keys: Any) -> msgspec.Meta:
    """Marks a key that may be given only if other keys of its section have certain values.

    Args:
        keys: the other key, and its value, or a tuple of values.
    """
    values = {name: one if isinstance(one, tuple) else (one,) for name, one in keys.items()}
    return msgspec.Meta(extra={"goes_with": values})


def instead(hint: str) -> msgspec.Meta:
    """Marks a text with the advice for one who wrote a number; `{}` in it is the number."""
    return msgspec.Meta(extra={"instead": hint})


def conflict(*keys: str) -> Callable[[Method], Method]:
    """Marks a method that says why the values of some keys exclude each other; None if they don't.

    Args:
        keys: all keys that the method looks at; the mistake is reported at the first.
    """

    def mark(method: Method) -> Method:
        setattr(method, _KEYS, keys)
        return method

    return mark


def declared(annotation: Any, what: str) -> Any:
    """What `checked` ("check"), `goes_with` or `instead` marked a type with; None if nothing."""
    if typing.get_origin(annotation) is not typing.Annotated:
        return None
    for meta in typing.get_args(annotation)[1:]:
        if isinstance(meta, msgspec.Meta) and meta.extra and what in meta.extra:
            return meta.extra[what]
    return None


def conditions_of(struct: type[msgspec.Struct], key: str, annotation: Any) -> dict[str, Any]:
    """Other key → values with which a key goes; by its annotation, or by the class attribute
    `inherited_go_with` (key → such a dict), for keys that a subclass has from elsewhere.
    """
    given: dict[str, Any] = getattr(struct, "inherited_go_with", {}).get(key, {})
    return given | (declared(annotation, "goes_with") or {})


def conflicts_of(
    struct: msgspec.Struct, is_sound: Callable[[str], bool]
) -> Iterator[tuple[tuple[str, ...], str]]:
    """The conflicts among keys of a struct, each with its keys.

    Args:
        struct: may have any value for a key that is not sound.
        is_sound: whether a key has no mistake of its own.
    """
    methods: dict[str, Callable[[Any], str | None]] = {}
    for base in reversed(type(struct).__mro__):
        methods |= {name: one for name, one in vars(base).items() if hasattr(one, _KEYS)}
    for method in methods.values():
        keys = getattr(method, _KEYS)
        if all(map(is_sound, keys)) and (why := method(struct)) is not None:
            yield keys, why
