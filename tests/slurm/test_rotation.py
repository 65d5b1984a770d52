"""A log is followed through everything that logrotate and people do to it."""

import bz2
import gzip
import lzma
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.source import SourceError
from collector_slurm.jobcomp_checkpoint import UNPACKED, JobcompCheckpoint
from collector_slurm.rotation import RotatedLog, lines_of


def time_of(line: bytes) -> str | None:
    """Lines of these tests are numbers, or texts with a number at their end: that is their time."""
    number = line.split()[-1:]
    return number[0].decode().zfill(9) if number and number[0].isdigit() else None


class Reader:
    """Reads a log as the source does, and keeps how far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.at = JobcompCheckpoint()
        self.problems: list[str] = []

    def read(self) -> list[str]:
        """The new lines."""
        files = RotatedLog(self.path, time_of).files()
        self.problems = files.problems
        self.at.take_over(files.parts)
        lines = []
        for part in files.parts:
            position = self.at.position_in(part)
            if position is None:
                continue
            try:
                for line in lines_of(part, position):
                    lines.append(line.decode().rstrip("\n"))
                    position += len(line)
                if part.final and part.size_bytes is None:
                    position = UNPACKED
            except SourceError as error:
                self.problems.append(str(error))
            self.at.move(part, position)
        return lines


def add(path: Path, *lines: str) -> None:
    with path.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "jobcomp.log"
    add(path, "1", "2")
    return path


@pytest.fixture
def reader(log: Path) -> Reader:
    """Has read the log as it is."""
    reader = Reader(log)
    assert reader.read() == ["1", "2"]
    return reader


def test_only_new_lines_are_read(log: Path, reader: Reader):
    """And nothing when there is nothing new."""
    add(log, "3")
    assert reader.read() == ["3"]
    assert reader.read() == []


def test_a_line_that_is_being_written_is_left_for_later(log: Path, reader: Reader):
    """Without its newline it is not there."""
    with log.open("a") as file:
        file.write("3 and ha")
    assert reader.read() == []
    with log.open("a") as file:
        file.write("lf\n")
    assert reader.read() == ["3 and half"]


def test_a_renamed_log_is_read_to_its_end_first(log: Path, reader: Reader):
    """Lines that were written before and after the rotation all come, in order."""
    add(log, "3")
    log.rename(log.with_name("jobcomp.log.1"))
    assert reader.read() == ["3"]
    add(log.with_name("jobcomp.log.1"), "4")
    add(log, "5")
    assert reader.read() == ["4", "5"]


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)],
)
def test_a_compressed_log_is_read_too(log: Path, reader: Reader, suffix: str, compress: object):
    """It is known by its first line, whatever its name, inode and size are."""
    add(log, "3")
    assert callable(compress)
    log.with_name(f"jobcomp.log-20261124{suffix}").write_bytes(compress(log.read_bytes()))
    log.unlink()
    add(log, "4")
    assert reader.read() == ["3", "4"]
    assert reader.read() == []


def test_a_log_that_is_copied_and_truncated_loses_and_repeats_nothing(log: Path, reader: Reader):
    """Neither while the copy is beside the original, nor after."""
    add(log, "3")
    copy = log.with_name("jobcomp.log.1")
    shutil.copy(log, copy)
    assert reader.read() == ["3"]
    os.truncate(log, 0)
    assert reader.read() == []
    add(log, "4")
    assert reader.read() == ["4"]


def test_several_rotations_meanwhile_are_read_in_order(log: Path, reader: Reader):
    """A collector that was away for days catches up, whatever touched the files meanwhile."""
    for number, name in ((3, "jobcomp.log.3"), (4, "jobcomp.log.2"), (5, "jobcomp.log.1")):
        add(log, str(number))
        log.rename(log.with_name(name))
    add(log, "6")
    for age_s, name in enumerate(("jobcomp.log", "jobcomp.log.3", "jobcomp.log.1")):
        os.utime(log.with_name(name), (age_s, age_s))
    assert reader.read() == ["3", "4", "5", "6"]


def test_a_file_that_comes_back_later_is_read(log: Path, reader: Reader):
    """As the runbook advises: copied aside before rotation removes it, and put back beside it."""
    log.unlink()
    add(log, "5")
    assert reader.read() == ["5"]
    add(log.with_name("jobcomp.log.2"), "3", "4")
    assert reader.read() == ["3", "4"]
    log.with_name("jobcomp.log.2").rename(log.with_name("jobcomp.log.3"))
    assert reader.read() == []


def test_a_file_that_was_removed_and_comes_back_is_not_read_again(log: Path, reader: Reader):
    """How far it was read is known, as long as it is one of the last hundred."""
    text = log.read_bytes()
    log.unlink()
    add(log, "3")
    reader.read()
    log.with_name("jobcomp.log.1.gz").write_bytes(gzip.compress(text))
    assert reader.read() == []


@pytest.mark.parametrize(
    "name",
    [
        *("jobcomp.log.1", "jobcomp.log.12", "jobcomp.log-20261125", "jobcomp.log-2026112508"),
        *("jobcomp.log.2026-11-25", "jobcomp.log-1795478400", "jobcomp.log.old"),
        *("jobcomp-20261125.log", "jobcomp.1.log", "jobcomp.log_20261125"),
    ],
)
def test_what_rotation_makes_of_the_logs_name_is_its_part(log: Path, name: str):
    """By number, date or time, before or after the extension; also when it is compressed."""
    add(log.with_name(name), "0")
    assert Reader(log).read() == ["0", "1", "2"]
    packed = log.with_name(f"{name}.gz")
    packed.write_bytes(gzip.compress(log.with_name(name).read_bytes()))
    log.with_name(name).unlink()
    assert Reader(log).read() == ["0", "1", "2"]


@pytest.mark.parametrize(
    "name",
    [
        *("jobcomp.log_gpu", "jobcomp.log-gpu", "jobcomp.log.gpu", "jobcomp.log2", "jobcomp.logs"),
        *("jobcomp_gpu.log", "jobcomp.log.1.gpu", "jobcomp.log.swp", "jobcomp.log.gz.tmp"),
        *("xjobcomp.log", "jobcomp", "jobcomp.log~"),
    ],
)
def test_a_neighbour_is_another_log(log: Path, name: str):
    """Another cluster's, or an editor's copy: its jobs are not this cluster's."""
    add(log.with_name(name), "0")
    files = RotatedLog(log, time_of).files()
    assert [part.path for part in files.parts] == [log]
    assert files.problems == []
    assert [one.name for one in files.neighbours] == [name] * name.startswith("jobcomp.log")


@pytest.mark.parametrize("suffix", ["zip", "7z", "zst"])
def test_an_archive_that_cannot_be_read_is_named(
    log: Path, reader: Reader, suffix: str, monkeypatch: pytest.MonkeyPatch
):
    """Its bytes are nobody's jobs; what else there is is read, and the file once it is unpacked."""
    monkeypatch.setenv("PATH", "/nowhere")  # no zstd is installed there
    packed = log.with_name(f"jobcomp.log-20261124.{suffix}")
    packed.write_bytes(b"\x28\xb5\x2f\xfd" + bytes(range(256)))
    add(log, "3")
    assert reader.read() == ["3"]
    (problem,) = reader.problems
    assert problem.startswith(f"{packed}: ")
    assert "unpack it" in problem
    packed.unlink()
    add(packed.with_suffix(""), "0")
    assert reader.read() == ["0"]


@pytest.mark.parametrize(
    ("suffix", "pack"), [("zst", ["zstd", "-c"]), ("lz4", ["lz4", "-c"]), ("Z", ["gzip", "-c"])]
)
def test_an_archive_is_unpacked_by_its_command(
    log: Path, reader: Reader, suffix: str, pack: list[str]
):
    """Where that is installed: from where it was read on, once, and an error if it is damaged."""
    if shutil.which(pack[0]) is None:
        pytest.skip(f"{pack[0]} is not installed")
    add(log, "3")
    packed = log.with_name(f"jobcomp.log-20261124.{suffix}")
    packed.write_bytes(subprocess.check_output(pack, input=log.read_bytes()))
    log.unlink()
    add(log, "4")
    assert reader.read() == ["3", "4"]
    assert reader.read() == reader.problems == []
    whole = subprocess.check_output(pack, input=b"0\n" + os.urandom(90_000).hex().encode() + b"\n")
    packed.with_name(f"jobcomp.log-20261123.{suffix}").write_bytes(whole[: len(whole) // 2])
    reader.read()
    assert [f"20261123.{suffix}: " in one for one in reader.problems] == [True]


def test_a_file_and_its_archive_are_one(log: Path, reader: Reader):
    """While it is being compressed, both are there: the archive may not be whole."""
    add(log, "3")
    log.rename(log.with_name("jobcomp.log.1"))
    text = log.with_name("jobcomp.log.1").read_bytes()
    log.with_name("jobcomp.log.1.gz").write_bytes(gzip.compress(text)[:-9])
    add(log, "4")
    assert reader.read() == ["3", "4"]
    assert reader.problems == []


def test_a_log_that_was_emptied_is_read_from_its_beginning(log: Path, reader: Reader):
    """What was lost with it cannot be known; what is there now is read."""
    os.truncate(log, 0)
    add(log, "new")
    assert reader.read() == ["new"]


def test_a_log_that_was_emptied_and_grew_again_is_not_the_old_one(log: Path, reader: Reader):
    """Its first line is another, even if it is longer than what was read."""
    log.write_text("another\n" + "line\n" * 100)
    assert len(reader.read()) == 101


def test_a_log_that_was_cut_after_its_first_line_is_read_again(log: Path, reader: Reader):
    """It is shorter than what was read of it: reading something twice is harmless."""
    log.write_text("1\n")
    assert reader.read() == ["1"]


def test_a_log_that_is_not_there_is_an_error(tmp_path: Path):
    """It says where it was looked for."""
    with pytest.raises(SourceError, match=r"jobcomp\.log: No such file.*JobCompLoc"):
        RotatedLog(tmp_path / "jobcomp.log", time_of).files()


def test_a_damaged_archive_stops_no_other_file(log: Path):
    """It is an error and not an end: it is read again until it can be."""
    packed = gzip.compress(b"1\n" + os.urandom(50_000).hex().encode() + b"\n2\n")
    archive = log.with_name("jobcomp.log.1.gz")
    archive.write_bytes(packed[: len(packed) // 2])
    log.write_text("3\n")
    reader = Reader(log)
    assert reader.read()[-1] == "3"
    assert "cannot be read to its end" in reader.problems[0]
    archive.write_bytes(packed)
    assert reader.read()[-1] == "2"
    archive.write_bytes(b"no archive")
    assert reader.read() == []
    assert str(archive) in reader.problems[0]


def test_a_file_that_is_rotated_while_it_is_read_is_not_mixed_with_the_next(log: Path):
    """Its name is another file's by then; the next look finds both."""
    (part,) = RotatedLog(log, time_of).files().parts
    log.rename(log.with_name("jobcomp.log.1"))
    add(log, "3", "4", "5")
    with pytest.raises(SourceError, match="was rotated"):
        list(lines_of(part, 2))


def test_a_checkpoint_of_an_older_release_is_read_on(log: Path, reader: Reader):
    """It knows one file and a position: what is older than this file was read before it."""
    old = log.with_name("jobcomp.log.2")
    add(old, "0")
    reader.at = JobcompCheckpoint(head=reader.at.head, position=2)
    assert reader.read() == ["2"]
    add(log, "3")
    assert reader.read() == ["3"]


@given(
    st.lists(
        st.sampled_from(["write", "rename", "copy", "pack", "read", "touch", "aside", "back"]),
        max_size=25,
    )
)
def test_whatever_happens_between_two_polls_every_line_comes_once(
    tmp_path_factory: pytest.TempPathFactory, actions: list[str]
):
    """Any sequence of writing, rotating, copying, packing, touching, moving away and back."""
    log = tmp_path_factory.mktemp("log") / "jobcomp.log"
    away = tmp_path_factory.mktemp("away")
    reader = Reader(log)
    written: list[str] = []
    got: list[str] = []
    rotations = 0
    for action in [*actions, "back", "write", "read"]:
        archives = sorted(log.parent.glob("jobcomp.log-*"))
        if action == "write":
            written.append(f"line {len(written)}")
            add(log, written[-1])
        elif action == "read" and written and (archives or log.exists()):
            got += reader.read()
            assert reader.problems == []
        elif action in ("rename", "copy") and log.exists() and log.stat().st_size:
            rotations += 1
            archive = log.with_name(f"jobcomp.log-{rotations:03}")
            if action == "rename":
                log.rename(archive)
            else:
                shutil.copy(log, archive)
                os.truncate(log, 0)
        elif action == "pack" and archives and archives[-1].suffix != ".gz":
            packed = archives[-1].with_name(archives[-1].name + ".gz")
            packed.write_bytes(gzip.compress(archives[-1].read_bytes()))
            archives[-1].unlink()
        elif action == "touch" and archives:
            archives[0].touch()
        elif action == "aside" and archives:
            archives[0].rename(away / archives[0].name)
        elif action == "back":
            for archive in away.iterdir():
                archive.rename(log.with_name(archive.name))
    assert sorted(got) == sorted(written)
