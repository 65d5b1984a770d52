"""Reads a certificate's name and dates from its PEM file: what `check` and health show of it.

The structure is that of RFC 5280, section 4.1, encoded in DER; only what is wanted is looked at.
Python's ssl module shows these fields of a peer's certificate alone.
"""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

_SEQUENCE, _VERSION = 0x30, 0xA0
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_COMMON_NAME = bytes((0x55, 0x04, 0x03))  # 2.5.4.3


class Certificate(msgspec.Struct, frozen=True):
    """Whose it is and how long it holds."""

    common_name: str
    """An Auditor with roles decides by it (`write_access_cn`, `read_access_cn`); may be empty."""
    not_before: datetime
    not_after: datetime
    """From here on servers refuse it; aware, as is `not_before`."""


def read_certificate(path: Path) -> Certificate:
    """Reads the first certificate of a PEM file.

    Raises:
        ValueError: when the file cannot be read, or holds none.
    """
    try:
        text = path.read_text(encoding="ascii", errors="replace")
        begin = text.index("-----BEGIN CERTIFICATE-----")
        end = text.index("-----END CERTIFICATE-----", begin)
        der = ssl.PEM_cert_to_DER_cert(f"{text[begin:end]}-----END CERTIFICATE-----\n")
        return _certificate(der)
    except (OSError, ValueError, IndexError) as error:
        raise ValueError(f"{path} is not a certificate in PEM: {error}") from error


def _certificate(der: bytes) -> Certificate:
    (outer, whole), *_ = _parts(der)
    (inner, to_be_signed), *_ = _parts(whole)
    if (outer, inner) != (_SEQUENCE, _SEQUENCE):
        raise ValueError("not the structure of a certificate")
    fields = [part for part in _parts(to_be_signed) if part[0] != _VERSION]
    validity, subject = fields[3][1], fields[4][1]  # after serial, algorithm, issuer
    not_before, not_after = (_time(*part) for part in _parts(validity))
    return Certificate(_common_name(subject), not_before, not_after)


def _parts(encoded: bytes) -> Iterator[tuple[int, bytes]]:
    """The elements in their order: tag and content."""
    at = 0
    while at < len(encoded):
        tag, length = encoded[at], encoded[at + 1]
        at += 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(encoded[at : at + size], "big")
            at += size
        if at + length > len(encoded):
            raise ValueError("an element is longer than its container")
        yield tag, encoded[at : at + length]
        at += length


def _common_name(subject: bytes) -> str:
    for _, names in _parts(subject):
        for _, pair in _parts(names):
            (_, kind), (_, text) = _parts(pair)
            if kind == _COMMON_NAME:
                return text.decode(errors="replace")
    return ""


def _time(tag: int, encoded: bytes) -> datetime:
    text = encoded.decode("ascii")
    if tag == _UTC_TIME:  # two digits of the year: 1950 to 2049
        text = ("19" if text >= "50" else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("not a time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
