"""How far the jobcomp log has been read, and what has to be known of it to read on."""

import msgspec

from collector_slurm.rotation import Part

UNPACKED = -1
"""Instead of a position: an archive that was read to its end, and need not be unpacked again."""

_DAY_S = 86400
_FORGET_ENDED_S = _DAY_S
_FORGET_PENDING_S = 90 * _DAY_S
_GONE_FILES = 100
_RANGES = 2000


class First(msgspec.Struct, array_like=True):
    """The first run of a job that may run again."""

    start: int
    end: int
    """End of the job's latest run."""
    resized: bool
    again: bool
    """Whether another run must follow."""


class Numbers(msgspec.Struct, array_like=True):
    """A set of job numbers, as ranges: Slurm counts up, so it is small however many jobs end."""

    ranges: list[tuple[int, int]] = []
    """Ascending, first and last of each; the lowest are forgotten when there are too many."""

    def __contains__(self, number: object) -> bool:
        assert isinstance(number, int)
        at = self._first_not_below(number)
        return at < len(self.ranges) and self.ranges[at][0] <= number

    def add(self, number: int) -> None:
        """Adds a number."""
        at = self._first_not_below(number)
        if at < len(self.ranges) and self.ranges[at][0] <= number:
            return
        first = last = number
        end = at
        if end < len(self.ranges) and self.ranges[end][0] == number + 1:
            last = self.ranges[end][1]
            end += 1
        if at and self.ranges[at - 1][1] == number - 1:
            at -= 1
            first = self.ranges[at][0]
        self.ranges[at:end] = [(first, last)]
        if len(self.ranges) > _RANGES:
            del self.ranges[0]

    def _first_not_below(self, number: int) -> int:
        """Index of the first range that ends at a number or after it; mostly one of the last."""
        low, high = 0, len(self.ranges)
        while low < high:
            middle = (low + high) // 2
            if self.ranges[middle][1] < number:
                low = middle + 1
            else:
                high = middle
        return low


class JobcompCheckpoint(msgspec.Struct, kw_only=True, tag_field="mode", tag="jobcomp"):
    """How far the log has been read; instants in epoch seconds."""

    head: str = ""
    """Fingerprint of the file that was read last; with `position` all that older releases know."""
    position: int = 0
    ended: int = 0
    """End of the last run that was read: the log is in this order."""
    firsts: dict[str, First] = {}
    """Job id → its first run, for jobs that may run again."""
    positions: dict[str, int] | None = None
    """Fingerprint of a file → bytes of it that were read; None: by an older release."""
    numbers: Numbers = msgspec.field(default_factory=Numbers)
    """Jobs of which a run was read."""

    def take_over(self, parts: list[Part]) -> None:
        """Fills `positions` where an older release has read: the files before its last one too."""
        if self.positions is not None:
            return
        self.positions = {}
        heads = [part.head for part in parts]
        if self.head in heads:
            self.positions = {
                part.head: UNPACKED if part.size_bytes is None else part.size_bytes
                for part in parts[: heads.index(self.head)]
            }
            self.positions[self.head] = self.position

    def position_in(self, part: Part) -> int | None:
        """Where to read on in a file; None: there is nothing more in it."""
        position = (self.positions or {}).get(part.head, 0)
        if position in (UNPACKED, part.size_bytes):
            return None
        if part.size_bytes is not None and part.size_bytes < position:
            return 0  # it was cut, and written again from the same first line
        return position

    def move(self, part: Part, position: int) -> None:
        """Notes how far a file was read."""
        assert self.positions is not None
        self.head = part.head
        if position != UNPACKED:
            self.position = position
        self.positions.pop(part.head, None)
        self.positions[part.head] = position

    def forget(self, parts: list[Part]) -> None:
        """Drops the jobs that will not run again, and all but the last files that are gone."""
        assert self.positions is not None
        there = {part.head for part in parts}
        gone = [head for head in self.positions if head not in there]
        for head in gone[:-_GONE_FILES]:
            del self.positions[head]
        self.firsts = {
            job_id: first
            for job_id, first in self.firsts.items()
            if self.ended - first.end < (_FORGET_PENDING_S if first.again else _FORGET_ENDED_S)
        }
