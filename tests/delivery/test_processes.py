"""Whole commands, as a person or the system runs them, through faults."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.delivery.faulty_auditor import Answer, FaultyAuditor, faulty_auditor
from tests.site import Site

PERIOD = ("--since", "2026-01-01", "--until", "2026-01-02")


@pytest.fixture
def auditor(behind: str) -> Iterator[FaultyAuditor]:
    with faulty_auditor(behind) as faulty:
        yield faulty


def test_a_backfill_does_not_wait_for_ever_for_a_record_that_is_refused_for_ever(
    tmp_path: Path, auditor: FaultyAuditor
):
    """It ends, with the record among the rejected ones and exit status 1."""
    site = Site(tmp_path, auditor.url, logs=["poison"])
    site.log(*range(3), name="poison")
    poison = Answer(500, b"UNEXPECTED_ERROR")
    auditor.script = lambda request: poison if b'"poison-1"' in request.body else None
    result = site.run("backfill", *PERIOD)
    assert result.returncode == 1
    assert "1  rejected" in result.stdout
    assert "0  waiting" in result.stdout
    assert "refused  poison-1" in site.run("rejected", "list").stdout
