"""A record of ours can be sent and read back; everything else is refused where it is made."""

import sys
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pyauditor
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from collector.record import (
    AMOUNT_LIMIT,
    RECORD_LIMIT_BYTES,
    Component,
    InvalidRecordError,
    Meta,
    Record,
    Score,
    as_utc,
    count_graphemes,
    decode,
)
from tests.helpers.records import START, instants, records


@given(records)
def test_what_is_encoded_is_decoded_again(record: Record) -> None:
    """Encoding loses nothing: neither digits of amounts, nor microseconds, nor characters."""
    assert decode(record.encode()) == record


@given(records, st.timedeltas(timedelta(0), timedelta(days=400)))
def test_a_record_says_the_same_as_the_public_clients(record: Record, length: timedelta) -> None:
    """`to_json` and `runtime` are those of pyauditor for the same record."""
    theirs = pyauditor.Record(record.record_id, record.start_time)
    for component in record.components:
        other = pyauditor.Component(component.name, component.amount)
        for score in component.scores:
            other.with_score(pyauditor.Score(score.name, score.value))
        theirs.with_component(other)
    if record.meta is not None:
        meta = pyauditor.Meta()
        for key, texts in record.meta.items():
            meta.insert(key, texts)
        theirs.with_meta(meta)
    stop_time = record.start_time + length
    theirs.with_stop_time(stop_time)
    record.with_stop_time(stop_time)
    assert msgspec.json.decode(record.to_json()) == msgspec.json.decode(theirs.to_json())
    assert record.runtime == theirs.runtime


@given(st.integers() | st.floats() | st.text() | st.booleans() | st.none())
def test_an_amount_is_a_whole_number_that_fits_64_bits(amount: object) -> None:
    """A float is refused even when it is whole, because the server refuses it."""
    if type(amount) is int and 0 <= amount <= AMOUNT_LIMIT:
        assert Component("CPU", amount).amount == amount
    else:
        with pytest.raises(InvalidRecordError, match="component 'CPU': amount"):
            Component("CPU", amount)  # type: ignore[arg-type] # what is tried


@given(st.integers() | st.just(10**400) | st.floats() | st.text() | st.booleans() | st.none())
def test_a_score_is_finite_and_not_negative(value: object) -> None:
    """JSON has neither NaN nor infinity, and the server no negative scores."""
    number = type(value) in {int, float}
    if number and 0 <= value <= sys.float_info.max:  # type: ignore[operator] # a number
        assert Score("HS", value).value == float(value)  # type: ignore[arg-type] # what is tried
    else:
        with pytest.raises(InvalidRecordError, match="score 'HS': value"):
            Score("HS", value)  # type: ignore[arg-type] # what is tried


@pytest.mark.parametrize(
    "text", ["", " ", "\t\n", "a\0b", "\ud800", "x" * 257, "é" * 257, None, 5, b"x"]
)
def test_a_bad_name_is_refused_wherever_it_stands(text: str) -> None:
    """Blank, NUL, lone surrogates, over 256 characters, or no text at all."""
    makers = (
        lambda: Record(text, START),
        lambda: Component(text, 1),
        lambda: Score(text, 1),
        lambda: Meta().insert(text, ["x"]),
        lambda: Meta().insert("key", [text]),
        lambda: Meta({"key": [text]}),
    )
    for maker in makers:
        with pytest.raises(InvalidRecordError):
            maker()


@pytest.mark.parametrize(
    "text",
    ["x" * 256, "e\u0301" * 256, "👨‍👩‍👧‍👦" * 256, "🇩🇪" * 256, "각" * 256, "\r\n" * 255 + "x"],
)
def test_names_are_as_long_as_a_reader_counts(text: str) -> None:
    """256 characters are what a reader takes for characters, not code points."""
    assert count_graphemes(text) == 256
    assert Component(text, 1).name == text
    with pytest.raises(InvalidRecordError, match="longer than 256"):
        Component(text + "x", 1)


def test_a_meta_value_is_a_list_of_texts() -> None:
    """One text in place of a list is a mistake, not a list of its letters."""
    with pytest.raises(InvalidRecordError, match="expected a list of texts, got the text 'site1'"):
        Meta().insert("site_id", "site1")


@given(instants)
@example(datetime(9999, 12, 31, 20, tzinfo=UTC))
def test_instants_are_kept_in_utc(instant: datetime) -> None:
    """Any zone is converted; the instant stays the same."""
    record = Record("r", instant)
    assert record.start_time == instant.astimezone(UTC)
    assert record.start_time.tzinfo is UTC


@pytest.mark.parametrize(
    "instant",
    [datetime.fromisoformat("2026-01-01"), datetime(1970, 1, 1, tzinfo=UTC), "2026", None, 5],
)
def test_naive_and_missing_instants_are_refused(instant: datetime) -> None:
    """Naive is refused with the way to mend it; 1970 is a missing value."""
    with pytest.raises(
        InvalidRecordError, match=r"no time zone; give it one, for example|not a time at which"
    ):
        as_utc(instant)
    with pytest.raises(InvalidRecordError):
        Record("r", instant)


def test_an_instant_that_is_out_of_range_in_utc_is_refused() -> None:
    """The last hours of the year 9999 do not exist in UTC for those who live west of it."""
    with pytest.raises(InvalidRecordError, match="not within the years to 9999"):
        as_utc(datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-3))))


def test_a_stop_before_the_start_is_refused() -> None:
    """The server would store a negative run time without a word."""
    with pytest.raises(InvalidRecordError, match=r"stop_time .* is before start_time"):
        Record("r", START, START - timedelta(microseconds=1))
    assert Record("r", START, START).runtime == 0


def test_a_record_that_cannot_be_read_back_is_refused() -> None:
    """Over 10,000 bytes the public client cannot read it, nor anything behind it."""
    record = Record("r", START).with_meta(
        Meta().insert("k", [f"{'x' * 190}{n}" for n in range(50)])
    )
    assert len(record.encode()) <= RECORD_LIMIT_BYTES
    record.with_component(Component("y" * 256, 1))
    with pytest.raises(InvalidRecordError, match="clients can read back at most 10000"):
        record.encode()


def test_chained_and_ignored_results_make_the_same_record() -> None:
    """`with_…` and `insert` change the object and return it."""
    chained = (
        Record("r", START)
        .with_component(Component("CPU", 1).with_score(Score("HS", 2.5)))
        .with_meta(Meta().insert("a", ["b"]))
        .with_stop_time(START)
    )
    ignored, component, meta = Record("r", START), Component("CPU", 1), Meta()
    component.with_score(Score("HS", 2.5))
    ignored.with_component(component)
    meta.insert("a", ["b"])
    ignored.with_meta(meta)
    ignored.with_stop_time(START)
    assert chained == ignored
    assert chained != Record("r", START)
    assert chained != "r"


def test_what_was_put_into_a_record_can_be_changed_for_the_next_one() -> None:
    """Records share neither their meta nor their components."""
    meta, component = Meta(), Component("CPU", 1)
    made = []
    for user in ("alice", "bob"):
        meta.insert("user", [user])
        component.with_score(Score(user, 1))
        made.append(Record(user, START).with_meta(meta).with_component(component))
    assert [record.meta for record in made] == [{"user": ["alice"]}, {"user": ["bob"]}]
    assert [len(record.components[0].scores) for record in made] == [1, 2]
    assert Record("a", START).components is not Record("b", START).components


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"record_id": "r", "start_time": "2021-01-01T00:00:00"}',
        b'{"record_id": " ", "start_time": "2021-01-01T00:00:00Z"}',
        b'{"record_id": "r", "start_time": "2021-01-01T00:00:00Z", "components": [{"name": 5}]}',
        b'{"record_id": "r", "start_time": "2021-01-01T00:00:00Z", "meta": {"a": "b"}}',
        b'{"record_id": "r", "start_time": "2021-01-01T00:00:00Z"}x',
    ],
)
def test_what_is_no_record_is_not_decoded(body: bytes) -> None:
    """One error type for everything that is not a valid record."""
    with pytest.raises(InvalidRecordError):
        decode(body)
