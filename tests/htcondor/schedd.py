r"""A schedd as far as its history file goes: what it appends, how it rotates, how it is killed.

It does what HTCondor 25.14 was seen to do: an ad is written in pieces cut at the file's 4096-byte
boundaries, its banner last; before an append that would pass the limit the file is renamed to
`history.YYYYMMDDTHHMMSS` and the oldest rotated files are removed first; a banner's Offset is where
the last line of the file begins.
"""

import os
from datetime import UTC, datetime
from pathlib import Path

START = 1795459561
TEMPLATE = {
    "Cmd": '"/bin/sleep"',
    "Args": '"4"',
    "Owner": '"labalice"',
    "QDate": str(START),
    "ProcId": "0",
    "ExitCode": "0",
    "MaxHosts": "1",
    "ClusterId": "1",
    "JobStatus": "4",
    "JobRunCount": "1",
    "JobUniverse": "5",
    "MemoryUsage": "((ResidentSetSize + 1023) / 1024)",
    "RequestCpus": "1",
    "JobStartDate": str(START),
    "RemoteSysCpu": "1.0",
    "LastJobStatus": "2",
    "LastMatchTime": str(START),
    "RemoteUserCpu": "3.0",
    "RequestMemory": "128",
    "CompletionDate": str(START + 4),
    "CpusProvisioned": "1",
    "NumShadowStarts": "1",
    "ResidentSetSize": "3000",
    "MemoryProvisioned": "128",
    "JobCurrentStartDate": str(START),
    "RemoteWallClockTime": "4.0",
    "ResidentSetSize_RAW": "2900",
    "EnteredCurrentStatus": str(START + 4),
    "CumulativeRemoteSysCpu": "1.0",
    "LastRemoteWallClockTime": "4.0",
    "CumulativeRemoteUserCpu": "3.0",
}


def ad(cluster: int = 1, proc: int = 0, **attributes: str | int | None) -> bytes:
    """The lines of an ad, in a schedd's order; None leaves an attribute out."""
    made = attributes.pop("made", START)
    values = {
        **TEMPLATE,
        "ClusterId": str(cluster),
        "ProcId": str(proc),
        "GlobalJobId": f'"ap1.lab.example#{cluster}.{proc}#{made}"',
        **{name: None if value is None else str(value) for name, value in attributes.items()},
    }
    return b"".join(
        f"{name} = {value}\n".encode(errors="surrogateescape")
        for name, value in sorted(values.items(), key=lambda item: (len(item[0]), item[0]))
        if value is not None
    )


class Schedd:
    """Appends ads to a history file."""

    def __init__(self, folder: Path, limit_bytes: int = 20_000_000, rotations: int = 2) -> None:
        self.history = folder / "history"
        self.limit_bytes, self.rotations = limit_bytes, rotations
        self.clock = START + 100
        self._last_line = self._find_last_line()

    def append(self, lines: bytes, torn_at: int | None = None, *, banner: bool = True) -> None:
        """Appends an ad; `torn_at` bytes of it if the schedd is killed there."""
        size = self.history.stat().st_size if self.history.exists() else 0
        if size and size + len(lines) > self.limit_bytes:
            self.rotate()
            size = 0
        self._last_line = self._last_line if size else 0
        offset = self._last_line
        text = lines if torn_at is None else lines[:torn_at]
        if torn_at is None and banner:
            text += self._banner(lines, offset)
        with self.history.open("ab", buffering=0) as file:
            at = 0
            while at < len(text):
                piece = 4096 - (size + at) % 4096
                at += os.write(file.fileno(), text[at : at + piece])
        self._last_line = self._find_last_line()

    def rotate(self) -> None:
        rotated = sorted(self.history.parent.glob("history.2*"))
        for path in rotated[: max(len(rotated) - self.rotations + 1, 0)]:
            path.unlink()
        self.clock += 1
        name = datetime.fromtimestamp(self.clock, UTC).strftime("%Y%m%dT%H%M%S")
        self.history.rename(self.history.with_name(f"history.{name}"))

    def _banner(self, lines: bytes, offset: int) -> bytes:
        values = dict(line.split(b" = ", 1) for line in lines.split(b"\n")[:-1] if b" = " in line)
        self.clock = max(self.clock, int(values.get(b"EnteredCurrentStatus", b"0")))
        return (
            b"*** Offset = %d ClusterId = %s ProcId = %s Owner = %s CompletionDate = %s "
            b"CurrentTime = %d\n"
        ) % (
            offset,
            values.get(b"ClusterId", b"0"),
            values.get(b"ProcId", b"0"),
            values.get(b"Owner", b'""'),
            values.get(b"CompletionDate", b"-1"),
            self.clock,
        )

    def _find_last_line(self) -> int:
        """Where the last line begins; a newline at the end of the file ends it."""
        if not self.history.exists():
            return 0
        text = self.history.read_bytes()
        return text.rfind(b"\n", 0, max(len(text) - 1, 0)) + 1
