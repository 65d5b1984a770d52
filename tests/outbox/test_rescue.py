"""The outbox's file is removed, moved, replaced or emptied: nothing that was in it is lost."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from collector.config import OutboxSection
from collector.outbox import Intake, Outbox, OutboxError, OutboxFullError
from tests.helpers.small_disk import small_disk
from tests.outbox.filled import LIMITS, NOW, entry, send, taken


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of an outbox."""
    return tmp_path / "state" / "outbox.db"


def opened(path: Path, *, create: bool = True) -> Outbox:
    return Outbox.open(path, now=lambda: NOW, limits=LIMITS, create=create)


def daemons(path: Path, reported: list[Path | None]) -> Outbox:
    """An outbox as the daemon has it."""
    outbox = opened(path)
    outbox.on_replaced = reported.append
    return outbox


def family(path: Path) -> list[Path]:
    """The file and what SQLite has beside it."""
    return [path.with_name(path.name + suffix) for suffix in ("", "-wal", "-shm")]


def waiting(path: Path) -> list[str]:
    """What another process, or the next start, finds."""
    with opened(path) as outbox:
        return [found.record_id for found in taken(outbox)]


@pytest.mark.parametrize(
    "files", [slice(0, 1), slice(0, 2), slice(0, 3)], ids=["file", "wal", "all"]
)
@pytest.mark.parametrize("how", ["removed", "moved"])
def test_a_file_that_is_gone_under_the_daemon_is_written_again(how: str, files: slice, path: Path):
    """With or without its log, and reported; put, ledger and checkpoint go on as if nothing was."""
    reported: list[Path | None] = []
    with daemons(path, reported) as outbox:
        outbox.put(Intake("s", [entry(1)], checkpoint=1))
        send(outbox)
        outbox.put(Intake("s", [entry(2)], checkpoint=2))
        for file in family(path)[files]:
            if how == "removed":
                file.unlink()
            else:
                file.rename(file.with_name("tidied-" + file.name))
        outbox.put(Intake("s", [entry(1), entry(3)]))
        assert reported == [None]
        assert waiting(path) == ["r-2", "r-3"]
    assert waiting(path) == ["r-2", "r-3"]
    with opened(path) as outbox:
        assert outbox.checkpoint("s") == 2


def test_a_file_in_its_place_is_kept_aside_whole(path: Path):
    """A restore of yesterday's backup: today's goes on, and the backup is beside it."""
    with opened(path) as outbox:
        outbox.put(Intake("s", [entry(9)]))
    backup = path.with_name("backup")
    shutil.copyfile(path, backup)
    reported: list[Path | None] = []
    with daemons(path, reported) as outbox:
        outbox.put(Intake("s", [entry(1)]))
        backup.replace(path)
        assert [found.record_id for found in taken(outbox)] == ["r-9", "r-1"]
        (aside,) = reported
        assert aside is not None
        assert aside.name == "outbox.db.replaced-20260131T120000Z"
    assert waiting(path) == ["r-9", "r-1"]
    assert waiting(aside) == ["r-9"]


def test_a_folder_that_is_gone_is_made_again(path: Path):
    """`rm -r` of the state directory."""
    reported: list[Path | None] = []
    with daemons(path, reported) as outbox:
        outbox.put(Intake("s", [entry(1)]))
        shutil.rmtree(path.parent)
        outbox.keep_in_place()
    assert waiting(path) == ["r-1"]


def test_while_it_cannot_be_written_again_nothing_is_taken_in_and_the_rest_is_sent(path: Path):
    """What the daemon holds goes to the Auditor; sources pause, with the reason."""
    with daemons(path, []) as outbox:
        outbox.put(Intake("s", [entry(1)]))
        shutil.rmtree(path.parent)
        path.parent.write_text("a file in the place of the folder")
        with pytest.raises(OutboxError, match="cannot be written again"):
            outbox.put(Intake("s", [entry(2)]))
        send(outbox)
        assert taken(outbox) == []
        path.parent.unlink()
        outbox.put(Intake("s", [entry(2)]))
    assert waiting(path) == ["r-2"]


def test_a_command_beside_the_daemon_says_so_and_touches_nothing(path: Path):
    """Only the daemon writes it again; otherwise two would."""
    with opened(path) as outbox:
        outbox.put(Intake("s", [entry(1)]))
        path.rename(path.with_name("elsewhere"))
        with pytest.raises(OutboxError, match="removed or replaced while it was in use"):
            outbox.put(Intake("s", [entry(2)]))
        assert not path.exists()


def test_a_crash_while_it_is_written_again_is_completed_by_the_next_start(path: Path):
    """The copy is whole, and not in its place yet."""
    with opened(path) as outbox:
        outbox.put(Intake("s", [entry(1)]))
    path.rename(path.with_name("outbox.db.restored"))
    with opened(path) as outbox:
        assert [found.record_id for found in taken(outbox)] == ["r-1"]


def emptied(path: Path, how: str) -> None:
    if how == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()


def crashed(path: Path, *, checkpointed: bool) -> None:
    """Leaves an outbox as a killed process does, with a full write-ahead log."""
    folder = path.with_name("running")
    running = opened(folder / path.name)
    if checkpointed:
        running.put(Intake("s", [entry(number) for number in range(100)]))
        running._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    running.put(Intake("s", [entry(1000)]))
    path.parent.mkdir(parents=True, exist_ok=True)
    for file in family(running.path)[:2]:
        shutil.copyfile(file, path.with_name(file.name))
    running.close()


@pytest.mark.parametrize("how", ["empty", "gone"])
def test_an_empty_file_beside_a_full_log_is_restored_from_it(how: str, path: Path):
    """SQLite would delete the log. It is kept aside, and what is in it goes on."""
    crashed(path, checkpointed=False)
    emptied(path, how)
    with opened(path) as outbox:
        assert outbox.set_aside is not None
        assert outbox.set_aside.restored
        assert [found.record_id for found in taken(outbox)] == ["r-1000"]
        assert family(outbox.set_aside.path)[1].stat().st_size > 0


@pytest.mark.parametrize("how", ["empty", "gone"])
def test_a_log_that_holds_a_part_only_is_kept_aside_and_an_empty_outbox_made(how: str, path: Path):
    """The rest was in the file; a half of an outbox is none."""
    crashed(path, checkpointed=True)
    emptied(path, how)
    with opened(path) as outbox:
        assert outbox.set_aside is not None
        assert not outbox.set_aside.restored
        assert taken(outbox) == []
        assert family(outbox.set_aside.path)[1].stat().st_size > 0


@pytest.mark.parametrize("how", ["empty", "gone"])
def test_a_command_that_looks_leaves_such_a_log_alone(how: str, path: Path):
    """`status`, run before the daemon starts again."""
    crashed(path, checkpointed=False)
    emptied(path, how)
    with pytest.raises(OutboxError, match="start the collector"):
        opened(path, create=False)
    assert family(path)[1].stat().st_size > 0


def test_a_file_that_is_emptied_under_the_daemon_ends_it_and_the_next_start_restores(path: Path):
    """`> outbox.db`: pages may be missing now, so nothing is copied blindly."""
    with daemons(path, []) as outbox:
        outbox.put(Intake("s", [entry(1)]))
        path.write_bytes(b"")
        with pytest.raises(OutboxError, match=r"was emptied .* restart"):
            outbox.put(Intake("s", [entry(2)]))
        for file in family(path)[:2]:
            shutil.copyfile(file, path.with_name("kept" + file.name))
    for file in family(path)[:2]:  # as after SIGKILL
        shutil.copyfile(path.with_name("kept" + file.name), file)
    with opened(path) as outbox:
        assert outbox.set_aside is not None
        assert [found.record_id for found in taken(outbox)] == ["r-1"]


# ------------------------------------------------------------------ room


def filled_and_drained(path: Path) -> None:
    """As after an outage: large, and nearly nothing in it."""
    with opened(path) as outbox:
        for batch in range(40):
            records = [entry(batch * 100 + number) for number in range(100)]
            for record in records:
                record.body += b" " * 10_000
            outbox.put(Intake("s", records))
        while taken(outbox):
            send(outbox)


def test_room_in_the_file_counts_as_room(path: Path, monkeypatch: pytest.MonkeyPatch):
    """A disk that an outage filled with records does not pause sources when they are sent."""
    filled_and_drained(path)
    full = shutil.disk_usage(path.parent)._replace(free=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with sqlite3.connect(path) as sql:
        free = sql.execute("PRAGMA freelist_count").fetchone()[0] * 16_384
    sql.close()
    assert free > 30_000_000
    for limit, is_full in ((free - 1_000_000, False), (free + 1_000_000, True)):
        limits = OutboxSection(min_free_bytes=limit)
        with Outbox.open(path, now=lambda: NOW, limits=limits) as outbox:
            if is_full:
                with pytest.raises(OutboxFullError, match="min_free_bytes"):
                    outbox.put(Intake("s", [entry(1)]))
            else:
                outbox.put(Intake("s", [entry(1)]))


@pytest.mark.parametrize("made_by", ["today", "an earlier release"])
def test_the_file_gives_its_room_back_bit_by_bit(made_by: str, path: Path):
    """In steps of a bounded time; some room stays for what comes next."""
    if made_by == "an earlier release":
        path.parent.mkdir()
        with sqlite3.connect(path) as sql:
            sql.execute("PRAGMA page_size = 16384")
            sql.execute("PRAGMA journal_mode = WAL")
            sql.execute("CREATE TABLE before (x)")
        sql.close()
    filled_and_drained(path)
    large = path.stat().st_size
    with opened(path) as outbox:
        for _ in range(200):
            outbox.give_back(0.01)
        outbox._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        assert path.stat().st_size < large / 2
        outbox.put(Intake("s", [entry(99_999)]))
    assert waiting(path) == ["r-99999"]


def test_a_disk_without_inodes_is_named_and_stops_nothing_that_runs(tmp_path: Path):
    """What is open goes on; what has to make a file says why it cannot."""
    with small_disk(tmp_path / "disk", inodes=20) as disk:
        path = disk / "outbox.db"
        with opened(path) as outbox:
            outbox.put(Intake("s", [entry(1)]))
            fill(disk)
            outbox.put(Intake("s", [entry(2)]))
            assert [found.record_id for found in taken(outbox)] == ["r-1", "r-2"]
        fill(disk)
        with pytest.raises(OutboxError, match="inodes"):
            opened(path)
        for file in disk.glob("filled-*"):
            file.unlink()
        assert waiting(path) == ["r-1", "r-2"]


def fill(disk: Path) -> None:
    """Until no file can be made any more."""
    number = len(list(disk.iterdir()))
    try:
        while True:
            (disk / f"filled-{number}").touch()
            number += 1
    except OSError:
        return
