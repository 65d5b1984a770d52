"""Every ad that a schedd appended is read once, whatever it and the file system did meanwhile."""

import itertools
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.source import Batch, SourceError, Unreadable
from collector.source.testing import context
from collector_htcondor import rotation, torn_ads
from collector_htcondor.source import HTCondorSection, HTCondorSource
from tests.htcondor.schedd import Schedd, ad

GAP = "history was rotated away before it was read; jobs may be missing"


class Reader:
    """A collector that keeps checkpoints as the outbox does, and counts what it is given."""

    def __init__(self, folder: Path) -> None:
        self.section = HTCondorSection(
            name="ap1", plugin="htcondor", record_prefix="ap1", history=folder / "history"
        )
        self.checkpoint: object = None
        self.seen: Counter[str] = Counter()
        self.unreadable: list[tuple[str, str]] = []
        self.capture = structlog.testing.LogCapture()

    @property
    def logs(self) -> list[str]:
        return [entry["event"] for entry in self.capture.entries]

    def poll(self, batches: int | None = None) -> int:
        """Polls with a new source; stops after some batches as if killed there."""
        return sum(itertools.islice(self.batches(), batches))

    def batches(self) -> Iterator[int]:
        """Polls with a new source, batch by batch; how much each has read."""
        given = context()
        given.fields = frozenset({"Owner"})
        given.log = structlog.wrap_logger(
            None, [self.capture], wrapper_class=structlog.make_filtering_bound_logger(0)
        )
        for batch in HTCondorSource(self.section, given).poll(self.checkpoint):
            yield self._keep(batch)

    def _keep(self, batch: Batch) -> int:
        self.checkpoint = msgspec.json.decode(msgspec.json.encode(batch.checkpoint))
        self.seen.update(job.id.split("#")[1] for job in batch.jobs)
        self.unreadable += [(one.where, one.reason) for one in batch.unreadable]
        assert batch.progress is None or 0 <= batch.progress <= 1
        return batch.read


@pytest.fixture
def schedd(tmp_path: Path) -> Schedd:
    return Schedd(tmp_path)


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path)


def test_what_is_appended_is_read_once(schedd: Schedd, reader: Reader):
    """Each poll gives what is new, and the next nothing."""
    for cluster in range(1, 4):
        schedd.append(ad(cluster))
        assert reader.poll() == 1
        assert reader.poll() == 0
    assert reader.seen == {"1.0": 1, "2.0": 1, "3.0": 1}


def test_an_ad_is_read_only_when_its_banner_has_its_newline(schedd: Schedd, reader: Reader):
    """However much of an ad is written, it is not read before it is whole; then it is, once."""
    schedd.append(ad(1))
    schedd.append(ad(2))
    whole = schedd.history.read_bytes()
    first = whole.index(b"\n*** ") + 1
    first = whole.index(b"\n", first) + 1
    for size in range(first, len(whole)):
        schedd.history.write_bytes(whole[:size])
        reader.poll()
        assert reader.seen == {"1.0": 1}, size
    schedd.history.write_bytes(whole)
    assert reader.poll() == 1
    assert not reader.unreadable


@pytest.mark.parametrize("polled", [0, 1, 2])
def test_several_rotations_between_two_polls_lose_nothing(
    schedd: Schedd, reader: Reader, polled: int
):
    """Wherever in a file the last poll ended, the rest of it and all younger files follow."""
    for cluster in range(1, 3):
        schedd.append(ad(cluster))
        if cluster <= polled:
            reader.poll()
    for cluster in range(3, 9):
        if cluster % 2:
            schedd.rotate()
            schedd.rotations = 99
        schedd.append(ad(cluster))
    reader.poll()
    assert reader.seen == {f"{cluster}.0": 1 for cluster in range(1, 9)}
    assert reader.poll() == 0


def test_two_rotations_within_a_second_are_survived(schedd: Schedd, reader: Reader):
    """What the schedd itself overwrites is gone; all else is read, and the loss is told."""
    schedd.append(ad(1))
    reader.poll()
    schedd.rotate()
    schedd.append(ad(2))
    schedd.clock -= 1
    schedd.rotate()  # renames onto the file that holds job 1
    schedd.append(ad(3))
    reader.poll()
    assert reader.seen == {"1.0": 1, "2.0": 1, "3.0": 1}
    assert reader.logs == [GAP]


@pytest.mark.parametrize("gone", [False, True])
def test_a_file_that_is_renamed_or_removed_while_others_are_read_stops_nothing(
    schedd: Schedd, reader: Reader, gone: bool
):
    """What was listed under a name is not what stands there now; the next poll finds the rest."""
    schedd.rotations = 99
    for cluster in range(1, 4):
        schedd.append(ad(cluster))
        if cluster < 3:
            schedd.rotate()
    polling = reader.batches()
    next(polling)
    if gone:
        sorted(schedd.history.parent.glob("history.2*"))[1].unlink()
    schedd.rotate()
    schedd.append(ad(4))
    assert sum(polling) == (0 if gone else 1)
    reader.poll()
    assert reader.seen == {
        f"{cluster}.0": 1 for cluster in range(1, 5) if not (gone and cluster == 2)
    }


def test_the_old_and_only_the_rotated_files_are_read(schedd: Schedd, reader: Reader):
    """`history.old` comes first; copies that somebody made under other names are not read."""
    schedd.append(ad(1))
    schedd.history.rename(schedd.history.with_name("history.old"))
    for cluster in (2, 3):
        schedd.append(ad(cluster))
        if cluster == 2:
            schedd.rotate()
    for name in ("history.1.0", "history.bak", "history.20260101T000000.gz", "xhistory"):
        schedd.history.with_name(name).write_bytes(schedd.history.read_bytes().replace(b"3", b"9"))
    reader.poll()
    assert list(reader.seen) == ["1.0", "2.0", "3.0"]


def test_the_moment_without_a_current_file_is_survived(schedd: Schedd, reader: Reader):
    """Between the renaming and the next append there is no `history`."""
    schedd.append(ad(1))
    schedd.rotate()
    assert reader.poll() == 1
    assert reader.poll() == 0
    schedd.append(ad(2))
    assert reader.poll() == 1


def test_a_gap_is_told_once_with_its_bounds(schedd: Schedd, reader: Reader):
    """When the file that was read last is gone, jobs may be missing: from when and until when."""
    schedd.append(ad(1))
    reader.poll()
    for cluster in range(2, 6):
        schedd.rotate()
        schedd.append(ad(cluster))
    reader.poll()
    reader.poll()
    [entry] = reader.capture.entries
    assert (entry["event"], entry["log_level"]) == (GAP, "error")
    assert entry["read_until"] == "2026-11-23T18:47:41+00:00"
    assert entry["continues_at"] == "2026-11-23T18:47:43+00:00"
    assert set(reader.seen) == {"1.0", "3.0", "4.0", "5.0"}


def test_a_gap_without_a_younger_file_is_told_once(schedd: Schedd, reader: Reader):
    """Also when there is nothing to read behind it yet."""
    schedd.append(ad(1))
    reader.poll()
    schedd.history.write_bytes(b"")
    reader.poll()
    reader.poll()
    assert reader.logs == [GAP]


def test_rotation_that_was_followed_is_no_gap(schedd: Schedd, reader: Reader):
    """Files that were read to their end may go."""
    for cluster in range(1, 30):
        schedd.append(ad(cluster))
        reader.poll()
        schedd.rotate()
        reader.poll()
    assert reader.logs == []
    assert len(msgspec.to_builtins(reader.checkpoint)["files"]) <= 3


def test_a_file_is_known_by_its_content(schedd: Schedd, reader: Reader, tmp_path: Path):
    """A restored spool has other inodes, and copies of a file beside it are not read twice."""
    schedd.append(ad(1))
    schedd.append(ad(2))
    reader.poll()
    copy = tmp_path / "copy"
    shutil.copy(schedd.history, copy)
    schedd.history.unlink()
    shutil.copy(copy, schedd.history)
    shutil.copy(copy, tmp_path / "history.20260101T000000")
    assert reader.poll() == 0
    schedd.append(ad(3))
    assert reader.poll() == 1
    assert reader.poll() == 0


def test_a_file_that_was_copied_aside_and_put_back_is_read(
    schedd: Schedd, reader: Reader, tmp_path: Path
):
    """After the schedd removed it unread, as the runbook says for a source that lags."""
    schedd.append(ad(1))
    reader.poll()
    schedd.append(ad(2))
    schedd.rotate()
    [rotated] = tmp_path.glob("history.2*")
    aside = tmp_path / "aside"
    shutil.copy(rotated, aside)
    for cluster in (3, 4, 5):
        schedd.append(ad(cluster))
        schedd.rotate()
    schedd.append(ad(6))
    assert not rotated.exists()
    reader.poll()
    assert "2.0" not in reader.seen
    aside.rename(rotated)
    reader.poll()
    assert reader.seen["2.0"] == 1
    assert reader.logs == [GAP]


def test_the_order_of_the_names_does_not_matter(schedd: Schedd, reader: Reader):
    """Names are local times, which run backwards when summer time ends."""
    schedd.rotations = 99
    schedd.append(ad(1))
    reader.poll()
    schedd.rotate()
    schedd.append(ad(2))
    schedd.clock -= 3600
    schedd.rotate()
    schedd.append(ad(3))
    reader.poll()
    assert reader.seen == {"1.0": 1, "2.0": 1, "3.0": 1}


def test_a_file_that_was_rewritten_is_read_again(schedd: Schedd, reader: Reader):
    """When no banner ends where the last poll did, its position says nothing any more."""
    schedd.append(ad(1))
    schedd.append(ad(2, Args='"long"'))
    reader.poll()
    schedd.history.write_bytes(schedd.history.read_bytes().replace(b'Args = "long"\n', b""))
    schedd.append(ad(3))
    assert reader.poll() == 3
    assert reader.logs == ["history file was rewritten; reading it again"]
    assert reader.poll() == 0


def test_a_torn_ad_and_its_repetition_are_one_job(schedd: Schedd, reader: Reader):
    """A schedd that was killed while it wrote writes the job again: the stump is not a job."""
    schedd.append(ad(1))
    cut = ad(2).index(b"JobStartDate") + 7
    schedd.append(ad(2, ExitSignal=9, CpusProvisioned=8), torn_at=cut)
    assert reader.poll() == 1
    schedd.append(ad(2))
    schedd.append(ad(3))
    assert reader.poll() == 2
    assert reader.seen == {"1.0": 1, "2.0": 1, "3.0": 1}
    assert not reader.unreadable


def test_a_stump_that_may_be_all_of_its_job_is_kept_for_its_operator(
    schedd: Schedd, reader: Reader
):
    """Its schedd never wrote job 2 again: it is told with its place; the next job counts."""
    schedd.append(ad(1))
    at = schedd.history.stat().st_size
    schedd.append(ad(2), torn_at=len(ad(2)) - 5)
    schedd.append(ad(3))
    reader.poll()
    assert reader.seen == {"1.0": 1, "3.0": 1}
    [(where, reason)] = reader.unreadable
    assert where.endswith(f":{at}")
    assert "its end was never written" in reason


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (ad(2) + ad(3), "an attribute stands twice"),
        (ad(2), "its ClusterId is not the one of its banner \\(3\\)"),
        (ad(3, 1), "its ProcId is not the one of its banner \\(0\\)"),
    ],
)
@pytest.mark.parametrize("at", [None, 0])
def test_a_record_that_is_not_surely_one_ad_is_refused(lines: bytes, reason: str, at: int | None):
    """Where its banner does not tell two ads apart, or is of another job."""
    banner = b'*** Offset = 0 ClusterId = 3 ProcId = 0 Owner = "a" CompletionDate = 1'
    with pytest.raises(torn_ads.TornError, match=reason):
        torn_ads.whole(b"\n" + lines + banner, at)


@pytest.mark.parametrize("line", range(1, ad(3).count(b"\n")))
def test_an_offset_that_points_into_an_ad_by_chance_tears_nothing(line: int):
    """All Offsets are wrong behind a place where the file's length was changed."""
    banner = b'*** Offset = %d ClusterId = 3 ProcId = 0 Owner = "a" CompletionDate = 1'
    lines = ad(3).splitlines(keepends=True)
    raw = b"\n" + ad(3) + banner % (5000 + len(b"".join(lines[:line])))
    assert torn_ads.whole(raw, 5000) == torn_ads.Whole(raw)


@given(st.data())
def test_of_two_ads_that_ran_together_only_the_second_counts(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
):
    """Wherever the first was torn: the second is read exactly as if it stood alone, or refused."""
    folder = tmp_path_factory.mktemp("torn")
    schedd = Schedd(folder)
    if data.draw(st.booleans()):
        schedd.append(ad(1))
    torn = ad(2, ExitSignal=9, CpusProvisioned=64, Owner='"other"', Env='"\t = Cmd = 1 "')
    cut = data.draw(st.integers(1, len(torn)))
    schedd.append(torn, torn_at=cut)
    schedd.append(ad(3))
    schedd.append(ad(4))
    source = HTCondorSource(
        HTCondorSection(name="x", plugin="htcondor", record_prefix="x", history=schedd.history),
        context(),
    )
    [batch] = source.poll(None)
    found = {job.id.split("#")[1]: job.fields for job in batch.jobs}
    assert "2.0" not in found
    assert "4.0" in found
    within_its_first_line = cut < len(b'Cmd = "/bin/sleep"\n')
    if "3.0" in found:
        alone = {**found["4.0"], "ClusterId": 3, "GlobalJobId": found["3.0"]["GlobalJobId"]}
        if within_its_first_line:  # at the start of a file only that attribute can be hit
            found["3.0"] = {n: v for n, v in found["3.0"].items() if "Cmd" not in n}
            del alone["Cmd"]
        assert found["3.0"] == alone
    else:
        assert within_its_first_line
    for one in batch.unreadable:
        assert isinstance(source.parse(one.raw, one.where), Unreadable)


@pytest.mark.parametrize("beyond", [2**31, 2**32])
@pytest.mark.parametrize("cut", [None, 300])
def test_ads_beyond_2_gib_of_a_file_are_whole(beyond: int, cut: int | None):
    """There a banner's Offset, an `int` of the schedd, is negative, or begins anew."""
    stump = ad(2)[:cut] if cut else b""
    line = beyond + (stump.rindex(b"\n") + 1 if cut else -200)  # of the stump, or the last banner
    offset = (line + 2**31) % 2**32 - 2**31
    banner = b'*** Offset = %d ClusterId = 3 ProcId = 0 Owner = "a" CompletionDate = 1'
    found = torn_ads.whole(b"\n" + stump + ad(3) + banner % offset, beyond)
    assert (found.begin, found.raw.startswith(b"\n" + ad(3))) == (len(stump), True)


def test_the_torn_end_of_a_rotated_file_is_kept_for_its_operator(schedd: Schedd, reader: Reader):
    """Nothing will complete it: it is told once, with its place; the job that follows counts."""
    schedd.append(ad(1))
    end = schedd.history.stat().st_size
    schedd.append(ad(2), torn_at=100)
    schedd.rotate()
    schedd.append(ad(2))
    reader.poll()
    reader.poll()
    [(where, reason)] = reader.unreadable
    assert where.endswith(f":{end}")
    assert "torn" in reason
    assert reader.seen == {"1.0": 1, "2.0": 1}


def test_a_rotated_file_without_any_banner_is_told(schedd: Schedd, reader: Reader):
    """Its torn text is kept, once."""
    schedd.append(ad(1), torn_at=100)
    schedd.rotate()
    schedd.append(ad(2))
    reader.poll()
    reader.poll()
    assert len(reader.unreadable) == 1
    assert reader.seen == {"2.0": 1}


def test_garbage_in_the_middle_costs_only_what_it_hit(schedd: Schedd, reader: Reader):
    """Ads before and behind are read; what was hit is refused with its position."""
    for cluster in range(1, 6):
        schedd.append(ad(cluster))
    text = bytearray(schedd.history.read_bytes())
    begin = text.index(b"ClusterId = 3")
    text[begin : begin + 400] = bytes(range(256)) + bytes(144)
    schedd.history.write_bytes(text)
    reader.poll()
    assert set(reader.seen) == {"1.0", "2.0", "4.0", "5.0"}
    [(where, _)] = reader.unreadable
    assert text[int(where.rpartition(":")[2]) :].startswith(b"Cmd = ")


@given(st.integers(0, 3), st.floats(0, 1), st.binary(max_size=300), st.booleans())
def test_whatever_is_written_into_the_middle_costs_only_the_ads_that_it_hits(
    tmp_path_factory: pytest.TempPathFactory, hit: int, share: float, noise: bytes, newline: bool
):
    """All others are read as they are; no ad is invented, and each is accounted for.

    What lies within a value, be it the job's id, cannot be told from it.
    """
    folder = tmp_path_factory.mktemp("noise")
    schedd = Schedd(folder)
    ends = [0]
    for cluster in range(4):
        schedd.append(ad(cluster))
        ends.append(schedd.history.stat().st_size)
    at = ends[hit] + int(share * (len(ad(hit)) - 1))
    text = schedd.history.read_bytes()
    noise = b"\n" + noise + b"\n" if newline else noise
    schedd.history.write_bytes(text[:at] + noise + text[at:])
    reader = Reader(folder)
    reader.poll()
    unhurt = {f"{cluster}.0": 1 for cluster in range(4) if cluster != hit}
    assert unhurt.items() <= reader.seen.items()
    of_hit = reader.seen.total() - len(unhurt)
    assert of_hit <= 1
    refused = [int(where.rpartition(":")[2]) for where, _ in reader.unreadable]
    assert all(ends[hit] <= place < ends[hit + 1] + len(noise) for place in refused)
    assert of_hit + len(refused) >= 1


def test_a_damaged_banner_costs_at_most_its_ad(schedd: Schedd, reader: Reader):
    """The ads around it are read."""
    for cluster in range(1, 5):
        schedd.append(ad(cluster))
    text = schedd.history.read_bytes().replace(b"ClusterId = 2 ProcId", b"Clu\xff\0\xffId = 2")
    schedd.history.write_bytes(text)
    reader.poll()
    assert {"1.0", "3.0", "4.0"} <= set(reader.seen)
    assert reader.seen.total() + len(reader.unreadable) == 4


def test_a_user_cannot_write_a_banner_or_a_second_ad(schedd: Schedd, reader: Reader):
    """Bytes that other programs take for line ends do not end a line."""
    for cluster, mark in enumerate(("\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\r"), 1):
        forged = f'"{mark}*** Offset = 0 ClusterId = 99 ProcId = 0{mark}GlobalJobId = 1{mark}"'
        schedd.append(ad(cluster, Args=forged))
    schedd.append(ad(9, Args='"\udce9 latin-1"'))
    reader.poll()
    assert reader.seen == {f"{cluster}.0": 1 for cluster in range(1, 10)}
    assert not reader.unreadable


def test_a_line_of_20_megabytes_is_read(schedd: Schedd, reader: Reader):
    """It is large, not broken: its job counts as its neighbours do."""
    schedd.limit_bytes = 10**9
    schedd.append(ad(1))
    schedd.append(ad(2, Environment='"' + "x" * 20_000_000 + '"'))
    schedd.append(ad(3))
    reader.poll()
    assert reader.seen == {"1.0": 1, "2.0": 1, "3.0": 1}


def test_an_ad_beyond_the_limit_is_refused_and_the_next_one_read(
    schedd: Schedd, reader: Reader, monkeypatch: pytest.MonkeyPatch
):
    """Memory is bounded: of such an ad only beginning and end are kept."""
    monkeypatch.setattr(rotation, "AD_LIMIT_BYTES", 200_000)
    monkeypatch.setattr(rotation, "CHUNK_BYTES", 50_000)
    schedd.append(ad(1))
    schedd.append(ad(2, Environment='"' + "x" * 600_000 + '"'))
    schedd.append(ad(3))
    schedd.append(ad(4))
    reader.poll()
    assert reader.seen == {"1.0": 1, "3.0": 1, "4.0": 1}
    [(_, reason)] = reader.unreadable
    assert "larger than 200000 bytes" in reason
    assert reader.poll() == 0


def test_batches_are_bounded_and_each_checkpoint_continues(
    schedd: Schedd, reader: Reader, monkeypatch: pytest.MonkeyPatch
):
    """A reader that is killed after any batch reads on behind it."""
    monkeypatch.setattr(rotation, "CHUNK_BYTES", 5_000)
    schedd.limit_bytes = 20_000
    schedd.rotations = 99
    for cluster in range(1, 101):
        schedd.append(ad(cluster))
    before: object = ()
    while reader.checkpoint != before:
        before = reader.checkpoint
        assert reader.poll(batches=1) <= 10
    assert reader.seen == {f"{cluster}.0": 1 for cluster in range(1, 101)}


def test_a_schedd_that_has_no_history_yet_is_waited_for(schedd: Schedd, reader: Reader):
    """It makes the file when the first job leaves the queue."""
    reader.poll()
    schedd.append(ad(1))
    reader.poll()
    assert reader.seen.total() == 1


def test_a_missing_folder_is_an_error_that_says_what_to_do(schedd: Schedd, reader: Reader):
    """No file is not "no jobs"; nor is one that was there before."""
    schedd.append(ad(1))
    reader.poll()
    schedd.history.unlink()
    with pytest.raises(SourceError, match="condor_config_val -subsystem SCHEDD HISTORY"):
        reader.poll()


def test_a_foreign_checkpoint_is_an_error(schedd: Schedd, reader: Reader):
    """It is not taken for a first start."""
    schedd.append(ad(1))
    reader.checkpoint = {"offset": 5}
    with pytest.raises(SourceError, match="not one of mode: history"):
        reader.poll()


steps = st.lists(
    st.tuples(st.just("append"), st.integers(0, 6000))
    | st.tuples(st.sampled_from(["rotate", "poll", "killed poll", "torn"]), st.integers(1, 3)),
    max_size=40,
)


@settings(max_examples=60)
@given(steps)
def test_any_sequence_of_appends_rotations_and_crashes_gives_every_job_once(
    tmp_path_factory: pytest.TempPathFactory, sequence: list[tuple[str, int]]
):
    """The schedd and the collector do anything in any order; in the end each job was seen once."""
    folder = tmp_path_factory.mktemp("any")
    schedd, reader, written = Schedd(folder, rotations=99), Reader(folder), 0
    for what, number in [*sequence, ("append", 0), ("poll", 0)]:
        if what == "append":
            written += 1
            schedd.append(ad(written, Args=f'"{"y" * number}"'))
        elif what == "torn":
            schedd.append(ad(written + 1), torn_at=len(ad(1)) * number // 4)
        elif schedd.history.exists():
            if what == "rotate":
                schedd.rotate()
            elif what == "poll":
                reader.poll()
            else:
                reader.poll(batches=number - 1)
    assert reader.seen == {f"{cluster}.0": 1 for cluster in range(1, written + 1)}
