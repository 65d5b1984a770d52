"""Looks up entries of a field that holds several: JSON, or `key=value,key=value`.

JSON is also read with single quotes, as ARC-CE writes it into the comment of its Slurm jobs:
`{'voms': '/atlas/Role=production', 'subject': '/DC=org/CN=somebody'}`; and in double quotes as a
whole, as submit scripts write it that quote a comment once more.
"""

import re
from collections.abc import Iterator

import msgspec

Item = str | int | float | list[str]

_JSON = ("{", '"{')
_LIMIT_CHARACTERS = 65_536
_TOKEN = re.compile(r"'(?:[^'\\]|\\.)*+'|\"(?:[^\"\\]|\\.)*+\"|[^'\"]++|['\"]", re.DOTALL)
_WORDS = {"None": "null", "True": "true", "False": "false"}
_WORD = re.compile(r"\b(?:None|True|False)\b")


def item_of(text: str, path: str) -> Item | None:
    """The entry at a path.

    Args:
        text: JSON (an object), or `key=value,key=value` as Slurm writes TRES.
        path: a key; for JSON also the keys of nested objects, joined by dots.

    Returns:
        A text, a number, or a list of texts; None where there is no such entry, or none of these.
    """
    text = text.strip()
    if not text.startswith(_JSON):
        given = next((value for key, value in _pairs(text) if key == path), None)
        return _typed_sums(text).get(path) if given is None else given
    found: object = _parse(_unquoted(text))
    if isinstance(found, dict) and path in found:
        found = found[path]
    else:
        for key in path.split("."):
            found = found.get(key) if isinstance(found, dict) else None
    return _item(found)


def items_of(text: str) -> dict[str, Item]:
    """All entries of the outermost level that `item_of` would give, by key."""
    text = text.strip()
    if not text.startswith(_JSON):
        return {**_typed_sums(text), **dict(reversed([*_pairs(text)]))}
    items = ((key, _item(value)) for key, value in _parse(_unquoted(text)).items())
    return {key: item for key, item in items if item is not None}


def _item(found: object) -> Item | None:
    if isinstance(found, bool):
        return "true" if found else "false"
    if isinstance(found, str | int | float):
        return found
    if isinstance(found, list) and found and all(isinstance(one, str) for one in found):
        return found
    return None


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for entry in text.split(","):
        key, sign, value = entry.partition("=")
        if sign:
            yield key.strip(), value


def _typed_sums(text: str) -> dict[str, Item]:
    """The sum of `gres/gpu:a100=1,gres/gpu:h100=2` as `gres/gpu`: with AccountingStorageTRES of
    types only, Slurm counts nothing else.
    """
    sums: dict[str, Item] = {}
    for key, value in dict(reversed([*_pairs(text)])).items() if ":" in text else ():
        name, sign, _ = key.partition(":")
        if sign and value.isdecimal():
            sums[name] = str(int(value) + int(str(sums.get(name, 0))))
    return sums


def _unquoted(text: str) -> str:
    """The text in outer double quotes, as JSON or as it is."""
    if not text.startswith('"'):
        return text
    try:
        return msgspec.json.decode(text.encode(), type=str)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return text[1:].removesuffix('"')


def _parse(text: str) -> dict[str, object]:
    """The entries of JSON, or of Python's notation; none of what is neither."""
    if len(text) > _LIMIT_CHARACTERS:
        return {}
    for read in (str, _with_double_quotes):
        try:
            return msgspec.json.decode(read(text).encode(), type=dict[str, object])
        except (ValueError, RecursionError):  # msgspec's DecodeError is a ValueError
            continue
    return {}


def _with_double_quotes(text: str) -> str:
    """Rewrites Python's notation of a dict to JSON, token by token.

    Raises:
        ValueError: for a quote that nothing closes.
    """
    return "".join(_json_token(token[0]) for token in _TOKEN.finditer(text))


def _json_token(token: str) -> str:
    if token in ("'", '"'):
        raise ValueError("a quote is not closed")
    if token.startswith("'"):
        return msgspec.json.encode(re.sub(r"(?s)\\(.)", r"\1", token[1:-1])).decode()
    if token.startswith('"'):
        return token
    return _WORD.sub(lambda word: _WORDS[word[0]], token)
