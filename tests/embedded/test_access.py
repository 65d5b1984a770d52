"""Roles by certificate, with the real server's answers; and no web page of another site's."""

import contextlib
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from collector.auditor.client import AuditorClientBlocking, AuditorClientBuilder
from collector.auditor.errors import ForbiddenError, RecordExistsError, UnknownRecordError
from collector.embedded.access import read_roles
from collector.embedded.server import running
from collector.record import Record
from tests.helpers.auditor_server import running_auditor, start_auditor
from tests.helpers.certificates import Authority

ROLES = """
write_access_cn: [writer, both]
read_access_cn: [reader, both]
monitoring_role_cn: [prometheus]
"""
START = datetime(2026, 1, 31, 12, tzinfo=UTC)
RECORD = Record("a", START)

Client = Callable[[str], AuditorClientBlocking]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Makes a client with a certificate of a common name, for an Auditor with roles."""
    folder = tmp_path_factory.mktemp("roles")
    ca = Authority(folder)
    (folder / "roles.yaml").write_text(ROLES)
    certificate, key = ca.issue("server")
    options = (
        *("--tls-cert", str(certificate), "--tls-key", str(key), "--tls-ca", str(ca.certificate)),
        *("--roles", str(folder / "roles.yaml")),
    )
    made: list[AuditorClientBlocking] = []

    def client_of(name: str) -> AuditorClientBlocking:
        files = ca.issue(name)
        builder = AuditorClientBuilder().connection_string(auditor.url)
        made.append(builder.with_tls(*files, ca.certificate).build_blocking())
        return made[-1]

    with running_auditor(folder / "auditor.db", *options) as auditor:
        yield client_of
        for one in made:
            one.close()


ASKS: dict[str, Callable[[AuditorClientBlocking], object]] = {
    "add": lambda client: client.insert_encoded(RECORD.encode()),
    "add many": lambda client: client.bulk_insert([]),
    "update": lambda client: client.update_stop_time("nobody", START),
    "query": lambda client: next(client.stream_query("limit=1"), None),
    "read one": lambda client: client.get_single_record("a"),
    "health": lambda client: client.check(),
}
WRITES = ("add", "add many", "update")
READS = ("query", "read one")


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("writer", WRITES),
        ("reader", READS),
        ("both", (*WRITES, *READS)),
        ("prometheus", ()),
        ("stranger", ()),
    ],
)
def test_a_role_may_do_what_the_real_servers_may(
    name: str, allowed: tuple[str, ...], client: Client
) -> None:
    """Everything else is a 403; the health check is one for everybody."""
    with client("both") as first, contextlib.suppress(RecordExistsError):
        first.insert_encoded(RECORD.encode())
    asker = client(name)
    for what, ask in ASKS.items():
        if what in allowed:
            try:
                ask(asker)
            except (RecordExistsError, UnknownRecordError):
                continue
        else:
            with pytest.raises(ForbiddenError, match=r"403.*Insufficient permissions"):
                ask(asker)


def test_an_unknown_record_is_unknown_to_every_role_that_may_read(client: Client) -> None:
    """Though nobody may ask for the health, which tells it from an outage elsewhere."""
    for name in ("reader", "both"):
        with pytest.raises(UnknownRecordError):
            client(name).get_single_record("nobody has this")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("write_access: [a]", "unknown field `write_access`"),
        ("write_access_cn: a", "Expected `array`"),
        ("[1]", "Expected `object`"),
        ("a: [", "expected"),
        ("rbac_config: {enforce_rbac: false}", "enforce_rbac must be true"),
    ],
)
def test_a_file_of_roles_that_is_none_is_refused_at_the_start(
    tmp_path: Path, text: str, problem: str
) -> None:
    """Not taken for "no roles"."""
    path = tmp_path / "roles.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=problem):
        read_roles(path)


def test_the_section_of_the_real_servers_configuration_is_a_file_of_roles(tmp_path: Path) -> None:
    """With the rest of that key."""
    path = tmp_path / "roles.yaml"
    path.write_text("rbac_config:\n  enforce_rbac: true\n  write_access_cn: [collector]\n")
    assert read_roles(path).may("collector", "POST", "/records")


def test_roles_without_tls_are_refused(tmp_path: Path) -> None:
    """Nobody would have a name."""
    path = tmp_path / "roles.yaml"
    path.write_text(ROLES)
    with pytest.raises(AssertionError, match="did not start"):
        start_auditor(tmp_path / "a.db", "--roles", str(path), stderr=tmp_path / "log")
    assert "--roles needs --tls-cert" in (tmp_path / "log").read_text()
    assert stat.S_ISREG((tmp_path / "log").stat().st_mode)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("hosts") / "auditor.db") as address:
        yield address


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("[::1]:8000", 200),
        ("localhost", 200),
        ("auditor", 200),
        ("auditor:8000", 200),
        ("evil.example.org", 403),
        ("evil.example.org:8000", 403),
        ("127.0.0.1.evil.example.org", 403),
        ("a@evil.example.org", 403),
        ("[::1", 403),
    ],
)
def test_a_name_that_somebody_else_lets_point_here_is_not_answered(
    url: str, host: str, status: int
) -> None:
    """DNS rebinding: the browser thinks that it asks the page's own server."""
    answer = httpx.get(f"{url}/records", headers={"host": host})
    assert answer.status_code == status
    if status == 403:
        assert "--host NAME" in answer.text


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 200),
        ("http://auditor:8000", 200),
        ("http://AUDITOR:8000", 200),
        ("http://auditor:9000", 403),
        ("https://evil.example.org", 403),
        ("null", 403),
    ],
)
def test_a_page_of_another_origin_is_not_answered(
    url: str, origin: str | None, status: int
) -> None:
    """Browsers say where a page comes from; programs do not."""
    headers = {"host": "auditor:8000"} | ({} if origin is None else {"origin": origin})
    assert httpx.get(f"{url}/", headers=headers).status_code == status
    answer = httpx.post(f"{url}/records", headers=headers, json=[])
    assert answer.status_code == status


def test_a_name_that_is_given_is_answered(tmp_path: Path) -> None:
    """With `--host`."""
    with running_auditor(tmp_path / "a.db", "--host", "auditor.example.org") as auditor:
        for host, status in (("Auditor.Example.Org.", 200), ("other.example.org", 403)):
            answer = httpx.get(f"{auditor.url}/health_check", headers={"host": host})
            assert answer.status_code == status
