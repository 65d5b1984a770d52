"""The table of how runs end, row by row, on what real schedds and shadows wrote."""

import pytest

from collector.source import Job
from collector_htcondor import run_end
from collector_htcondor.run_end import TABLE
from tests.htcondor.real_ads import job, lasted, text, with_attributes

ENDS = [
    ("completed-23.9", 4),
    ("completed-25.14", 3),
    ("executable-missing-25.14", 0),  # its shadow lived for 10 s more
    ("forced-out-while-running-25.14", 15),  # RemoteWallClockTime is 0
    ("held-on-exit-23.9", 5),
    ("held-then-removed-23.9", 5),  # removed 13 s later
    ("local-removed-23.9", 7),
    ("lost-machine-forced-out-23.9", 38),  # forced out 2,205 s later
    ("lost-machine-forced-out-25.14", 35),
    ("lost-machine-removed-23.9", 8),  # its lease was over 31 s later
    ("never-reconnected-25.14", 1284),  # forced out 585 s later
    ("removed-after-completion-25.14", 7),  # removed 149 s later
    ("removed-and-forced-out-25.14", 3),
    ("removed-while-running-23.9", 7),
    ("schedd-killed-completed-23.9", 41),  # LastRemoteWallClockTime is 27
    ("schedd-restarted-then-held-23.9", 46),  # LastRemoteWallClockTime is 15
    ("schedd-restarted-then-held-25.14", 47),
    ("shadow-could-not-reach-the-machine-23.9", 6),  # it gave up after 614 s
    ("written-twice-after-a-crash-23.9", 5),  # the second ad says 10
    ("written-twice-after-a-crash-25.14", 6),
]
EPOCHS = [
    ("completed-23.9", 14),
    ("lost-machine-23.9", 8),  # its lease was over 20 s later
    ("lost-machine-schedd-restarted-25.14", 8),  # EpochWriteDate is 60
    ("schedd-restarted-then-held-23.9", 46),
    ("vacated-25.14", 10),
]
ALL = [("run_ends", *end) for end in ENDS] + [("run_ends_epochs", *end) for end in EPOCHS]


NO_CONTACT: dict[str, str | int | None] = dict.fromkeys(
    ("LastJobLeaseRenewal", "ActivationDuration", "JobCurrentStartExecutingDate")
)
"""As older releases, and what a killed schedd leaves."""
MADE: list[tuple[str, str, dict[str, str | int | None], int]] = [
    (
        "its last contact is all that is known",
        "held-then-removed-23.9",
        {"LastVacateTime": None, "LastRemoteWallClockTime": None, "RemoteWallClockTime": "0.0"},
        5,
    ),
    (
        "forced out long after its last contact",
        "forced-out-while-running-25.14",
        {"EnteredCurrentStatus": 1795459646 + 9000, "JobFinishedHookDone": 1795459646 + 9000},
        9,
    ),
    (
        "nothing is known but its removal",
        "removed-while-running-23.9",
        {
            **NO_CONTACT,
            "LastVacateTime": None,
            "LastRemoteWallClockTime": None,
            "RemoteWallClockTime": "0.0",
        },
        7,
    ),
    (
        "removed days after its only shadow ended",
        "removed-while-running-23.9",
        {
            **NO_CONTACT,
            "LastVacateTime": None,
            "EnteredCurrentStatus": 1795616500 + 864000,
            "JobFinishedHookDone": 1795616500 + 864000,
        },
        7,
    ),
    (
        "two shadows, of which the last lived 2 s, and its removal",
        "removed-while-running-23.9",
        {**NO_CONTACT, "LastVacateTime": None, "LastRemoteWallClockTime": "2.0",
         "NumShadowStarts": 2},
        7,
    ),
    ("vacated by its second shadow", "schedd-restarted-then-held-23.9", NO_CONTACT, 46),
    ("completed under its second shadow", "schedd-killed-completed-23.9", NO_CONTACT, 41),
    (
        "completed without a slot, later than its wall-clock time says",
        "local-removed-23.9",
        {"JobStatus": 4, "LastRemoteWallClockTime": "5.0"},
        7,
    ),
    (
        "completed under its second shadow, removed later",
        "removed-after-completion-25.14",
        {**NO_CONTACT, "LastRemoteWallClockTime": "2.0", "NumShadowStarts": 2},
        7,
    ),
    (
        "completed, and its owner calls its machine lost",
        "completed-23.9",
        {"JobDisconnectedDate": 1795616616 + 1, "JobCurrentReconnectAttempt": 1},
        4,
    ),
    (
        "held by its owner, who calls its machine lost",
        "held-then-removed-23.9",
        {"JobDisconnectedDate": 1795616500 + 1, "JobCurrentReconnectAttempt": 1,
         "LastVacateTime": 1795616500 + 12, "LastJobLeaseRenewal": 1795616500 + 12,
         "LastRemoteWallClockTime": "12.0"},
        12,
    ),
]  # fmt: skip


def made(name: str, attributes: dict[str, str | int | None]) -> bytes:
    return with_attributes(text("run_ends", name), **attributes)


@pytest.mark.parametrize(("folder", "name", "seconds"), ALL)
def test_a_run_lasts_as_long_as_it_held_its_machine(folder: str, name: str, seconds: int):
    """Whatever became of its job, its schedd, its shadow and its machine."""
    found = job(text(folder, name))
    assert lasted(found) == seconds
    assert isinstance(found, Job)
    assert not found.suspicious


@pytest.mark.parametrize(("what", "name", "attributes", "seconds"), MADE)
def test_a_run_without_the_surest_witnesses(
    what: str, name: str, attributes: dict[str, str | int | None], seconds: int
):
    """Older releases, what a killed schedd leaves, and owners who edit."""
    assert lasted(job(made(name, attributes))) == seconds


def differing() -> list[str]:
    """The runs above that end at another time now, or are suspicious without a reason."""
    found = [name for folder, name, seconds in ALL if ended(text(folder, name)) != seconds]
    found += [name for folder, name, _ in ALL if is_suspicious(text(folder, name))]
    return found + [what for what, name, of, seconds in MADE if ended(made(name, of)) != seconds]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_no_row_can_be_missed(row: run_end.Row, monkeypatch: pytest.MonkeyPatch):
    """Without it, one of the runs above ends at another time."""
    assert not differing()
    monkeypatch.setattr(run_end, "TABLE", tuple(one for one in TABLE if one is not row))
    assert differing()


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_no_row_applies_to_what_another_is_for(row: run_end.Row, monkeypatch: pytest.MonkeyPatch):
    """If it applied to every run, one of them would end at another time."""
    everywhere = row._replace(applies=lambda run: row.end(run) > 0)
    monkeypatch.setattr(run_end, "TABLE", (everywhere, *(one for one in TABLE if one is not row)))
    assert differing()


def ended(raw: bytes) -> int | None:
    found = job(raw)
    return lasted(found) if isinstance(found, Job) else None


def is_suspicious(raw: bytes) -> bool:
    found = job(raw)
    return isinstance(found, Job) and found.suspicious


def test_the_ad_of_a_run_is_no_later_than_it_was_written():
    """The banner's CurrentTime is the schedd's own."""
    raw = text("run_ends", "held-then-removed-23.9")
    late = with_attributes(raw, LastVacateTime=2_000_000_000, LastJobLeaseRenewal=2_000_000_000)
    assert lasted(job(late)) <= 18
