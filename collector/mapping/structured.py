"""Looks up one entry of a field that holds several: JSON, or `key=value,key=value`.

JSON is also read with single quotes, as ARC-CE writes it into the comment of its Slurm jobs:
`{'voms': '/atlas/Role=production', 'subject': '/DC=org/CN=somebody'}`.
"""

import re

import msgspec

_LIMIT_CHARACTERS = 65_536
_TOKEN = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[^'\"]+|['\"]")
_WORDS = {"None": "null", "True": "true", "False": "false"}
_WORD = re.compile(r"\b(?:None|True|False)\b")


def item_of(text: str, path: str) -> str | int | float | list[str] | None:
    """The entry at a path.

    Args:
        text: JSON (an object), or `key=value,key=value` as Slurm writes TRES.
        path: a key; for JSON also the keys of nested objects, joined by dots.

    Returns:
        A text, a number, or a list of texts; None where there is no such entry, or none of these.
    """
    text = text.strip()
    if not text.startswith("{"):
        entries = (entry.partition("=") for entry in text.split(","))
        return next((value for key, sign, value in entries if sign and key.strip() == path), None)
    found = _parse(text)
    if isinstance(found, dict) and path in found:
        found = found[path]
    else:
        for key in path.split("."):
            found = found.get(key) if isinstance(found, dict) else None
    if isinstance(found, bool):
        return "true" if found else "false"
    if isinstance(found, str | int | float):
        return found
    if isinstance(found, list) and found and all(isinstance(one, str) for one in found):
        return found
    return None


def _parse(text: str) -> object:
    if len(text) > _LIMIT_CHARACTERS:
        return None
    for attempt in (text, None):
        try:
            return msgspec.json.decode((attempt or _with_double_quotes(text)).encode())
        except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
            continue
    return None


def _with_double_quotes(text: str) -> str:
    """Rewrites Python's notation of a dict to JSON, token by token."""
    return "".join(_json_token(token) for token in _TOKEN.findall(text))


def _json_token(token: str) -> str:
    if token.startswith("'") and len(token) > 1:
        return msgspec.json.encode(re.sub(r"\\(.)", r"\1", token[1:-1])).decode()
    if token.startswith('"'):
        return token
    return _WORD.sub(lambda word: _WORDS[word[0]], token)
