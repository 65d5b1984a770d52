"""A check of the log says what the first poll would."""

import gzip
from datetime import UTC, datetime
from pathlib import Path

from collector.source import Finding
from tests.slurm.log_lines import line
from tests.slurm.standin import LOG, program, quiet, source

NOW = datetime(2026, 11, 25, tzinfo=UTC)
TEN, ELEVEN = "2026-01-01T10:00:00", "2026-01-01T11:00:00"


def check(path: Path, sacct: str = "false") -> list[Finding]:
    given = {"mode": "jobcomp", "jobcomp_path": path, "time_zone": "UTC", "sacct": sacct}
    return list(source(quiet(NOW), **given).check())


def texts(findings: list[Finding], *, ok: bool) -> str:
    return "\n".join(finding.text for finding in findings if finding.ok is ok)


def test_a_check_says_how_much_there_is(tmp_path: Path):
    """Or that there is nothing."""
    sacct = program(tmp_path, "echo slurm-wlm 22.05.8")
    finding, *_ = check(LOG, sacct)
    assert finding.ok
    assert "1 files with 78600 bytes, in time of UTC" in finding.text
    (missing,) = check(tmp_path / "log", sacct)
    assert not missing.ok


def test_a_check_reads_the_last_hundred_lines(tmp_path: Path):
    """Of the newest files; and says how many would be rejected, and why."""
    old, path = tmp_path / "log.1.gz", tmp_path / "log"
    bad = line(9, TEN, "Unknown")
    good = "".join(line(number, TEN, ELEVEN) for number in range(100, 160))
    old.write_bytes(gzip.compress((line(99, TEN, ELEVEN) + bad).encode()))
    path.write_text(good + bad + good[: good.index("JobId=138")])
    findings = check(path)
    assert "2 of the last 100 lines would be rejected: " in texts(findings, ok=True)
    assert "EndTime=Unknown: expected a time" in texts(findings, ok=True)
    assert str(path) in texts(findings, ok=True)
    assert not texts(findings, ok=False)


def test_a_log_of_which_most_lines_cannot_be_read_fails_the_check(tmp_path: Path):
    """As one of a release that writes other lines."""
    bad = "JobId=1 UserId=a(1) JobState=COMPLETED\n"
    (tmp_path / "log").write_text(line(1, TEN, ELEVEN) * 2 + bad * 3)
    assert "3 of the last 5 lines would be rejected" in texts(check(tmp_path / "log"), ok=False)


def test_a_long_log_is_read_from_near_its_end(tmp_path: Path):
    """Lines that begin before are left out, and a name with newlines is no line."""
    text = line(1, TEN, ELEVEN, Name="x\ny" * 300)
    (tmp_path / "log").write_text(text * 3000)
    findings = check(tmp_path / "log")
    assert "rejected" not in texts(findings, ok=True)
    assert not texts(findings, ok=False)


def test_neighbours_and_archives_that_cannot_be_read_are_named(tmp_path: Path):
    """The first is another log; the second is an error, since its jobs are missing."""
    for name in ("log", "log_gpu", "log.1.zst"):
        (tmp_path / name).write_text(line(1, TEN, ELEVEN))
    findings = check(tmp_path / "log")
    assert "log_gpu" in texts(findings, ok=True)
    assert "log.1.zst" in texts(findings, ok=False)


def test_users_and_groups_without_a_name_are_counted(tmp_path: Path):
    """With the advice how slurmctld learns them."""
    lines = [
        line(1, TEN, ELEVEN, UserId="(null)(60077)"),
        line(2, TEN, ELEVEN, UserId="nobody(60077)", GroupId="nobody(60513)"),
        line(3, TEN, ELEVEN),
    ]
    (tmp_path / "log").write_text("".join(lines))
    said = texts(check(tmp_path / "log"), ok=True)
    assert "of the last 3 lines, 2 have no name of their user and 1 none of their group" in said
    assert "getent" in said


def test_a_release_that_is_not_known_is_said(tmp_path: Path):
    """It matters for lines that look cut."""
    (tmp_path / "log").write_text(line(1, TEN, ELEVEN))
    assert "treated as cut" in texts(check(tmp_path / "log"), ok=True)
    known = program(tmp_path, "echo slurm 25.05.1")
    assert "treated as cut" not in texts(check(tmp_path / "log", known), ok=True)
