"""The outbox's file: modes, layouts, locks, damage, a full disk."""

import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.outbox import (
    Intake,
    Outbox,
    OutboxError,
    OutboxFullError,
    OutboxInUseError,
    Outcome,
)
from collector.outbox.layout import NAMES
from tests.outbox.filled import (
    LIMITS,
    NOW,
    entry,
    outcomes,
    send,
    taken,
)

STORED = Path(__file__).parents[1] / "testcases" / "outbox"


def opened(path: Path, *, create: bool = True) -> Outbox:
    return Outbox.open(path, now=lambda: NOW, limits=LIMITS, create=create)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@contextlib.contextmanager
def sqlite(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def test_all_its_files_are_for_their_owner_only(path: Path):
    """Records name users; also when the umask would allow more."""
    before = os.umask(0)
    try:
        with opened(path) as outbox, outbox.held_by_daemon(), outbox.held_by_sender():
            outbox.put(Intake("s", [entry()]))
            modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert {"outbox.db", "outbox.db-wal", "outbox.db-shm"} <= modes.keys()
    assert set(modes.values()) == {0o600}


def test_a_file_that_others_can_read_is_closed_to_them(path: Path):
    """An outbox that was restored with a wrong mode is mended."""
    opened(path).close()
    path.chmod(0o644)
    opened(path).close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_everything_is_there_after_a_restart(path: Path):
    """What waits, the checkpoint, the ledger."""
    with opened(path) as outbox:
        outbox.put(Intake("s", [entry(1)]))
        send(outbox)
        outbox.put(Intake("s", [entry(2)], checkpoint=7))
    with opened(path) as outbox:
        assert [waiting.record_id for waiting in taken(outbox)] == ["r-2"]
        assert outbox.checkpoint("s") == 7
        assert outbox.put(Intake("s", [entry(1)])).outcomes[Outcome.KNOWN] == 1


def test_a_newer_outbox_is_refused_and_left_alone(path: Path):
    """A program that does not know the layout must not touch it."""
    opened(path).close()
    with sqlite(path) as file:
        file.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
            " VALUES ('outbox', 'of_tomorrow', '2030')"
        )
    with pytest.raises(OutboxError, match=r"newer version.*of_tomorrow"):
        opened(path)
    assert path.exists()


@pytest.mark.parametrize("stored", sorted(STORED.glob("layout-*.sql")), ids=lambda path: path.stem)
def test_a_file_of_every_layout_so_far_opens_and_keeps_what_it_held(stored: Path, path: Path):
    """Such a file is kept for each layout; it comes out as one that was made today."""
    with sqlite(path) as file:
        file.executescript(stored.read_text())
    with opened(path) as outbox:
        status = outbox.status()
        assert (status.waiting, status.open_records) == (1, 1)
        assert status.rejected == {"unmappable": 1, "refused": 1}
        assert outbox.checkpoint("old") == {"at": 5}
        assert status.sender is not None
        assert [waiting.record_id for waiting in taken(outbox)] == ["r-3"]
        assert outbox.put(Intake("old", [entry(1), entry(2)])).outcomes == outcomes(
            known=1, stop_queued=1
        )
        send(outbox)
        assert outbox.status().waiting == 0
    opened(path.with_name("new.db")).close()
    assert layout(path) == layout(path.with_name("new.db"))
    assert len(list(STORED.glob("layout-*.sql"))) == len(NAMES), "keep a file of the new layout too"


def layout(path: Path) -> list[tuple[object, ...]]:
    """Everything that a file's layout is made of."""
    with sqlite(path) as file:
        rows = file.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name").fetchall()
        return [*rows, *file.execute("PRAGMA user_version").fetchall()]


def test_an_interrupted_first_start_is_completed_by_the_next(path: Path):
    """A crash between making the file and its layout leaves an empty file."""
    path.touch(mode=0o600)
    with opened(path) as outbox:
        assert outbox.put(Intake("s", [entry()])).outcomes[Outcome.QUEUED] == 1


def test_two_processes_that_start_together_make_one_layout(path: Path):
    """Neither finds a half of it."""
    ready = threading.Barrier(4)
    errors: list[BaseException] = []

    def start(number: int) -> None:
        try:
            ready.wait()
            with opened(path) as outbox:
                outbox.put(Intake("s", [entry(number)]))
        except BaseException as error:  # noqa: BLE001 - shown below
            errors.append(error)

    threads = [threading.Thread(target=start, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with opened(path) as outbox:
        assert outbox.status().waiting == 4


def test_commands_that_only_look_make_no_outbox(path: Path):
    """A typo in the path is an error, not an empty status."""
    with pytest.raises(OutboxError, match="there is no outbox"):
        opened(path, create=False)
    assert not path.exists()


@pytest.mark.parametrize("damage", ["text", "first page", "middle"])
def test_a_damaged_file_is_kept_aside_and_a_new_one_begun(damage: str, path: Path):
    """Nothing of it is deleted; the sources are read again, and the Auditor knows its records."""
    with opened(path) as outbox:
        outbox.put(Intake("s", [entry(number) for number in range(500)]))
    with sqlite(path) as file:
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(path.read_bytes())
    if damage == "text":
        content[:] = b"not a database, whatever it was before\n" * 100
    elif damage == "first page":
        content[100:4096] = os.urandom(3996)
    else:
        content[4096:] = os.urandom(len(content) - 4096)
    path.write_bytes(content)
    with opened(path) as outbox:
        assert outbox.set_aside is not None
        assert outbox.set_aside.path.name == "outbox.db.damaged-20260131T120000Z"
        assert outbox.set_aside.path.read_bytes() == bytes(content)
        assert outbox.put(Intake("s", [entry()])).outcomes[Outcome.QUEUED] == 1
        assert outbox.status().waiting == 1
    with opened(path) as outbox:
        assert outbox.set_aside is None


def test_damage_that_is_met_while_running_is_told_and_kept_aside_at_the_next_start(path: Path):
    """A running process cannot swap the file under the others."""
    with opened(path) as outbox:
        outbox.put(Intake("s", [entry(number) for number in range(2000)]))
    with sqlite(path) as file:
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(path.read_bytes())
    page = content.index(entry(1500).body) // 4096
    content[page * 4096 : (page + 1) * 4096] = b"\xff" * 4096
    path.write_bytes(content)
    with opened(path) as outbox:
        assert outbox.set_aside is None
        with pytest.raises(OutboxError, match=r"is damaged .* restart"):
            outbox.take(10_000, 10**9, NOW)
    with opened(path) as outbox:
        assert outbox.set_aside is not None


def test_a_damaged_file_in_use_by_a_daemon_is_not_moved_under_it(path: Path):
    """A second process says so and goes."""
    with opened(path) as outbox, outbox.held_by_daemon():
        path.with_name("outbox.db.damaged").touch()
        with pytest.raises(OutboxInUseError, match=str(os.getpid())):
            opened(path)


def test_a_second_daemon_is_refused_and_told_who_the_first_is(path: Path):
    """Also when the first is another process; when that ends, however, the way is free."""
    script = (
        "import sys; from pathlib import Path; from tests.outbox.test_outbox_file import opened\n"
        "outbox = opened(Path(sys.argv[1]))\n"
        "with outbox.held_by_daemon(): print('held', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        with opened(path) as outbox:
            with pytest.raises(OutboxInUseError, match=f"process {first.pid} is its daemon"):
                outbox.held_by_daemon().__enter__()
            outbox.put(Intake("s", [entry()]))  # a backfill beside it is fine
            first.kill()
            first.wait()
            with outbox.held_by_daemon():
                pass


def test_many_threads_put_take_and_settle_at_once(path: Path):
    """Everything that was put is settled once; the totals agree."""
    with opened(path) as outbox:

        def put(source: int) -> None:
            for number in range(50):
                outbox.put(Intake(f"s{source}", [entry(source * 1000 + number)], read=1))

        threads = [threading.Thread(target=put, args=(source,)) for source in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads) or outbox.status().waiting:
            send(outbox)
        counts = outbox.status().counts
        assert sum(n for (_, _, outcome, _), n in counts.items() if outcome == "sent") == 200


def test_a_locked_file_is_told_and_nothing_of_the_put_is_there(path: Path):
    """Somebody's sqlite3 shell holds a transaction for longer than we wait."""
    with opened(path) as outbox, sqlite(path) as other:
        outbox._connection.execute("PRAGMA busy_timeout = 50")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OutboxInUseError, match="locked by another process"):
            outbox.put(Intake("s", [entry()], checkpoint=1))
        other.execute("ROLLBACK")
        assert outbox.checkpoint("s") is None
        assert outbox.put(Intake("s", [entry()], checkpoint=1)).outcomes[Outcome.QUEUED] == 1


def test_a_full_disk_refuses_the_put_and_leaves_what_was_there(path: Path):
    """Records and checkpoint stay as they were; with room, the same put goes through."""
    with opened(path) as outbox:
        outbox.put(Intake("s", [entry(1)], checkpoint=1))
        (pages,) = outbox._connection.execute("PRAGMA page_count").fetchone()
        outbox._connection.execute(f"PRAGMA max_page_count = {pages}")
        many = [entry(number) for number in range(2000)]
        with pytest.raises(OutboxFullError, match="no room"):
            outbox.put(Intake("s", many, checkpoint=2))
        assert (outbox.status().waiting, outbox.checkpoint("s")) == (1, 1)
        outbox._connection.execute("PRAGMA max_page_count = 1000000")
        assert outbox.put(Intake("s", many, checkpoint=2)).to_be_sent == 1999


def test_a_directory_that_takes_no_files_is_told():
    """With the file and what to look at; /proc takes none, not even root's."""
    with pytest.raises(OutboxError, match=r"/proc/outbox\.db: cannot be opened for writing"):
        opened(Path("/proc/outbox.db"))


def test_a_directory_in_the_place_of_the_file_is_told(path: Path):
    """Not a traceback."""
    path.mkdir()
    with pytest.raises(OutboxError, match="cannot be"):
        opened(path)
