"""Fuzzes the jobcomp log: whatever users, crashes and editors write, no line stops the others.

Usage: python -m tests.slurm.fuzz_log [SECONDS] [SEED]. Each round writes a log of honest lines with
hostile ones between them, in pieces and through rotations, polls it now and then, and checks that

- no poll, lag, check, backfill or retry raises an exception;
- each honest line is one job with its own user, group, times and cores;
- each byte of the log is in one entry, and a last poll finds nothing more.
"""

import gzip
import random
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from collector.source import Unreadable
from collector_slurm.source import SlurmSource
from tests.slurm.log_lines import line
from tests.slurm.standin import LOG, quiet, source

NOW = datetime(2026, 11, 25, tzinfo=UTC)
FIRST = NOW - timedelta(days=300)
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Pacific/Kiritimati")
CAPTURED = [
    one for one in LOG.read_bytes().splitlines(keepends=True) if one.endswith(b"ExitCode=0:0 \n")
]
TOKENS = (
    *("\n", " ", "=", "\r", "\0", "\x85", "\u2028", "(", ")", "é", "\udc80", "9" * 5000, "-1"),
    *(
        "JobId=",
        "JobId=99 UserId=root(0) GroupId=root(0) Name=",
        " JobState=None",
        "EndTime=Unknown",
    ),
    *(" ReservationName=", " Tres=", " Gres=", " WcKey=", " Cluster=x", " ExitCode=0:0 \n"),
    *("0001-01-01T00:00:00", "9999-12-31T23:59:59", "domain users(0) Name=", "EndTime=Unknown"),
    *(" ArrayJobId=1 ArrayTaskId=2", " HetJobId=1 HetJobOffset=", "(null)", "nobody(1)"),
    line(98, "2026-01-01T10:00:00", "2026-01-01T11:00:00"),
    line(98, "0001-01-01T00:00:00", "9999-12-31T23:59:59", "None"),
)


class Fuzzer:
    """Makes one round."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.random = random.Random(seed)
        self.path = folder / "jobcomp.log"
        self.zone = self.random.choice(ZONES)
        self.honest: dict[int, tuple[str, ...]] = {}
        self.number = 1000
        self.rotations = 0
        self.checkpoint: Any = None
        self.jobs: dict[int, Any] = {}
        self.rejected: list[Unreadable] = []

    def source(self) -> SlurmSource:
        """A source that has just been started."""
        keys = {"mode": "jobcomp", "jobcomp_path": self.path, "time_zone": self.zone}
        return source(quiet(NOW), **keys, sacct="false")

    def write(self) -> None:
        """Adds an honest line, or a hostile one."""
        honest = self.random.random() < 0.5
        with self.path.open("ab") as file:
            file.write(self._honest() if honest else self._hostile())

    def _honest(self) -> bytes:
        self.number += 1
        begin = FIRST + timedelta(minutes=7 * self.number)
        end = begin + timedelta(minutes=5)
        local = tuple(f"{one:%Y-%m-%dT11:%M:%S}" for one in (begin, end))
        if local[1] < local[0]:
            local = local[0], local[0]
        self.honest[self.number] = local
        return line(
            self.number, *local, UserId="honest user(7)", GroupId="domain users(8)"
        ).encode()

    def _hostile(self) -> bytes:
        """The line of a job whose user chose its texts; it has its real end, as every line has."""
        texts = {
            key: "".join(self.random.choices(TOKENS, k=self.random.randint(0, 6)))
            for key in ("Name", "WorkDir")
        }
        begin = "2026-01-01T10:00:00"
        if self.random.random() < 0.3:
            begin = self.random.choice(("Unknown", "None", "0001-01-01T00:00:00", "", "x"))
        state = self.random.choice(("COMPLETED", "PENDING", "FAILED", "None", "RESIZING"))
        text = line(self.random.randint(1, 900), begin, begin, state, **texts)
        raw = text.encode("utf-8", "surrogateescape")
        if self.random.random() < 0.2:
            raw = self._mutated(self.random.choice(CAPTURED))
        return raw

    def _mutated(self, text: bytes) -> bytes:
        """Changes bytes before the end of a line, which no user can reach."""
        body, end = bytearray(text[:-120]), text[-120:]
        for _ in range(self.random.randint(1, 8)):
            if body:
                body[self.random.randrange(len(body))] = self.random.randrange(256)
        return bytes(body) + end

    def rotate(self) -> None:
        """Renames the log; sometimes packs it."""
        if not self.path.exists():
            return
        self.rotations += 1
        archive = self.path.with_name(f"jobcomp.log-{self.rotations}")
        self.path.rename(archive)
        if self.random.random() < 0.5:
            packed = archive.with_name(f"{archive.name}.gz")
            packed.write_bytes(gzip.compress(archive.read_bytes()))
            archive.unlink()

    def poll(self) -> None:
        """Polls as after a restart."""
        for batch in self.source().poll(self.checkpoint):
            for job in batch.jobs:
                self.jobs[int(str(job.fields["JobIDRaw"]))] = job
            self.rejected += batch.unreadable
            self.checkpoint = msgspec.json.decode(msgspec.json.encode(batch.checkpoint))

    def round(self) -> None:
        """Does all of it, and checks what came of it."""
        for _ in range(self.random.randint(1, 60)):
            self.write()
            chance = self.random.random()
            if chance < 0.1:
                self.poll()
            elif chance < 0.13:
                self.rotate()
        with self.path.open("ab") as file:
            file.write(self._honest())
        self.poll()
        for number, local in self.honest.items():
            job = self.jobs[number]
            who = tuple(job.fields[key] for key in ("User", "UID", "Group", "AllocCPUS"))
            assert who == ("honest user", 7, "domain users", 4), (number, who)
            raw = msgspec.json.decode(bytes(job.raw))["text"]
            assert f"StartTime={local[0]} EndTime={local[1]}" in raw, (number, raw)
        given = self.source()
        assert [job.id for batch in given.poll(self.checkpoint) for job in batch.jobs] == []
        assert given.lag(self.checkpoint) is not None
        assert list(given.check())
        for one in self.rejected:
            given.parse(one.raw, one.where)
        found = {
            int(str(job.fields["JobIDRaw"]))
            for batch in given.backfill(FIRST - timedelta(days=9), NOW + timedelta(days=9))
            for job in batch.jobs
        }
        assert set(self.honest) <= found


def fuzz(seconds: float, seed: int = 0) -> int:
    """Makes rounds for some time; gives their number.

    Raises:
        AssertionError: for a round that failed; its seed is in the message.
    """
    until, rounds = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        with tempfile.TemporaryDirectory() as folder:
            try:
                Fuzzer(seed + rounds, Path(folder)).round()
            except Exception as error:
                raise AssertionError(f"seed {seed + rounds}: {error!r}") from error
        rounds += 1
    return rounds


if __name__ == "__main__":
    options = dict(zip(("seconds", "seed"), sys.argv[1:], strict=False))
    print(fuzz(float(options.get("seconds", 60)), int(options.get("seed", 0))), "rounds")
