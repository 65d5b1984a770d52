"""`records` asks an Auditor from the command line."""

import csv
import io
import json
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.auditor import AuditorClientBuilder, Component, Meta, Record, Score
from collector.cli.records import command
from collector.cli.records_csv import write_csv
from collector.embedded.server import running
from tests.helpers.certificates import Authority
from tests.helpers.records import amounts, names, values

START = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """An Auditor with some records."""
    with (
        running(tmp_path / "auditor.db") as address,
        AuditorClientBuilder().connection_string(address).build_blocking() as client,
    ):
        client.bulk_insert(
            Record(f"r{number}", START + timedelta(hours=number))
            .with_component(Component("Cores", number))
            .with_meta(
                Meta().insert("site_id", [f"site{number % 2}"]).insert("x", ["a\x1b[31m,\nb"])
            )
            .with_stop_time(START + timedelta(hours=2 * number))
            for number in range(8)
        )
        client.add(Record("open", START))
        yield address


def ask(url: str, *arguments: str) -> Result:
    """Runs the command."""
    return CliRunner().invoke(command, ["--url", url, *arguments])


def ids(url: str, *arguments: str) -> list[str]:
    """The ids of the records that are found."""
    done = ask(url, "--format", "json", *arguments)
    assert done.exit_code == 0, done.output
    return [json.loads(line)["record_id"] for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "r0 r1 r2 r3 r4 r5 r6 r7 open"),
        (["--since", "2026-01-31T16:00:00Z", "--until", "2026-01-31T21:00:00+01:00"], "r2 r3"),
        (["--until", "2026-02-01"], "r0 r1 r2 r3 r4 r5"),
        (["--started-since", "2026-01-31T18:00:00Z"], "r6 r7"),
        (["--started-until", "2026-01-31T13:00:00Z"], "r0 open"),
        (["--meta", "site_id=site1"], "r1 r3 r5 r7"),
        (["--meta", "site_id!=site1"], "r0 r2 r4 r6"),
        (["--component", "Cores>=6"], "r6 r7"),
        (["--component", "Cores = 3"], "r3"),
        (["--component", "Cores<2", "--meta", "site_id=site1"], "r1"),
        (["--id", "r4"], "r4"),
        (["--sort", "-record_id", "--limit", "2"], "r7 r6"),
        (["--sort", "start_time", "--limit", "2"], "r0 open"),
    ],
)
def test_conditions_select(url: str, arguments: list[str], expected: str) -> None:
    """Each option is one condition; all have to hold."""
    assert ids(url, *arguments) == expected.split()


def test_a_table_is_for_people(url: str) -> None:
    """Columns are aligned, and nothing in a record can command the terminal."""
    done = ask(url, "--meta", "site_id=site1")
    lines = done.stdout.splitlines()
    assert lines[0].split() == [
        "record_id",
        "start_time",
        "stop_time",
        "runtime_s",
        "meta",
        "components",
    ]
    assert len(lines) == 5
    assert "2026-01-31T13:00:00+00:00" in lines[1]
    assert "\x1b" not in done.stdout
    assert done.stderr == "4 records\n"


def test_csv_has_a_row_for_each_record_and_a_column_for_each_key(url: str) -> None:
    """As a spreadsheet wants them; what a terminal would obey is escaped in its cell."""
    done = ask(url, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["record_id"] for row in rows][-1] == "open"
    assert len(rows) == 9
    assert rows[3] == {
        "record_id": "r3",
        "start_time": "2026-01-31T15:00:00Z",
        "stop_time": "2026-01-31T18:00:00Z",
        "runtime_s": "10800",
        "meta:site_id": "site1",
        "meta:x": json.dumps(["a\x1b[31m,\nb"]),
        "component:Cores": "3",
    }
    assert rows[8]["runtime_s"] == rows[8]["stop_time"] == rows[8]["meta:site_id"] == ""
    assert "\x1b" not in done.stdout


def read_back(text: str) -> Any:
    """A cell, as docs/usage.md says: JSON if it begins with `[`, else a text after its mark."""
    if not text or text.startswith("["):
        return json.loads(text) if text else None
    return [text.removeprefix("'")]


dangerous = st.sampled_from(
    ["=cmd|' /C calc'!A0", "+1", "-2+3", "@SUM(1)", "'=x", "[1]", " =1", "a;b"]
)
texts = dangerous | names


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            texts,
            st.dictionaries(texts, st.lists(texts, max_size=2), max_size=3),
            st.dictionaries(texts, st.tuples(amounts, st.dictionaries(texts, values, max_size=2)),
                            max_size=2),
        ),
        max_size=5,
    )
)  # fmt: skip
def test_every_cell_of_a_csv_can_be_read_back_and_none_is_a_formula(
    contents: list[tuple[str, dict[str, list[str]], dict[str, tuple[int, dict[str, float]]]]],
) -> None:
    """Whatever users put into keys and values."""
    records = [
        Record(
            record_id,
            START,
            None,
            Meta(meta),
            [
                Component(name, amount, [Score(one, value) for one, value in scores.items()])
                for name, (amount, scores) in components.items()
            ],
        )
        for record_id, meta, components in contents
    ]
    out = io.StringIO()
    write_csv(records, out)
    header, *rows = csv.reader(io.StringIO(out.getvalue()))
    assert len(set(header)) == len(header)
    assert len(rows) == len(records)
    for row, record in zip(rows, records, strict=True):
        for cell in [*header, *row]:
            assert not cell.lstrip().startswith(("=", "+", "-", "@"))
        cells = {
            read_back(title)[0]: read_back(cell) for title, cell in zip(header, row, strict=True)
        }
        assert cells["record_id"] == [record.record_id]
        for key, found in (record.meta or {}).items():
            assert cells[f"meta:{key}"] == found
        for component in record.components:
            assert cells[f"component:{component.name}"] == [str(component.amount)]
            quoted = component.name.replace("%", "%25").replace(":", "%3A")
            for score in component.scores:
                (value,) = cells[f"score:{quoted}:{score.name}"]
                assert float(value) == score.value


def test_a_csv_has_no_more_columns_than_a_spreadsheet() -> None:
    """It says so, and prints nothing."""
    many = [Record("r", START, None, Meta({f"k{number}": ["x"] for number in range(16_381)}))]
    out = io.StringIO()
    with pytest.raises(click.ClickException, match="16384 columns"):
        write_csv(many, out)
    assert not out.getvalue()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--since", "yesterday"], "yesterday"),
        (["--since", "2026-01-31T12:00:00"], "2026-01-31T12:00:00"),
        (["--meta", "site1"], "expected KEY=VALUE"),
        (["--component", "Cores"], "expected for example Cores>=8"),
        (["--sort", "meta"], "cannot sort by 'meta'"),
        (["--url", "127.0.0.1"], "expected http://HOST:PORT"),
        (["--tls-key", "key.pem"], "belong together"),
    ],
)
def test_mistakes_are_reported_before_anything_is_sent(
    url: str, arguments: list[str], words: str
) -> None:
    """Exit status 2, and what was expected."""
    done = ask(url, *arguments)
    assert done.exit_code == 2
    assert words in done.output


def test_an_auditor_that_is_away_is_told() -> None:
    """Exit status 1, and its address."""
    done = ask("http://127.0.0.1:9")
    assert done.exit_code == 1
    assert "http://127.0.0.1:9" in done.output


def test_the_auditor_of_a_configuration_is_asked(url: str, tmp_path: Path):
    """With `--config`; `--url` beside it would be a second answer to one question."""
    config = tmp_path / "config.yaml"
    config.write_text(
        "sources: [{name: a, plugin: slurm, record_prefix: a}]\n"
        f"outbox: {{path: {tmp_path}/outbox.db}}\nauditor: {{url: '{url}'}}\n"
    )
    done = CliRunner().invoke(command, ["--config", str(config), "--limit", "2"])
    assert (done.exit_code, done.stderr) == (0, "2 records\n")
    done = ask(url, "--config", str(config))
    assert done.exit_code == 2
    assert "give it alone" in done.output
    config.write_text("sources: []\n")
    assert CliRunner().invoke(command, ["--config", str(config)]).exit_code == 78


def test_the_ca_of_the_server_alone_is_enough(tmp_path: Path):
    """For a server with a certificate of the site's own CA that wants none of ours."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    class Empty(BaseHTTPRequestHandler):
        """An Auditor without records."""

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            if self.path.startswith("/records"):
                self.send_header("Content-Type", "application/json")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Empty) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"https://127.0.0.1:{server.server_port}"
        done = ask(url, "--tls-ca", str(authority.certificate))
        assert (done.exit_code, done.stderr) == (0, "0 records\n"), done.output
        assert ask(url).exit_code == 1
        server.shutdown()
    assert ask(url, "--tls-cert", str(certificate)).exit_code == 2
