r"""Keeps records of the epoch history that a text only imitates from being read.

Shadows append records of file transfers, too, with the messages of transfer plugins, which a user
may bring along. A message with newlines can imitate the end of a record, and a whole further one:

    TransferError = "no such file
    *** EPOCH ClusterId=7 ProcId=0 RunInstanceId=0 Owner="labbob" CurrentTime=1795459585
    "
    *** INPUT ClusterId=8 ProcId=0 RunInstanceId=0 Owner="labalice" CurrentTime=1795459590

What a shadow itself writes is an attribute a line, and each text ends in its line. So a record with
another line is no run, and none is after a text that has not ended.
"""

import re

_FOREIGN = re.compile(
    rb"\n(?!\*\*\* |[A-Za-z_][\w.]* = "
    rb'(?:"[^\n]*"|[^"\\{\[\n][^\n]*|[{\[](?:[^"\n]|"(?:[^"\\\n]|\\[^\n])*")*)(?:\n|\Z))'
    rb"([^\n]*)",
    re.ASCII,
)
_OPENING = re.compile(rb'[A-Za-z_][\w.]* = (?:"|[{\[])', re.ASCII)


class Imitations:
    """Looks at the records of one file, in their order."""

    def __init__(self) -> None:
        self._in_text = False

    def is_one(self, raw: bytes) -> bool:
        """Whether a record is not surely a shadow's: part of a text, or one that a text is part of.

        Args:
            raw: a newline, its lines, its banner line.
        """
        foreign = _FOREIGN.findall(raw)
        if not foreign:
            return self._in_text
        self._in_text = _OPENING.match(foreign[-1]) is not None
        return True
