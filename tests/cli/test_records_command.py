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

import pytest
from click.testing import CliRunner, Result

from collector.auditor import AuditorClientBuilder, Component, Meta, Record
from collector.cli.records import command
from collector.embedded.server import running
from tests.helpers.certificates import Authority

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


def test_csv_has_a_row_for_each_record(url: str) -> None:
    """Commas and line ends in a record stay in their cell."""
    rows = list(csv.DictReader(io.StringIO(ask(url, "--format", "csv").stdout)))
    assert [row["record_id"] for row in rows][-1] == "open"
    assert len(rows) == 9
    assert rows[3]["runtime_s"] == "10800"
    assert rows[3]["components"] == "Cores=3"


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
