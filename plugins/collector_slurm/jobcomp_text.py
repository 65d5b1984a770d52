"""Splits lines of the jobcomp log (`JobCompType=jobcomp/filetxt`) into values: pure text work.

A line is `Key=value Key=value …` with nothing escaped, and three of its values are a user's to
choose: Name, WorkDir, WcKey, and with them any number of blanks, newlines and imitated keys. The
keys are in a fixed order, so a line is taken apart from what surrounds these texts; if the text
between two of them can be divided in more than one way, somebody imitates keys and the line is
refused. A newline in a name breaks a line in two; the pieces are put together again, up to the
first that has the end of a line: every line has one, whatever its user wrote, so nobody's name can
hold up or spoil the lines of others. Up to 24.05.1, Slurm cuts a line after 1023 bytes, its newline
too, and writes the next one right after it: what comes after that many bytes belongs to the next
job, and the job that was cut is refused. Newer releases do not cut, and there a name could imitate
it: whether they do is asked when a line looks cut.

17.11 to 20.02 write `Gres=` where newer ones write `Tres=`, and up to 19.05 `PackJobId=` where
newer ones write `HetJobId=`.

What no reader of this log can see is a job whose name holds a *complete, well-formed* end of its
own line, a newline, and the beginning of another: it looks like two jobs. Sites whose users would
do that read slurmdbd (`mode: sacct`), where it is impossible.

Source: `jobcomp_p_record_job_completion` in Slurm's jobcomp_filetxt.c.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator

import msgspec

_BLOCK_LIMIT_BYTES = 1 << 16
_WRITER_LIMIT_BYTES = 1023

_BEGIN = re.compile(rb"JobId=\d+ UserId=[^=\n]*\(\d+\) GroupId=")
_END = (b" DerivedExitCode=", b" ExitCode=")
"""What every line has at its end, whatever is wrong with its values."""

_NAME = r"[^=\x00-\x1f]*"
"""A name that an administrator gave: it may have blanks (`domain users`), but no equals sign. So
what follows it is the next key, and no text of a user's can be read as a part of it."""

_HEAD = re.compile(
    rf"JobId=(?P<JobIDRaw>\d+) UserId=(?P<User>{_NAME})\((?P<UID>\d+)\)"
    rf" GroupId=(?P<Group>{_NAME})\((?P<GID>\d+)\) Name="
)
_MIDDLE = re.compile(
    r" JobState=(?P<State>\w+) Partition=(?P<Partition>\S*) TimeLimit=(?P<Timelimit>\S*)"
    r" StartTime=(?P<Start>\S+) EndTime=(?P<End>\S+) NodeList=(?P<NodeList>\S*)"
    r" NodeCnt=(?P<NNodes>\d+) ProcCnt=(?P<AllocCPUS>\d+) WorkDir="
)
_SECOND_MIDDLE = re.compile(
    r" ReservationName=(?P<Reservation>\S*)(?: Gres=(?P<ReqGRES>\S*))?(?: Tres=(?P<ReqTRES>\S*))?"
    rf" Account=(?P<Account>{_NAME}) QOS=(?P<QOS>{_NAME}) WcKey="
)
_TAIL_KEYS = (
    *("Cluster", "SubmitTime", "EligibleTime", "ArrayJobId", "ArrayTaskId", "HetJobId"),
    *("HetJobOffset", "PackJobId", "PackJobOffset", "DerivedExitCode", "ExitCode"),
)
"""Each is there once: so no text before them can be read as one of them. A release may add more."""
_TAIL = re.compile(
    r" Cluster=(?P<Cluster>\S*) SubmitTime=(?P<Submit>\S+) EligibleTime=(?P<Eligible>\S+)"
    r"(?: ArrayJobId=(?P<array>\d+) ArrayTaskId=(?P<task>\d+))?"
    r"(?: (?:Het|Pack)JobId=(?P<het>\d+) (?:Het|Pack)JobOffset=(?P<offset>\d+))?"
    rf"(?: (?!(?:{'|'.join(_TAIL_KEYS)})=)\w+=\S*)*"
    r" DerivedExitCode=(?P<DerivedExitCode>\d+:\d+) ExitCode=(?P<ExitCode>\d+:\d+) *\r?\n?\Z"
)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
_ABSENT = frozenset({"", "(null)", "unknown", "Unknown", "None"})
_ALWAYS = frozenset({"State", "Start", "End"})
"""Values without which there is no run; kept as they are, for the message that says so."""


class Entry(msgspec.Struct, frozen=True):
    """A piece of the log that is one job's, or cannot be anybody's."""

    text: bytes
    position: int
    """Where it begins, in bytes from the beginning of the file."""
    broken: str | None = None
    """Why it is not a job's, if it is not."""

    def __bytes__(self) -> bytes:
        return self.text

    @property
    def end(self) -> int:
        """Where it ends."""
        return self.position + len(self.text)


def entries_of(
    lines: Iterable[bytes],
    position: int,
    *,
    final: bool,
    cuts: Callable[[], bool] = lambda: True,
) -> Iterator[Entry]:
    """Joins lines to entries.

    Args:
        lines: whole lines; at the end of a final file also one without its newline.
        position: where the first one begins.
        final: whether nothing will ever follow.
        cuts: whether the writer cuts long lines; asked only when one looks so.

    Yields:
        Entries that are complete; what may still be continued is not yielded.
    """
    source = iter(lines)
    again: deque[bytes] = deque()
    block: list[bytes] = []
    while True:
        line = again.popleft() if again else next(source, None)
        if line is None or sum(map(len, block)) > _BLOCK_LIMIT_BYTES:
            if not block or (line is None and not final):
                return
            first, *rest = block
            yield Entry(first, position, "the line breaks off: expected … ExitCode=0:0 at its end")
            position += len(first)
            again.extendleft(reversed([*rest, *([] if line is None else [line])]))
            block = []
            continue
        if not block and not _BEGIN.match(line):
            yield Entry(line, position, "expected a line that begins with JobId=… UserId=…")
            position += len(line)
            continue
        block.append(line)
        if not _has_an_end(line):
            continue
        text, block = b"".join(block), []
        while _BEGIN.match(text, _WRITER_LIMIT_BYTES) and cuts():
            cut, text = text[:_WRITER_LIMIT_BYTES], text[_WRITER_LIMIT_BYTES:]
            yield Entry(cut, position, f"the line was cut after {len(cut)} bytes by slurmctld")
            position += len(cut)
        yield Entry(text, position)
        position += len(text)


def _has_an_end(line: bytes) -> bool:
    derived, exit_code = map(line.rfind, _END)
    return 0 <= derived < exit_code and line.endswith(b"\n")


def values_of(text: str) -> dict[str, str]:
    """The values of an entry, under the names that sacct has for them; absent ones are left out.

    JobID is the id as sacct shows it: `38_7` for a task of an array, `42+1` for a component of a
    heterogeneous job.

    Raises:
        ValueError: when the text is not an entry, or can be read in more than one way.
    """
    head, tail = _HEAD.match(text), _TAIL.search(text)
    if head is None or tail is None or tail.start() < head.end():
        raise ValueError("expected JobId=… UserId=… at the beginning and ExitCode=… at the end")
    between = text[head.end() : tail.start()]
    if _HEAD.search(between):
        raise ValueError("expected JobId=… UserId=… once; a job name could forge another line")
    middle, second = _only(_MIDDLE, between), _only(_SECOND_MIDDLE, between)
    if second.start() < middle.end():
        raise ValueError("expected ReservationName=… after WorkDir=…")
    found = {**head.groupdict(), **middle.groupdict(), **second.groupdict(), **tail.groupdict()}
    found["JobName"] = between[: middle.start()]
    found["WorkDir"] = between[middle.end() : second.start()]
    found["WCKey"] = between[second.end() :]
    array, task, het, offset = (found.pop(key) for key in ("array", "task", "het", "offset"))
    found["JobID"] = found["JobIDRaw"]
    if task is not None:
        found["JobID"] = f"{array}_{task}"
    elif offset is not None:
        found["JobID"] = f"{het}+{offset}"
    if found["State"] == "PENDING":
        found["State"] = "REQUEUED"
    return {
        key: value
        for key, value in found.items()
        if key in _ALWAYS or (value is not None and value not in _ABSENT)
    }


def end_of_line(line: bytes) -> str | None:
    """The EndTime of a line that is a whole entry, which sorts as a text; None of any other."""
    try:
        end = values_of(line.decode("utf-8", "replace"))["End"]
    except ValueError:
        return None
    return end if _TIME.fullmatch(end) else None


def _only(pattern: re.Pattern[str], text: str) -> re.Match[str]:
    """The one place where a pattern is found."""
    found = list(pattern.finditer(text))
    if len(found) != 1:
        key = pattern.pattern.lstrip().partition("=")[0]
        raise ValueError(
            f"expected {key}=… and what follows it once, found it {len(found)} times; "
            "a job name or directory that imitates keys could forge the line"
        )
    return found[0]
