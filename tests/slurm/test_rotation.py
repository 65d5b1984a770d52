"""A log is followed through everything that logrotate and people do to it."""

import bz2
import gzip
import lzma
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.source import SourceError
from collector_slurm.rotation import Place, lines_of, parts_since


def read(path: Path, place: Place | None) -> tuple[list[str], Place | None, bool]:
    """The new lines, the place after them, and whether the old place was found again."""
    parts, found = parts_since(path, place)
    lines = []
    for part in parts:
        position = part.position
        for line in lines_of(part):
            lines.append(line.decode().rstrip("\n"))
            position += len(line)
        place = Place(part.head, position)
    return lines, place, found


def add(path: Path, *lines: str) -> None:
    with path.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


def age(path: Path, seconds: int) -> None:
    """Makes a file older: in a test all are of the same second."""
    stat = path.stat()
    os.utime(path, (stat.st_atime - seconds, stat.st_mtime - seconds))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "jobcomp.log"
    add(path, "1", "2")
    return path


def test_only_new_lines_are_read(log: Path):
    """And nothing when there is nothing new."""
    lines, place, _ = read(log, None)
    assert lines == ["1", "2"]
    add(log, "3")
    lines, place, _ = read(log, place)
    assert lines == ["3"]
    assert read(log, place) == ([], place, True)


def test_a_line_that_is_being_written_is_left_for_later(log: Path):
    """Without its newline it is not there."""
    with log.open("a") as file:
        file.write("3 and ha")
    lines, place, _ = read(log, None)
    assert lines == ["1", "2"]
    with log.open("a") as file:
        file.write("lf\n")
    assert read(log, place)[0] == ["3 and half"]


def test_a_renamed_log_is_read_to_its_end_first(log: Path):
    """Lines that were written before and after the rotation all come, in order."""
    _, place, _ = read(log, None)
    add(log, "3")
    log.rename(log.with_name("jobcomp.log.1"))
    assert read(log, place)[0] == ["3"]
    add(log.with_name("jobcomp.log.1"), "4")
    add(log, "5")
    assert read(log, place)[0] == ["3", "4", "5"]


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)],
)
def test_a_compressed_log_is_read_too(log: Path, suffix: str, compress: object):
    """It is known by its first line, whatever its name, inode and size are."""
    _, place, _ = read(log, None)
    add(log, "3")
    assert callable(compress)
    log.with_name(f"jobcomp.log-20261124{suffix}").write_bytes(compress(log.read_bytes()))
    log.unlink()
    add(log, "4")
    assert read(log, place)[0] == ["3", "4"]


def test_a_log_that_is_copied_and_truncated_loses_and_repeats_nothing(log: Path):
    """Neither while the copy stands beside the original, nor after."""
    _, place, _ = read(log, None)
    add(log, "3")
    copy = log.with_name("jobcomp.log.1")
    shutil.copy(log, copy)
    assert read(log, place)[0] == ["3"]
    os.truncate(log, 0)
    assert read(log, place)[0] == ["3"]
    add(log, "4")
    assert read(log, place)[0] == ["3", "4"]


def test_several_rotations_meanwhile_are_read_in_order(log: Path):
    """A collector that was away for days catches up."""
    _, place, _ = read(log, None)
    for number, name in ((3, "jobcomp.log.3"), (2, "jobcomp.log.2"), (1, "jobcomp.log.1")):
        add(log, f"before {name}")
        log.rename(log.with_name(name))
        age(log.with_name(name), number * 100)
    add(log, "last")
    names = ["before jobcomp.log.3", "before jobcomp.log.2", "before jobcomp.log.1", "last"]
    assert read(log, place)[0] == names


def test_a_log_that_was_emptied_is_told_and_read_anew(log: Path):
    """What was lost with it cannot be known; what is there now is read."""
    _, place, _ = read(log, None)
    os.truncate(log, 0)
    add(log, "new")
    assert read(log, place) == (["new"], read(log, None)[1], False)


def test_a_log_that_was_emptied_and_grew_again_is_not_taken_for_the_old_one(log: Path):
    """Its first line is another, even if it is longer than what was read."""
    _, place, _ = read(log, None)
    log.write_text("another\n" + "line\n" * 100)
    lines, _, found = read(log, place)
    assert (len(lines), found) == (101, False)


def test_a_log_that_is_not_there_is_an_error(tmp_path: Path):
    """It says where it was looked for."""
    with pytest.raises(SourceError, match=r"jobcomp\.log: No such file.*JobCompLoc"):
        parts_since(tmp_path / "jobcomp.log", None)


def test_a_damaged_archive_is_an_error_and_not_an_end(log: Path):
    """A rotated file that is still being compressed is read by the next poll."""
    packed = gzip.compress(b"1\n" + os.urandom(50_000).hex().encode() + b"\n2\n")
    log.with_name("jobcomp.log.1.gz").write_bytes(packed[: len(packed) // 2])
    age(log.with_name("jobcomp.log.1.gz"), 10)
    log.write_text("3\n")
    with pytest.raises(SourceError, match="cannot be read to its end"):
        read(log, None)


@given(st.lists(st.sampled_from(["write", "rename", "copy", "pack", "read"]), max_size=25))
def test_whatever_happens_between_two_polls_every_line_comes_once(
    tmp_path_factory: pytest.TempPathFactory, actions: list[str]
):
    """Any sequence of writing, rotating, copying and packing, with polls at any place."""
    log = tmp_path_factory.mktemp("log") / "jobcomp.log"
    written: list[str] = []
    got: list[str] = []
    place: Place | None = None
    rotations = 0
    for action in [*actions, "write", "read"]:
        archives = sorted(log.parent.glob("jobcomp.log-*"))
        if action == "write":
            written.append(f"line {len(written)}")
            add(log, written[-1])
        elif action == "read" and written:
            lines, place, found = read(log, place)
            got += lines
            assert found
        elif action in ("rename", "copy") and log.exists() and log.stat().st_size:
            rotations += 1
            archive = log.with_name(f"jobcomp.log-{rotations:03}")
            if action == "rename":
                log.rename(archive)
            else:
                shutil.copy(log, archive)
                os.truncate(log, 0)
            os.utime(archive, (rotations, rotations))
        elif action == "pack" and archives and archives[-1].suffix != ".gz":
            packed = archives[-1].with_name(archives[-1].name + ".gz")
            packed.write_bytes(gzip.compress(archives[-1].read_bytes()))
            shutil.copystat(archives[-1], packed)
            archives[-1].unlink()
    assert got == written
