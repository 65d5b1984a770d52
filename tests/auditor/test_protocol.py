"""What each answer means is decided in one table, and answers are read in constant memory."""

import itertools
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.auditor import protocol
from collector.auditor.protocol import (
    Answer,
    AnswerDecoder,
    AuditorError,
    ForbiddenError,
    ProtocolError,
    RecordExistsError,
    RefusedError,
    Request,
    TimedOutError,
    TooLargeError,
    UnavailableError,
    UnexpectedError,
    UnknownRecordError,
    UnprovenError,
)
from collector.record import Record
from tests.helpers.records import START, records

INSERT = protocol.bulk_insert([b"{}"])
UPDATE = Request("update", "PUT", "/record", b"{}")
QUERY = protocol.query("limit=1")
HEALTH = protocol.health()
WARNING = (
    b'{"warning":"One or more records already exist, '
    b'but the error was ignored due to AUDITOR configuration."}'
)
FRAMED = {"content-length": "0"}
UNKNOWN = b"Updating unknown record x not possible."
NOT_FOUND = b"The requested resource was not found. 404 Not Found"


@pytest.mark.parametrize(
    ("request_", "status", "body", "meaning"),
    [
        (INSERT, 200, b"", None),
        (INSERT, 200, WARNING, RecordExistsError),
        (INSERT, 200, b"<html>please log in</html>", UnprovenError),
        (INSERT, 200, b"{}", UnprovenError),
        (INSERT, 200, b'{"message": "acc\xe8s refus\xe9"}', UnprovenError),
        (INSERT, 200, b"[" * 100_000, UnprovenError),
        (INSERT, 201, b"", UnprovenError),
        (INSERT, 204, b"", UnprovenError),
        (INSERT, 301, b"", ForbiddenError),
        (INSERT, 400, b"Json deserialize error: missing field", RefusedError),
        (INSERT, 401, b"", ForbiddenError),
        (INSERT, 403, b"Insufficient permissions", ForbiddenError),
        (INSERT, 404, NOT_FOUND, ForbiddenError),
        (INSERT, 404, UNKNOWN, ForbiddenError),
        (INSERT, 405, b"", ForbiddenError),
        (INSERT, 413, b"", TooLargeError),
        (INSERT, 418, b"", ProtocolError),
        (INSERT, 429, b"", UnavailableError),
        (INSERT, 500, b"RECORD_EXISTS", RecordExistsError),
        (INSERT, 500, b"UNEXPECTED_ERROR", UnexpectedError),
        (INSERT, 500, b"<html>oops RECORD_EXISTS</html>", UnexpectedError),
        (INSERT, 502, b"", UnavailableError),
        (INSERT, 503, b"RECORD_EXISTS", UnavailableError),
        (INSERT, 507, b"", UnavailableError),
        (INSERT, 511, b"", ForbiddenError),
        (INSERT, 408, b"", TimedOutError),
        (INSERT, 504, b"", TimedOutError),
        (UPDATE, 200, b"", None),
        (UPDATE, 200, b"<html>please log in</html>", UnprovenError),
        (UPDATE, 200, WARNING, UnprovenError),
        (UPDATE, 204, b"", UnprovenError),
        (UPDATE, 404, UNKNOWN, UnknownRecordError),
        (UPDATE, 404, NOT_FOUND, ForbiddenError),
        (UPDATE, 500, b"error returned from database", UnexpectedError),
        (QUERY, 200, b"", None),
        (QUERY, 400, b'{"error":"unknown field"}', RefusedError),
        (HEALTH, 200, b"", None),
        (HEALTH, 200, b"<html>please log in</html>", UnprovenError),
        (HEALTH, 500, b"", UnexpectedError),
    ],
)
def test_every_answer_has_one_meaning(
    request_: Request, status: int, body: bytes, meaning: type[AuditorError] | None
) -> None:
    """Only what proves storage is success; errors carry the status and the server's words."""
    if meaning is None:
        protocol.raise_for_answer(request_, Answer(status, FRAMED, body))
        return
    with pytest.raises(meaning) as caught:
        protocol.raise_for_answer(request_, Answer(status, FRAMED, body))
    assert type(caught.value) is meaning
    assert caught.value.status == status
    assert caught.value.words.startswith(body.decode(errors="replace")[:500])
    assert caught.value.words in str(caught.value)


@pytest.mark.parametrize("request_", [INSERT, UPDATE, HEALTH])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"connection": "close"},
        {"content-length": "0", "content-type": "text/html"},
    ],
)
def test_an_empty_success_that_an_auditor_would_not_give_proves_nothing(
    request_: Request, headers: dict[str, str]
) -> None:
    """Without a length it may have broken off; with a type it is somebody else's."""
    with pytest.raises(UnprovenError):
        protocol.raise_for_answer(request_, Answer(200, headers))


@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip", "br", "Deflate", "chunked", "\xff"])
@pytest.mark.parametrize("status", [200, 400, 403, 500, 503])
def test_an_encoding_that_was_not_asked_for_is_no_answer(encoding: str, status: int) -> None:
    """Nothing is unpacked: a bomb stays small."""
    headers = {**FRAMED, "content-encoding": encoding}
    with pytest.raises(ProtocolError, match="encoding"):
        protocol.raise_for_answer(INSERT, Answer(status, headers, b"x"))


@given(
    st.integers(100, 599), st.binary(max_size=300), st.sampled_from([INSERT, UPDATE, QUERY, HEALTH])
)
def test_no_answer_is_without_meaning(status: int, body: bytes, request_: Request) -> None:
    """Whatever comes back is success or an AuditorError; success has status 200."""
    try:
        protocol.raise_for_answer(request_, Answer(status, FRAMED, body))
    except AuditorError as error:
        assert error.status == status  # noqa: PT017 - the other outcome is checked below
    else:
        assert status == 200
        assert request_ is QUERY or not body


def test_the_servers_words_are_shortened() -> None:
    """A proxy's page of a megabyte does not fill the log."""
    with pytest.raises(UnexpectedError) as caught:
        protocol.raise_for_answer(INSERT, Answer(500, {}, b"<p>oops " * 100_000))
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize(
    ("headers", "expected_s"),
    [
        ({}, None),
        ({"retry-after": "120"}, 120),
        ({"retry-after": " 7 "}, 7),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "9" * 400}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        (
            {
                "retry-after": "Wed, 21 Oct 99999999999 07:28:00 GMT",
                "date": "Wed, 21 Oct 2026 07:28:00 GMT",
            },
            None,
        ),
        (
            {
                "retry-after": "Wed, 21 Oct 2026 07:28:00 GMT",
                "date": "Wed, 21 Oct 2026 07:27:30 GMT",
            },
            30,
        ),
        (
            {
                "retry-after": "Wed, 21 Oct 2026 07:28:00 GMT",
                "date": "Wed, 21 Oct 2026 08:00:00 GMT",
            },
            0,
        ),
    ],
)
def test_the_server_says_when_to_come_back(
    headers: dict[str, str], expected_s: float | None
) -> None:
    """`Retry-After` is seconds, or an instant of the server's own clock."""
    with pytest.raises(UnavailableError) as caught:
        protocol.raise_for_answer(INSERT, Answer(503, headers))
    assert caught.value.retry_after_s == expected_s


def read(answer: bytes, cuts: list[int]) -> list[Record]:
    """Decodes an answer that arrives in pieces."""
    decoder = AnswerDecoder()
    edges = sorted({0, len(answer), *(cut % (len(answer) + 1) for cut in cuts)})
    found = [
        record
        for start, end in itertools.pairwise(edges)
        for record in decoder.feed(answer[start:end])
    ]
    return [*found, *decoder.finish()]


@given(st.lists(records, max_size=4), st.lists(st.integers(0, 10_000), max_size=12))
def test_records_are_read_wherever_the_answer_is_cut(sent: list[Record], cuts: list[int]) -> None:
    """The pieces of an answer have nothing to do with its records."""
    assert read(b"".join(record.to_json().encode() for record in sent), cuts) == sent


@given(
    st.lists(
        st.text(st.sampled_from('}{"\\a[: ,'), min_size=1, max_size=12).filter(str.strip),
        min_size=1,
    ),
    st.lists(st.integers(0, 10_000), max_size=12),
)
def test_texts_that_look_like_the_end_of_a_record_do_not_end_it(
    texts: list[str], cuts: list[int]
) -> None:
    """`}{"a` in a name, however quoted, is a part of the name."""
    sent = [Record(text, START) for text in texts]
    assert read(b"".join(record.encode() for record in sent), cuts) == sent


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense",
        b"{}",
        b"[]",
        b'{"record_id":"r"',
        b'{"record_id":"r"}{"record_id":',
        b'{"record_id":"r","start_time":"2026-01-01T00:00:00"}',
        b'{"record_id":"r","start_time":"2026-01-01T00:00:00Z","meta":' + b"[" * 100_000,
        b'{"record_id":"acc\xe8s","start_time":"2026-01-01T00:00:00Z"}',
        b'{"record_id":"r","start_time":"0000-13-99T99:99:99Z"}',
        b'{"record_id":"r","start_time":1e999}',
    ],
)
def test_what_is_no_record_is_a_protocol_error(answer: bytes) -> None:
    """Also an answer that breaks off within a record."""
    with pytest.raises(ProtocolError):
        read(answer, [])


def test_an_answer_without_end_is_not_kept() -> None:
    """A thing that is longer than any record is an error before it fills the memory."""
    decoder = AnswerDecoder()
    chunks = itertools.repeat(b'{"record_id":"' + b"x" * 1_000_000)
    with pytest.raises(ProtocolError, match="too long for a record"):
        next(record for chunk in chunks for record in decoder.feed(chunk))


def test_records_of_others_are_read_though_we_would_not_send_them() -> None:
    """A stop before its start, 1970, components that the server cannot read."""
    (record,) = read(
        b'{"record_id":"r","meta":null,"components":null,"start_time":"1970-01-02T00:00:00Z",'
        b'"stop_time":"1970-01-01T00:00:00Z","runtime":-86400}',
        [],
    )
    assert record.runtime == -86400
    assert record.components == []


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8000",
        "ftp://x",
        "http://",
        "http://x:y",
        "http://x:0",
        "http://x:99999",
        "http://x/?a=b",
    ],
)
def test_an_address_is_checked_when_it_is_given(url: str) -> None:
    """Not at the first request."""
    with pytest.raises(ValueError, match="address"):
        protocol.check_address(url)


def test_a_path_of_the_address_is_kept() -> None:
    """A proxy may serve an Auditor under a path."""
    assert (
        protocol.check_address("https://proxy.example.org/auditor/")
        == "https://proxy.example.org/auditor"
    )


def test_the_protocol_does_no_io() -> None:
    """Importing it, and the package, loads no library for HTTP."""
    program = (
        "import sys, collector.auditor.protocol, collector.auditor.query;"
        "heavy = ('httpcore', 'ssl', 'starlette', 'asyncio');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
