"""The columns of `sacct`: which are asked for, whose text they hold, and what type they have.

Source: sacct(1), "Job Accounting Fields".
"""

import difflib
from collections.abc import Callable, Iterable

import msgspec

from collector.mapping.quantities import duration_s, memory_bytes
from collector.source import Value
from collector_slurm import reqmem
from collector_slurm.names import NUMBER_OF

KEY_COLUMNS = (
    "DBIndex",
    "Cluster",
    "JobID",
    "State",
    "Submit",
    "Start",
    "End",
    "Suspended",
    "NodeList",
    "Partition",
)
"""Columns that every reading asks for, in this order, first."""


def _words(text: str) -> list[str]:
    return text.split()


_OWN_COLUMNS = frozenset(
    _words("""
        Account AllocCPUS AllocNodes AllocTRES AssocID AveCPU AveCPUFreq AveDiskRead
        AveDiskWrite AvePages AveRSS AveVMSize BlockID CPUTime CPUTimeRAW Cluster
        ConsumedEnergy ConsumedEnergyRaw DBIndex DerivedExitCode Elapsed ElapsedRaw Eligible
        End ExitCode FailedNode Flags GID Group JobID JobIDRaw Layout MaxDiskRead
        MaxDiskReadNode MaxDiskReadTask MaxDiskWrite MaxDiskWriteNode MaxDiskWriteTask
        MaxPages MaxPagesNode MaxPagesTask MaxRSS MaxRSSNode MaxRSSTask MaxVMSize
        MaxVMSizeNode MaxVMSizeTask McsLabel MinCPU MinCPUNode MinCPUTask NCPUS NNodes
        NTasks NodeList Partition Planned PlannedCPU PlannedCPURAW Priority QOS QOSRAW
        QOSREQ Reason ReqCPUFreq ReqCPUFreqGov ReqCPUFreqMax ReqCPUFreqMin ReqCPUS ReqMem
        ReqNodes ReqTRES Reservation ReservationId Reserved Restarts ResvCPU ResvCPURAW
        SLUID SegmentSize Start State Submit Suspended SystemCPU TRESUsageInAve
        TRESUsageInMax TRESUsageInMaxNode TRESUsageInMaxTask TRESUsageInMin
        TRESUsageInMinNode TRESUsageInMinTask TRESUsageInTot TRESUsageOutAve TRESUsageOutMax
        TRESUsageOutMaxNode TRESUsageOutMaxTask TRESUsageOutMin TRESUsageOutMinNode
        TRESUsageOutMinTask TRESUsageOutTot Timelimit TimelimitRaw TotalCPU UID User UserCPU
        WCKeyID
    """)
)
"""Columns whose text is the scheduler's or the administrator's; every other one may be a user's."""

PEAKS = frozenset({"MaxDiskRead", "MaxDiskWrite", "MaxPages", "MaxRSS", "MaxVMSize"})
"""High-water marks: they are on steps only."""
STEP_COLUMNS = PEAKS | {"SystemCPU", "TotalCPU", "UserCPU"}
"""Columns that are known only when the steps are read: `sacct` without `-X`."""

USAGE = "TRESUsageOutTot"
"""Asked for with steps: short, and empty on a step until slurmdbd has its usage, but for
`jobacct_gather/none`."""

_UNKNOWN = frozenset({"Unknown", "None"})


def _duration(text: str) -> int | float:
    return 0 if text == "00:00:00" else duration_s(text)


def _peak(text: str) -> int:
    return int(text) if text.isdecimal() else round(memory_bytes(text))


_CONVERT: dict[str, Callable[[str], Value]] = {
    **dict.fromkeys(
        _words("""
            AllocCPUS AllocNodes AssocID CPUTimeRAW ConsumedEnergyRaw DBIndex ElapsedRaw End
            Eligible GID NCPUS NNodes NTasks PlannedCPURAW ReqCPUS ReqNodes ReservationId
            Restarts ResvCPURAW Start Submit TimelimitRaw UID
        """),
        int,
    ),
    **dict.fromkeys(["Suspended", *(STEP_COLUMNS - PEAKS)], _duration),
    **dict.fromkeys(PEAKS, _peak),
}


class Columns(msgspec.Struct, frozen=True):
    """What is asked of `sacct`."""

    names: tuple[str, ...]
    """The columns, in order; KEY_COLUMNS first."""
    delimiter: str = "\x1f"
    """What follows each field."""

    aliases: tuple[tuple[str, str], ...] = ()
    """Names of a mapping that differ in case from their column: `qos`, QOS."""

    @classmethod
    def choose(
        cls, fields: frozenset[str] | None, offered: frozenset[str], token: Callable[[], str]
    ) -> "Columns":
        """Chooses the columns for a mapping.

        Args:
            fields: the names that mapping and filters use, in any case; None: everything on offer.
            offered: what this `sacct` has, by `sacct --helpformat`.
            token: gives a text that nobody can guess.
        """
        aliases = aliases_of(fields or (), offered)
        wanted = offered if fields is None else (fields & offered) | {name for _, name in aliases}
        if not wanted.isdisjoint(STEP_COLUMNS):
            wanted |= offered & {USAGE}
        wanted |= offered & {NUMBER_OF[name] for name in wanted & NUMBER_OF.keys()}
        if reqmem.COLUMN in wanted:
            wanted |= offered & set(reqmem.COUNTED_BY.values())
        names = (*KEY_COLUMNS, *sorted(wanted.difference(KEY_COLUMNS)))
        free_text = not _OWN_COLUMNS.issuperset(names)
        return cls(names, f"\x1f{token()}\x1f" if free_text else "\x1f", tuple(sorted(aliases)))

    @property
    def steps(self) -> bool:
        """Whether the rows of steps are wanted too."""
        return not STEP_COLUMNS.isdisjoint(self.names)

    def without_steps(self) -> "Columns":
        """The same, but for what needs the rows of steps."""
        names = tuple(name for name in self.names if name not in STEP_COLUMNS | {USAGE})
        return Columns(names, self.delimiter, self.aliases)

    def by_id(self, *, complete: bool) -> "Columns":
        """What to ask for jobs by their ids.

        Args:
            complete: whether their runs are taken as they are, so that `USAGE` says nothing.
        """
        if not self.steps:
            return KEYS
        if not complete:
            return self
        names = tuple(name for name in self.names if name != USAGE)
        return Columns(names, self.delimiter, self.aliases)

    def of_window(self) -> "Columns":
        """What to ask a window for: steps come by job id, and with them all the rest."""
        return KEYS if self.steps else self

    def reader(self) -> Callable[[Iterable[str]], dict[str, Value]]:
        """Makes a function from the texts of a row, in order, to its fields.

        Numbers, instants (epoch seconds), durations (s) and sizes (bytes) become numbers, unless
        the text is none: UNLIMITED. What is empty or unknown is left out.
        """
        names, converts = self.names, [_CONVERT.get(name) for name in self.names]

        def fields_of(texts: Iterable[str]) -> dict[str, Value]:
            try:  # nearly always
                return {
                    name: convert(text) if convert else text
                    for name, convert, text in zip(names, converts, texts, strict=True)
                    if text
                }
            except (ValueError, OverflowError):
                values = zip(names, map(value_of, names, texts), strict=True)
                return {name: value for name, value in values if value is not None}

        return fields_of


def aliases_of(fields: Iterable[str], offered: Iterable[str]) -> list[tuple[str, str]]:
    """Names that are a column's but for their case, as `sacct` takes them, each with the column."""
    columns = {name.lower(): name for name in offered}
    return [
        (field, columns[field.lower()])
        for field in fields
        if columns.get(field.lower(), field) != field
    ]


def unknown_fields(fields: Iterable[str] | None, offered: frozenset[str]) -> list[str]:
    """What to say of names that a mapping or filter uses, and that are no column of this `sacct`.

    Args:
        fields: the names; None: of no mapping.
        offered: by `sacct --helpformat`.
    """
    columns = {name.lower(): name for name in offered}
    found = []
    for field in sorted(fields or ()):
        if field.lower() in columns:
            continue
        near = difflib.get_close_matches(field.lower(), columns, n=1)
        hint = f"; did you mean {columns[near[0]]}?" if near else "; see sacct --helpformat"
        found.append(f"{field} is no column of this sacct, so it is missing in all jobs{hint}")
    return found


KEYS = Columns(KEY_COLUMNS)
"""What says which runs there are."""


def value_of(name: str, text: str) -> Value | None:
    """One field of a row; see `Columns.reader`. None: it is left out."""
    convert = _CONVERT.get(name)
    if not text or (convert and text in _UNKNOWN):
        return None
    try:
        return convert(text) if convert else text
    except (ValueError, OverflowError):
        return text
