"""Users, groups and accounts: names with blanks, names that are missing, names that are forged."""

from collections.abc import Iterable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.source import Batch, Job, Value
from collector_slurm.names import with_names
from collector_slurm.section import SlurmSection
from tests.slurm.log_lines import line
from tests.slurm.standin import CAPTURED_AT, filtered, jobs, quiet, row, source, standin, written

TEN, ELEVEN = "2026-01-01T10:00:00", "2026-01-01T11:00:00"
NOBODY = 65534


def read(folder: Path, *lines: str, **keys: Any) -> list[Batch]:
    """What a log with these lines gives."""
    (folder / "log").write_text("".join(lines))
    given = source(
        mode="jobcomp", jobcomp_path=folder / "log", time_zone="UTC", sacct="false", **keys
    )
    return list(given.poll(None))


def rejected(batches: Iterable[Batch]) -> list[str]:
    return [one.reason for batch in batches for one in batch.unreadable]


def who(job: Job) -> tuple[Value | None, ...]:
    return tuple(job.fields.get(name) for name in ("User", "Group", "Account"))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"GroupId": "domain users(60513)"}, ("bob", "domain users", "physics")),
        ({"UserId": "Bob van Dam(1002)"}, ("Bob van Dam", "staff", "physics")),
        ({"Account": "my acct"}, ("bob", "staff", "my acct")),
        ({"QOS": "very high"}, ("bob", "staff", "physics")),
        ({"GroupId": "g-hep (old)(60513)"}, ("bob", "g-hep (old)", "physics")),
        ({"GroupId": "SITE\\domain users(60513)"}, ("bob", "SITE\\domain users", "physics")),
        ({"GroupId": " (5)"}, ("bob", " ", "physics")),
    ],
)
def test_a_name_with_blanks_is_read(
    values: dict[str, str], expected: tuple[str, ...], tmp_path: Path
):
    """`domain users` is the primary group of everybody in an Active Directory."""
    (job,) = jobs(read(tmp_path, line(1, TEN, ELEVEN, **values))).values()
    assert who(job) == expected


@pytest.mark.parametrize(
    "name",
    [
        "a(0) Name=b",
        "b JobState=COMPLETED",
        "domain users(0) Name=x",
        "x UserId=root(0) GroupId=root(0) Name=y",
        "GroupId=root(0) Name=y",
        "(0) Name=",
    ],
)
def test_a_job_name_that_looks_like_a_group_changes_no_group(name: str, tmp_path: Path):
    """The user and the group are what is before the name, and have no equals sign."""
    (job,) = jobs(read(tmp_path, line(1, TEN, ELEVEN, Name=name))).values()
    assert who(job) == ("bob", "staff", "physics")
    assert job.fields["JobName"] == name


@pytest.mark.parametrize("key", ["Name", "WorkDir"])
def test_a_text_that_holds_a_rest_of_a_line_is_refused(key: str, tmp_path: Path):
    """It can be read in two ways, with and without blanks in names."""
    rest = line(1, TEN, ELEVEN, Account="my acct", QOS="very high").partition("Name=wrap")[2]
    batches = read(tmp_path, line(1, TEN, ELEVEN, **{key: f"x{rest.rstrip()}"}))
    assert not jobs(batches)
    assert "forge" in rejected(batches)[0]


@given(st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=60))
def test_no_job_name_changes_whose_job_it_is(tmp_path_factory: pytest.TempPathFactory, name: str):
    """It is read as it is, or the line is refused."""
    batches = read(tmp_path_factory.mktemp("log"), line(1, TEN, ELEVEN, Name=name))
    assert all(who(job) == ("bob", "staff", "physics") for job in jobs(batches).values())
    assert len(jobs(batches)) + len(rejected(batches)) == 1


@pytest.mark.parametrize(
    ("values", "user", "group"),
    [
        ({"UserId": "(null)(60077)"}, "60077", "staff"),
        ({"UserId": "nobody(60077)"}, "60077", "staff"),
        ({"UserId": "(60077)"}, "60077", "staff"),
        ({"UserId": f"nobody({NOBODY})"}, "nobody", "staff"),
        ({"GroupId": "(null)(60513)"}, "bob", "60513"),
        ({"GroupId": "nobody(60513)"}, "bob", "60513"),
        ({"GroupId": "nobody(99)"}, "bob", "nobody"),
        ({"UserId": "60077(60077)"}, "60077", "staff"),
    ],
)
def test_a_name_that_slurmctld_did_not_know_is_the_number(
    values: dict[str, str], user: str, group: str, tmp_path: Path
):
    """As 23.11 has it; the real nobody keeps his name."""
    (job,) = jobs(read(tmp_path, line(1, TEN, ELEVEN, **values))).values()
    assert who(job) == (user, group, "physics")


@pytest.mark.parametrize(
    ("columns", "user", "group"),
    [
        ({"Group": "", "GID": "60513"}, "alice", "60513"),
        ({"User": "", "UID": "60077", "Group": "", "GID": "60513"}, "60077", "60513"),
        ({"User": "nobody", "UID": "60077"}, "60077", "atlas"),
        ({"User": "nobody", "UID": str(NOBODY)}, "nobody", "atlas"),
        ({"Group": "root", "GID": "0", "Partition": ""}, "alice", None),
        ({"Group": "root", "GID": "0"}, "alice", "root"),
        ({"User": "", "UID": ""}, None, "atlas"),
    ],
)
def test_a_name_that_sacct_does_not_print_is_the_number(
    columns: dict[str, str], user: str | None, group: str | None, tmp_path: Path
):
    """Up to 23.02 it prints nothing. A run whose start slurmdbd never learned has no group root."""
    whole = {"User": "alice", "UID": "1001", "Group": "atlas", "GID": "2001", "Account": "physics"}
    sacct = standin(tmp_path, written(tmp_path, [row("1", **whole | columns)]))
    context = quiet(fields=frozenset({"User", "Group", "Account"}))
    (job,) = jobs(source(context, sacct=sacct, rescan_s=90_000).poll(None)).values()
    assert who(job) == (user, group, "physics")


class Said:
    """Stands for the log, and keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[dict[str, Any]] = []

    def warning(self, event: str, **fields: Any) -> None:
        self.warnings.append({"event": event, **fields})


def test_runs_without_names_are_counted_and_logged_once_a_day(tmp_path: Path):
    """With how the names become known; a site without them is not told at every poll."""
    context, said = quiet(), Said()
    context.log = cast("Any", said)
    path = tmp_path / "log"
    given = source(context, mode="jobcomp", jobcomp_path=path, time_zone="UTC", sacct="false")
    checkpoint = None
    for hours, expected in ((0, [(1, 0)]), (1, [(1, 0)]), (25, [(1, 0), (2, 0)])):
        with path.open("a") as file:
            file.write(
                line(hours + 100, TEN, ELEVEN, UserId="(null)(60077)") + line(9, TEN, ELEVEN)
            )
        context.now = partial(lambda later: CAPTURED_AT + later, timedelta(hours=hours))
        checkpoint = list(given.poll(checkpoint))[-1].checkpoint
        assert [(one["users"], one["groups"]) for one in said.warnings] == expected
    assert "getent passwd" in said.warnings[0]["hint"]


def test_what_is_not_a_name_of_this_run_is_left_alone():
    """Without a number there is nothing to fall back to."""
    assert with_names({"User": "alice"}) == {"User": "alice"}
    assert with_names({"GID": 5}) == {"GID": 5, "Group": "5"}


@pytest.mark.parametrize(
    ("keys", "kept"),
    [
        ({"groups": ["domain users"]}, True),
        ({"groups": ["domain"]}, False),
        ({"groups": ["60513"]}, True),
        ({"accounts": ["my acct"]}, True),
        ({"accounts": ["my"]}, False),
        ({"users": ["60077"]}, True),
        ({"users": ["nobody"]}, False),
    ],
)
def test_a_filter_can_name_them(keys: dict[str, list[str]], tmp_path: Path, *, kept: bool):
    """With the blank, or by number."""
    text = line(
        1,
        TEN,
        ELEVEN,
        UserId="nobody(60077)",
        GroupId="domain users(60513)",
        Account="my acct",
    )
    batches = read(tmp_path, text, **keys)
    assert bool(jobs(batches)) is kept
    assert sum(filtered(batches).values()) == (not kept)


@pytest.mark.parametrize("name", ["", " x", "x ", "a,b", "-x", "a\nb", "\t"])
def test_what_cannot_be_a_name_is_refused_in_the_configuration(name: str):
    """It would be an option, several names, or nothing that Slurm could have."""
    keys = {"name": "slurm", "plugin": "slurm", "record_prefix": "slurm", "groups": [name]}
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(keys, SlurmSection)
