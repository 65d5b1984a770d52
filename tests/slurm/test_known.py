"""A poll does not ask once more for the jobs whose runs it has read, unless they changed."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from collector.source import Batch
from collector_slurm import sacct
from collector_slurm.known import Known
from collector_slurm.source import SlurmSource
from tests.slurm.standin import jobs, program, quiet, row, run_of, source, standin, written

END = 1795478160
NOW = datetime.fromtimestamp(END + 60, UTC)


class Watched:
    """A source whose calls by job id can be seen, and whose rows can change."""

    def __init__(self, folder: Path, *rows: dict[str, str]) -> None:
        self._folder = folder
        self.write(*rows)
        standin(folder, folder / "rows.jsonl")
        (folder / "sacct").rename(folder / "inner")
        script = f'echo "$@" >> {folder}/calls; exec {folder}/inner "$@"'
        self.source: SlurmSource = source(quiet(NOW), sacct=program(folder, script))
        *_, last = self.source.poll(None)
        self.checkpoint = last.checkpoint

    def write(self, *rows: dict[str, str]) -> None:
        written(self._folder, rows)

    def poll(self) -> list[Batch]:
        """Polls once more from the same place."""
        return list(self.source.poll(self.checkpoint))

    def by_id(self) -> list[set[str]]:
        """The jobs that were asked for by id since the last look, call by call."""
        calls = self._folder / "calls"
        options = calls.read_text().split()
        calls.write_text("")
        ids = (option[7:] for option in options if option.startswith("--jobs="))
        return [set(of_call.split(",")) for of_call in ids]


def runs(*numbers: int) -> Iterator[dict[str, str]]:
    return (row(str(number), DBIndex=str(number)) for number in numbers)


def test_a_run_that_is_as_it_was_is_asked_for_once(tmp_path: Path):
    """The overlap's runs cost one call for their window, and no look at their steps."""
    watched = Watched(tmp_path, *runs(1, 2))
    assert watched.by_id() == [{"1", "2"}]
    assert not jobs(watched.poll())
    assert watched.by_id() == []
    watched.write(*runs(1, 2, 3))
    assert set(jobs(watched.poll())) == {"3"}
    assert watched.by_id() == [{"3"}]


@pytest.mark.parametrize("changed", [{"End": str(END + 9)}, {"State": "REQUEUED"}])
def test_a_run_that_changed_is_read_again(tmp_path: Path, changed: dict[str, str]):
    """A finished job that is requeued gets another end, which is a correction."""
    watched = Watched(tmp_path, *runs(1, 2))
    watched.write(*runs(1), {**next(runs(2)), **changed})
    assert set(jobs(watched.poll())) == {"2"}


def test_a_run_that_slurmdbd_did_not_know_whole_is_read_again(tmp_path: Path):
    """It is taken as it is when it stays so; until then each poll looks at it."""
    watched = Watched(tmp_path, *runs(1), {**next(runs(2)), "Partition": ""})
    for _ in range(2):
        assert not jobs(watched.poll())
    watched.source.context.now = lambda: datetime.fromtimestamp(END + 400, UTC)
    assert set(jobs(watched.poll())) == {"2"}


def test_a_batch_that_was_not_stored_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A full outbox ends a poll within it; what came before stays known."""
    monkeypatch.setattr(sacct, "BATCH_RUNS", 2)
    watched = Watched(tmp_path, *runs(1))
    watched.write(*runs(1, 2, 3, 4, 5, 6))
    poll = watched.source.poll(watched.checkpoint)
    assert set(jobs([next(poll)])) == {"2", "3"}  # stored
    assert set(jobs([next(poll)])) == {"4", "5"}
    del poll  # not stored
    assert set(jobs(watched.poll())) == {"4", "5", "6"}


def test_a_backfill_reads_what_polls_have_read(tmp_path: Path):
    """It is asked for by a person, who may know why."""
    watched = Watched(tmp_path, *runs(1, 2))
    begin = datetime.fromtimestamp(END - 60, UTC)
    assert set(jobs(watched.source.backfill(begin, NOW))) == {"1", "2"}


def test_no_more_is_remembered_than_can_come_again():
    """By age and, on a cluster that ends jobs faster, by number and a quarter; the newest stay."""
    made = [run_of(row(str(end), End=str(end))) for end in range(1, 31)]
    of = Known(8)
    for at in range(0, len(made), 7):
        of.add(made[at : at + 7])
    assert [run in of for run in made] == [False] * 20 + [True] * 10
    of.forget(26)
    assert [run in of for run in made] == [False] * 25 + [True] * 5


def test_a_re_scan_of_more_than_is_remembered_forgets_nothing_newer():
    """Read once more from the oldest on, those that do not fit are read again, and only those."""
    made = [run_of(row(str(end), End=str(end))) for end in range(1, 13)]
    of = Known(8)
    of.add(made)
    again = []
    for run in made:
        if run not in of:
            again.append(run)
            of.add([run])
    assert again == made[:4]
