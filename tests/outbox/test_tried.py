"""When rejected jobs are a site's fault, and when they are one user's."""

import msgspec
import pytest

from collector.outbox import Tried

NO = "component Cores: CpusProvisioned = 'many': not a number"


def tried(*jobs: tuple[str, str]) -> Tried:
    found = Tried()
    found.add(jobs)
    return found


@pytest.mark.parametrize(
    ("jobs", "red"),
    [
        ([], False),
        ([("ada", "")] * 100, False),
        ([("ada", NO)], True),
        ([("ada", NO)] * 100, True),
        ([("ada", NO), ("bob", NO), ("eve", NO)] * 20 + [("joe", "")] * 40, True),
        ([("ada", NO), ("bob", NO), ("eve", NO)] * 10 + [("joe", "")] * 40, False),
        ([("ada", NO), ("bob", NO)] * 30 + [("joe", "")] * 40, False),
        ([("joe", "")] + [("ada", NO)] * 500, False),
        ([("joe", "")] + [("joe", NO)] * 500, True),
        ([("", NO)] * 100, True),
        ([("joe", "")] + [("", NO)] * 100, False),
    ],
    ids=[
        "none",
        "all good",
        "the only job",
        "all of the only user",
        "most, of three users",
        "fewer than half, of three users",
        "most, of two users, and a third has good ones",
        "one user's flood, and another was seen before it",
        "all that were seen, since a while",
        "unreadable ones only",
        "unreadable ones, which one user can write",
    ],
)
def test_it_is_red_when_most_jobs_of_several_users_or_of_all_are_rejected(
    jobs: list[tuple[str, str]], red: bool
):
    """One user alone never turns a site red."""
    assert tried(*jobs).is_red == red


def test_it_names_share_and_commonest_reason_without_what_users_wrote():
    """Where it is shown, everybody may read; control characters are escaped."""
    found = tried(
        ("ada", "rare"),
        *[("bob", f"Cores = 'm{n}' at {n}\nx") for n in range(60)],
        *[("eve", "")] * 39,
    )
    assert str(found) == "61 of the last 100 jobs were rejected, mostly: Cores = … at 59\\nx"
    assert "bob" not in msgspec.json.encode(found).decode()
    assert (str(tried(("ada", ""))), str(tried(("ada", "no")))) == (
        "",
        "the last job was rejected: no",
    )


def test_it_looks_at_the_newest_hundred_and_stays_small():
    """A hundred thousand jobs of as many users."""
    found = tried(*[(f"user{number}", NO) for number in range(100_000)])
    found.add([("joe", "")] * 100)
    assert (found.rejected, len(found.jobs)) == (0, 100)
    assert len(msgspec.json.encode(found)) < 50_000
