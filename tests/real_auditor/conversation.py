"""One scripted conversation with an Auditor: hundreds of requests, good ones and malformed ones.

`steps(token)` gives them in order; `hold(url, steps)` sends them and returns what was answered, in
a form that can be compared. The token makes all record ids, and the meta that every query asks
for, unique, so that the conversation can be repeated on a server that cannot delete.

`answers.txt` holds what the real server (release 0.11.2) answered, one digest a line. To record
another release: `python -m tests.real_auditor.conversation URL > tests/real_auditor/answers.txt`,
on an Auditor that has not heard the token "recorded" before.
"""

import hashlib
import http.client
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

LIMIT_BYTES = 2_097_152
START = "2021-12-06T16:29:43.079043Z"
STOP = "2021-12-06T18:00:00.079043Z"
JSON_TYPE = {"Content-Type": "application/json"}


@dataclass
class Step:
    """One request."""

    method: str
    target: str
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        body = "" if self.body is None else f" {self.body[:160]!r}"
        return f"{self.method} {self.target}{body} {self.headers or ''}".rstrip()


@dataclass
class Heard:
    """What was answered, without what may differ: dates, the order of meta keys, wording."""

    status: int
    kind: str
    body: Any


def record(record_id: Any, **changes: Any) -> dict[str, Any]:
    """A record as it travels; a change to `...` leaves the key out."""
    document = {
        "record_id": record_id,
        "meta": None,
        "components": [
            {"name": "CPU", "amount": 10, "scores": [{"name": "HEPSPEC06", "value": 9.2}]}
        ],
        "start_time": START,
        "stop_time": STOP,
        **changes,
    }
    return {key: value for key, value in document.items() if value is not ...}


def post(target: str, document: Any, method: str = "POST") -> Step:
    """A request with a body: JSON of a document, or bytes as they are."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return Step(method, target, body, JSON_TYPE)


def steps(token: str) -> Iterator[Step]:
    """The conversation."""
    yield from _routes()
    yield from _inserts(token)
    yield from _bodies(token)
    yield from _updates(token)
    yield from _bulk(token)
    yield from _queries(token)
    yield from _bad_queries(token)
    yield Step("GET", "/health_check")


def differences(token: str) -> list[tuple[str, Step, int, int]]:
    """Where the embedded Auditor answers otherwise on purpose: why, what, the real status, ours."""
    whole = record(f"{token}-different")
    text = json.dumps(whole).encode()
    return [
        (
            "it shows what it holds on a page",
            Step("GET", "/"),
            404,
            200,
        ),
        (
            "years after 9999 cannot be read by most clients",
            post("/record", whole | {"stop_time": "+10000-01-01T00:00:00Z"}),
            200,
            400,
        ),
        (
            "a list is no object; its order of fields is nowhere stated",
            post("/record", record(f"{token}-list", components=[["CPU", 1, []]])),
            200,
            400,
        ),
        (
            "of two equal keys the last counts, as nearly all of JSON's readers have it",
            post("/record", text.replace(b'"meta"', b'"record_id": "x", "meta"')),
            400,
            200,
        ),
    ]


def _routes() -> Iterator[Step]:
    for target in ("/health_check", "/nope", "/record", "/record/", "/record/a/b", "/records/"):
        yield Step("GET", target)
    for target in ("/health_check/", "//records", "/Records", "/record/%20", "/record/%00"):
        yield Step("GET", target)
    for method in ("HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        yield Step(method, "/health_check")
    for method in ("DELETE", "PATCH", "OPTIONS"):
        yield Step(method, "/record")
        yield Step(method, "/records")
    yield Step("PUT", "/records", b"[]", JSON_TYPE)
    yield Step("HEAD", "/records?limit=0")


_NAMES: list[Any] = [
    "plain", "with space", " lead", 'slash/()"<>\\{}', "ünïcode", "日本語", "tab\there", "x" * 256,
    "é" * 256, "e\u0301" * 256, "👨‍👩‍👧‍👦" * 256, "🇩🇪" * 256, "a\r\n" * 100, "\u200b", "\ufeff",
    "", " ", "\t\n", "\u00a0", "\u3000", "\x1c", "\x85", "x" * 257, "e\u0301" * 257,
    "👨‍👩‍👧‍👦" * 257, "🇩🇪" * 257,
    "한" * 257, "각" * 256, "각" * 257, "a\r\n" * 129, "nul\0", None, 5, True, [], {}, ...,
]  # fmt: skip
_AMOUNTS: list[Any] = [
    0, 1, 2**31 - 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -1, 1.0, 1.5, 1e3, "1", None, True,
    [], ...,
]  # fmt: skip
_VALUES: list[Any] = [
    0, 1, 1.5, 0.1, 1e-300, 1e22, 1e300, 9.2, 123456789.123456789, 2**60, 2**70, -1, -1e-9, -0.0,
    "1", None,
    True, [], ...,
]  # fmt: skip
_TIMES: list[Any] = [
    "2021-12-06T16:29:43Z", "2021-12-06T16:29:43.1Z", "2021-12-06T16:29:43.120Z",
    "2021-12-06T16:29:43.123456Z",
    "2021-12-06T16:29:43.1234564Z", "2021-12-06T16:29:43.1234567Z",
    "2021-12-06T16:29:43.123456789Z",
    "2021-12-06T16:29:43.1234567891234Z", "2021-12-06t16:29:43z", "2021-12-06 16:29:43Z",
    "2021-12-06 16:29:43 +00:00", "2021-12-06T16:29:43+00:00", "2021-12-06T16:29:43+05:30",
    "2021-12-06T16:29:43-00:00", "2021-12-06T16:29:43+0000", "2021-12-06T16:29:43+00",
    "2021-12-06T16:29:43",
    "2021-12-06", "2021-12-06T16:29Z", "2021-12-06T24:00:00Z", "2021-12-06T23:59:60Z",
    "2016-12-31T23:59:60Z",
    "2021-02-29T00:00:00Z", "2021-13-01T00:00:00Z", "1970-01-01T00:00:00Z",
    "1969-12-31T23:59:59.5Z",
    "1900-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z",
    "10000-01-01T00:00:00Z",
    "2021-12-06T16:29:43+24:00", "2021-12-06T16:29:43.Z", "", " ", 1638808183, 1.5,
    True, [], {},
]  # fmt: skip
_METAS: list[Any] = [
    None, {}, {"a": []}, {"a": ["b"]}, {"a": ["b", "b"]}, {"a": ["b", "c"], "d": ["e"]},
    {"ä/€": ["日本"]}, ...,
    {"a": None}, {"a": "b"}, {"a": [None]}, {"a": [1]}, {"a": [""]}, {"": ["b"]}, {" ": ["b"]},
    {"a": {}},
    {"a": ["x" * 257]}, {"x" * 257: ["b"]}, {"a": ["nul\0"]}, {"nul\0": ["b"]}, [], "text", 1,
    True, [["a", ["b"]]],
]  # fmt: skip


def _inserts(token: str) -> Iterator[Step]:
    """One record for every variation of every field; each is read back by its id."""
    numbers = iter(range(10_000))

    def both(**changes: Any) -> Iterator[Step]:
        record_id = f"{token}-{next(numbers)}"
        yield post("/record", record(record_id, **changes))
        yield Step("GET", f"/record/{record_id}")

    for name in _NAMES:
        yield from both(components=[_without({"name": name, "amount": 1, "scores": []})])
        score = _without({"name": name, "value": 1.0})
        yield from both(components=[{"name": "CPU", "amount": 1, "scores": [score]}])
        if not isinstance(name, str):
            yield post("/record", record(name))
            continue
        repeated = (256, 257) if len(name) > 200 else (0,)
        for length in repeated:
            record_id = (
                f"{token}{name[:1] * (length - len(token))}" if length else f"{token} {name}"
            )
            yield post("/record", record(record_id))
            yield Step("GET", f"/record/{quote(record_id, safe='')}")
    for amount in _AMOUNTS:
        yield from both(components=[_without({"name": "CPU", "amount": amount, "scores": []})])
    for value in _VALUES:
        score = _without({"name": "HS", "value": value})
        yield from both(components=[{"name": "CPU", "amount": 1, "scores": [score]}])
    for time in [*_TIMES, None, ...]:
        yield from both(start_time=time, stop_time="9999-12-31T23:59:59Z")
        yield from both(stop_time=time, start_time="2021-12-06T16:29:43.9Z")
    for meta in _METAS:
        yield from both(meta=meta)
    components: Any
    scores: Any
    for components in (None, ..., [], {}, "x", [None], [[]], [{}], [1]):
        yield from both(components=components)
    for scores in (None, ..., {}, "x", [None], [[]], [1]):
        component = _without({"name": "CPU", "amount": 1, "scores": scores})
        yield from both(components=[component])
    yield from both(
        unknown=1, runtime=7, components=[{"name": "C", "amount": 1, "scores": [], "x": 1}]
    )
    yield from both(components=[{"name": f"C{n}", "amount": n, "scores": []} for n in range(50)])
    again = record(f"{token}-again")
    yield post("/record", again)
    yield post("/record", again)
    yield post("/record", again | {"stop_time": None, "meta": {"other": ["x"]}})
    yield Step("GET", f"/record/{token}-again")


def _bodies(token: str) -> Iterator[Step]:
    """Bodies that are no records, and bodies that are, in other clothes."""
    whole = json.dumps(record(f"{token}-body")).encode()
    bodies = [
        b"", b" ", b"null", b"1", b'"x"', b"[]", b"{}", b"{", b"}", b"nonsense", whole[:-1],
        whole + b"x",
        whole + b"}", whole + whole, b"\xef\xbb\xbf" + whole, whole.replace(b"CPU", b"\xff\xfe"),
        whole.replace(b"CPU", b"\\ud800"), whole.replace(b"CPU", b"\\ud83d\\ude00x", 1) + b"!",
        whole.replace(b'"meta": null', b'"meta": {"a": ["1"], "a": ["2"]}').replace(b"-body",
        b"-twice"),
        whole.replace(b"10", b"010"), whole.replace(b"10", b"1_0"), whole.replace(b"10", b"+10"),
        whole.replace(b"10", b"NaN"), whole.replace(b"9.2", b"NaN"), whole.replace(b"9.2",
        b"Infinity"),
        whole.replace(b"9.2", b"1e309"), whole.replace(b"9.2", b".5"), whole.replace(b"9.2", b"5."),
        whole.replace(b"10", b"1" * 400), b"[" * 500 + b"]" * 500, b"[" * 100_000, b'{"a":' * 300,
        b"// comment\n" + whole, whole.replace(b"}", b",}"), b"a" * (LIMIT_BYTES + 1),
    ]  # fmt: skip
    for body in bodies:
        yield post("/record", body)
        yield post("/records", body)
        yield post("/record", body, "PUT")
    yield post("/record", b" \n\t" + whole + b"\r\n ")
    yield Step("GET", f"/record/{token}-body")
    for number, kind in enumerate(
        (None, "", "text/plain", "application/json; charset=utf-8", "APPLICATION/JSON",
        "application/x",
         "application/problem+json", "text/json", "application/json;", "json", "application/*")
    ):  # fmt: skip
        body = json.dumps(record(f"{token}-kind-{number}")).encode()
        yield Step("POST", "/record", body, {} if kind is None else {"Content-Type": kind})
        yield Step("GET", f"/record/{token}-kind-{number}")
    for number, length in enumerate((LIMIT_BYTES - 1, LIMIT_BYTES, LIMIT_BYTES + 1)):
        body = json.dumps(record(f"{token}-size-{number}")).encode()
        yield post("/record", body + b" " * (length - len(body)))
        yield Step("GET", f"/record/{token}-size-{number}")
        chunked = json.dumps(record(f"{token}-chunked-{number}")).encode()
        yield Step(
            "POST",
            "/record",
            chunked + b" " * (length - len(chunked)),
            JSON_TYPE | {"Transfer-Encoding": "chunked"},
        )
        yield Step("GET", f"/record/{token}-chunked-{number}")


def _updates(token: str) -> Iterator[Step]:
    """Stop times that come later."""
    open_id = f"{token}-open"
    yield post("/record", record(open_id, stop_time=None, meta={"n": ["open"]}))
    yield Step("GET", f"/record/{open_id}")
    yield post("/record", record(f"{token}-unknown"), "PUT")
    yield post("/record", record('wäre/"neu" <b>'), "PUT")
    for time in [*_TIMES, None, ..., STOP]:
        yield post("/record", record(open_id, stop_time=time), "PUT")
        yield Step("GET", f"/record/{open_id}")
    changes: dict[str, Any]
    for changes in (
        {"components": ...}, {"components": None}, {"components": [{}]}, {"meta": ...},
        {"meta": {"a": 1}},
        {"meta": {"x": ["y"]}, "components": []}, {"start_time": ...}, {"start_time": "x"},
        {"start_time": None},
        {"record_id": ...}, {"record_id": ""}, {"record_id": "nul\0"}, {"runtime": 1},
        {"stop_time": START},
    ):  # fmt: skip
        yield post("/record", _without(record(open_id) | changes), "PUT")
        yield Step("GET", f"/record/{open_id}")
    yield post("/record", [record(open_id)], "PUT")


def _bulk(token: str) -> Iterator[Step]:
    """All or nothing."""

    def numbered(*numbers: int, **changes: Any) -> list[dict[str, Any]]:
        return [record(f"{token}-bulk-{number}", **changes) for number in numbers]

    def read(*numbers: int) -> Iterator[Step]:
        for number in numbers:
            yield Step("GET", f"/record/{token}-bulk-{number}")

    yield post("/records", [])
    yield post("/records", numbered(1, 2, 3))
    yield post("/records", numbered(4, 2, 5))
    yield post("/records", numbered(6, 6))
    yield post("/records", [*numbered(7), record(f"{token}-bad", start_time="x"), *numbered(8)])
    yield post("/records", [*numbered(9), record(f"{token}-nul\0")])
    yield post("/records", [*numbered(10), record(f"{token}-bulk-11", meta={"a": ["x\0"]})])
    yield post("/records", [*numbered(12), None])
    yield post("/records", numbered(13, stop_time=None, meta={"ä": ["ö"]}, components=[]))
    yield from read(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13)
    yield post("/records", numbered(*range(100, 1100)))
    yield from read(100, 1099)
    bodies = json.dumps(numbered(2000)).encode()
    yield post("/records", bodies[:-1] + b" " * (LIMIT_BYTES + 1 - len(bodies)) + b"]")
    yield from read(2000)


def stored(token: str) -> list[dict[str, Any]]:
    """Records that the queries are asked about."""
    documents = []
    for number in range(24):
        hour = f"{number:02d}"
        components = [
            {"name": "CPU", "amount": number, "scores": [{"name": "HS", "value": number / 4}]},
            {"name": "MEM", "amount": 1000 - number, "scores": []},
        ]
        documents.append(
            record(
                f"{token}-q-{(number * 7) % 24:02d}",
                meta={
                    "run": [token],
                    "site_id": ["site1"] if number % 2 else ["site2", "site3"],
                    "user id/ä": [f"user {number % 5}&=?"],
                    "empty": [],
                }
                | ({"only": ["here"]} if number % 3 == 0 else {}),
                components=components if number % 4 else components[::-1],
                start_time=f"2022-01-01T{hour}:00:00Z",
                stop_time=None if number % 6 == 5 else f"2022-01-02T{23 - number:02d}:00:00.5Z",
            )
        )
    documents.append(record(f"{token}-q-none", meta={"run": [token]}, components=[]))
    return documents


def _queries(token: str) -> Iterator[Step]:
    """Every operator, alone and together; the answer's order counts."""
    yield post("/records", stored(token))
    ours = f"meta[run][c][0]={token}"
    for line in _lines("conditions.txt"):
        condition = line.replace("%TOKEN%", token)
        order = "sort_by[asc]=record_id"
        yield Step("GET", "/records?" + "&".join(filter(None, (ours, condition, order))))
    for order in _lines("orders.txt"):
        yield Step(
            "GET", f"/records?{ours}&{order}" if order else f"/records?{ours}&runtime[gte]=0"
        )


def _bad_queries(token: str) -> Iterator[Step]:
    """Queries that are none, or nearly; harmless ones are limited to nothing."""
    for query in _lines("bad_queries.txt"):
        # what is taken for "no condition" would answer with the whole database
        yield Step("GET", f"/records?meta[run][c][0]={token}-nobody&{query}")


def _rounded(document: dict[str, Any]) -> dict[str, Any]:
    """Takes values of scores as floats; the server reads …12345679 as …1234568, one place away."""
    if "value" in document:
        document["value"] = float(f"{document['value']:.14g}")
    return document


def _lines(name: str) -> list[str]:
    return (Path(__file__).parent / name).read_text(encoding="utf-8").splitlines()


def _without(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if value is not ...}


def digest(heard: Heard) -> str:
    """An answer in one short line: the status, and a digest of the rest."""
    rest = json.dumps([heard.kind, heard.body], sort_keys=True).encode()
    return f"{heard.status} {hashlib.sha256(rest).hexdigest()[:16]}"


def hold(url: str, conversation: list[Step]) -> list[Heard]:
    """Sends the steps, one after the other, and returns what was answered."""
    parts = urlsplit(url)
    assert parts.hostname
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    try:
        return [_send(connection, step) for step in conversation]
    finally:
        connection.close()


def _send(connection: http.client.HTTPConnection, step: Step) -> Heard:
    chunked = "Transfer-Encoding" in step.headers
    body = iter([step.body]) if chunked and step.body is not None else step.body
    try:
        connection.request(step.method, step.target, body, step.headers, encode_chunked=chunked)
        response = connection.getresponse()
        text = response.read()
    except (BrokenPipeError, ConnectionResetError):
        # a body that is too long may be refused before it was read
        connection.close()
        return Heard(413, "", None)
    if response.status >= 400:
        connection.close()  # a refused body may leave its rest on the connection
    kind = response.getheader("content-type", "")
    return Heard(response.status, kind, _comparable(kind, response.status, text))


def _comparable(kind: str, status: int, text: bytes) -> Any:
    if status == 200 and kind == "application/json":
        decoder = json.JSONDecoder(object_hook=_rounded)
        documents: list[Any] = []
        position = 0
        string = text.decode()
        while position < len(string):
            document, position = decoder.raw_decode(string, position)
            documents.append(document)
        return documents
    if status in {400, 413}:
        # the wording of a parser's complaint is its own; what it complains about is compared
        if text.startswith(b'{"error":'):
            return "error in the query"
        return re.split(r"[:(]", text.decode(errors="replace"))[0].strip()
    return text.decode(errors="replace")


if __name__ == "__main__":
    for answer in hold(sys.argv[1], list(steps("recorded"))):
        print(digest(answer))
