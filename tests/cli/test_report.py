"""`report` adds up what an Auditor holds, exactly, and names what it cannot add up."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.auditor import Component, Meta, Record
from collector.auditor.client import AuditorClientBlocking
from collector.auditor.reading import StoredRecord
from collector.cli.report import command
from collector.pipeline.usage import MEASURES, Usage, rounded

EDGE = datetime(2026, 2, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def run(
    number: int, start: datetime, stop: datetime | None, user: str = "a", **more: int
) -> Record:
    amounts = {"Cores": 2, "Memory": 1024, "TotalCPU": 1800} | more
    return Record(
        f"r{number}",
        start,
        stop,
        Meta({"user_id": [user], "voms": ["/atlas/Role=production", "/cms"], "site_id": ["s"]}),
        [Component(name, amount) for name, amount in amounts.items()],
    )


def ask(url: str, *arguments: str) -> Result:
    done = CliRunner().invoke(command, ["--url", url, *arguments])
    assert done.exit_code == 0, done.output
    return done


def test_a_run_across_the_edge_of_a_month_is_of_the_month_it_stopped_in(
    url: str, client: AuditorClientBlocking
):
    """As a whole; a stop at midnight is of the new month."""
    client.bulk_insert(
        [
            run(1, EDGE - 3 * HOUR, EDGE - HOUR),
            run(2, EDGE - 10 * HOUR, EDGE + HOUR),
            run(3, EDGE - HOUR, EDGE),
        ]
    )
    done = ask(url, "--by", "vo,month", "--measure", "core-hours", "--measure", "jobs")
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["vo", "month", "core_hours", "jobs"],
        ["atlas", "2026-01", "4.00", "1"],
        ["atlas", "2026-02", "24.00", "2"],
        ["total", "28.00", "3"],
    ]
    one = json.loads(ask(url, "--since", "2026-02-01", "--format", "json").stdout)
    assert one["total"]["jobs"] == 2
    assert one["groups"][0]["month"] == "2026-02"


def test_runs_without_a_stop_time_are_named(url: str, client: AuditorClientBlocking):
    """With and without a period; one that began after it is not of it."""
    client.bulk_insert([run(1, EDGE, EDGE + HOUR), run(2, EDGE, None), run(3, EDGE + HOUR, None)])
    for arguments, number in (
        ([], "2 runs"),
        (["--since", "2026-01-01"], "2 runs"),
        (["--until", "2026-02-01T00:30:00Z"], "1 run"),
    ):
        done = ask(url, *arguments)
        assert done.stderr == f"{number} without a stop time: not counted before the end\n"
        found = json.loads(ask(url, "--format", "json", *arguments).stdout)
        assert f"{found['open_records']} run" in number


def test_what_a_record_lacks_is_named(url: str, client: AuditorClientBlocking):
    """A record without cores is no core hour, and without CPU time not in the efficiency."""
    client.bulk_insert(
        [run(1, EDGE, EDGE + HOUR), Record("bare", EDGE, EDGE + HOUR, None, [])],
    )
    done = ask(url, "--by", "user", "--measure", "core-hours", "--measure", "cpu-efficiency")
    assert [line.split() for line in done.stdout.splitlines()][1:] == [
        ["a", "2.00", "25.0"],
        ["-", "0.00", "-"],
        ["total", "2.00", "25.0"],
    ]
    assert "1 record without the component Cores" in done.stderr
    assert "1 record without the component TotalCPU" in done.stderr


def test_texts_of_users_command_nobody(url: str, client: AuditorClientBlocking):
    """No terminal, no spreadsheet, no page that a report is pasted into."""
    hostile = ["=cmd|' /C calc'!A0", "\x1b[31mred", "a|b<script>"]
    client.bulk_insert(
        run(number, EDGE, EDGE + (4 - number) * HOUR, user) for number, user in enumerate(hostile)
    )
    by_user = ["--by", "user", "--measure", "wall", "--format"]
    assert "\x1b" not in ask(url, *by_user, "table").stdout
    rows = csv.DictReader(io.StringIO(ask(url, *by_user, "csv").stdout))
    assert [row["user"] for row in rows] == ["'" + hostile[0], r"\x1b[31mred", hostile[2]]
    text = ask(url, *by_user, "markdown").stdout
    assert "a&#124;b&#60;script&#62;" in text
    assert {line.count("|") for line in text.splitlines() if line} == {3}


@pytest.mark.parametrize("keys", ["", "user,,month", "user,user"])
def test_keys_that_cannot_be_summed_by_are_refused(keys: str):
    """Before anything is asked."""
    done = CliRunner().invoke(command, ["--by", keys])
    assert done.exit_code == 2
    assert "expected keys" in done.output


def test_a_period_that_ends_before_it_begins_is_refused():
    """Instead of a report without a row."""
    done = CliRunner().invoke(command, ["--since", "2026-02-01", "--until", "2026-01-01"])
    assert done.exit_code == 2


def test_an_auditor_that_is_away_gives_no_report():
    """Exit status 1, and nothing that looks like one."""
    done = CliRunner().invoke(command, ["--url", "http://127.0.0.1:9"])
    assert done.exit_code == 1
    assert not done.stdout


stops = st.datetimes(
    datetime.fromisoformat("2025-12-30"),
    datetime.fromisoformat("2026-01-03"),
    timezones=st.just(UTC),
)
amounts = st.none() | st.integers(0, 2**63 - 1)


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(
            st.none() | stops,
            st.integers(-100, 10**9),
            st.sampled_from(["a", "b", None]),
            *[amounts] * 4,
        )
    )
)
def test_sums_are_exact_whatever_the_amounts(
    runs: list[
        tuple[datetime | None, int, str | None, int | None, int | None, int | None, int | None]
    ],
):
    """Beside sums that are made in another way, of the texts that the Auditor gives."""
    records = [
        StoredRecord(
            f"r{number}",
            (stop or EDGE) - timedelta(seconds=length),
            stop,
            None if user is None else {"user_id": [user]},
            [
                Component(name, amount)
                for name, amount in zip(("Cores", "GPUs", "Memory", "TotalCPU"), found, strict=True)
                if amount is not None
            ],
        )
        for number, (stop, length, user, *found) in enumerate(runs)
    ]
    usage = Usage(["user", "month"])
    for record in records:
        usage.add(record)
    total = usage.total()
    texts = [json.loads(record.to_json()) for record in records]
    closed = [text for text in texts if text["stop_time"] is not None and text["runtime"] >= 0]
    assert usage.open == sum(text["stop_time"] is None for text in texts)
    assert usage.open + usage.impossible + total.jobs == len(texts)

    def product(of: list[dict[str, Any]], name: str) -> int:
        return sum(
            one["amount"] * text["runtime"]
            for text in of
            for one in text["components"]
            if one["name"] == name
        )

    assert total.wall_s == sum(text["runtime"] for text in closed)
    assert total.core_s == product(closed, "Cores")
    assert total.gpu_s == product(closed, "GPUs")
    assert total.memory_mib_s == product(closed, "Memory")
    for (user, month), sums in usage.groups.items():
        of = [
            text
            for text in closed
            if ((text["meta"] or {}).get("user_id") or [None])[0] == user
            and text["stop_time"].startswith(month)
        ]
        assert sums.jobs == len(of)
        assert sums.core_s == product(of, "Cores")
        shown = MEASURES["core-hours"].shown(sums)
        assert abs(Fraction(shown) - Fraction(sums.core_s, 3600)) <= Fraction(1, 200)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Fraction(1, 200), "0.01"),
        (Fraction(1, 201), "0.00"),
        (Fraction(2**90), f"{2**90}.00"),
        (Fraction(1999, 1000), "2.00"),
    ],
)
def test_figures_are_rounded_half_up_from_the_exact_value(value: Fraction, shown: str):
    """Whatever their size: no float is in between."""
    assert rounded(value, 2) == shown
