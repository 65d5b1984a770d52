"""With pseudonyms, no user's name leaves the mapping, as docs/mapping.md and security.md say."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from collector.config import mapping_of, parse, pseudonyms
from collector.record import Meta, Record
from collector.source import Source, find_plugin
from collector_slurm.section import SlurmSection
from tests.helpers.auditor_server import RunningAuditor
from tests.helpers.example_plugin import FIRST_START
from tests.helpers.site import Site, end, eventually
from tests.htcondor import cases as htcondor
from tests.operation.manager import service
from tests.slurm import standin as slurm

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLE = next(
    block
    for block in re.findall(r"```yaml\n(.*?)```", (DOCS / "mapping.md").read_text(), re.DOTALL)
    if "pseudonym: true" in block
)
KEYS = ("a" * 43 + "=", "b" * 43 + "=")


def site_with(folder: Path, url: str) -> Site:
    """A site whose users stand under pseudonyms."""
    site = Site(folder, url, more=f"pseudonym_key: {folder / 'key'}\n")
    rule = "mapping: {meta: {user: {field: user, pseudonym: true}}}"
    site.config.write_text(
        site.config.read_text().replace("interval_s: 0.1, log", f"interval_s: 0.1, {rule}, log")
    )
    write_key(site, KEYS[0])
    return site


@pytest.fixture
def site(tmp_path: Path, auditor: RunningAuditor) -> Site:
    return site_with(tmp_path, auditor.url)


def write_key(site: Site, key: str) -> None:
    file = site.folder / "key"
    file.touch(mode=0o600)
    file.write_text(key)


def users(auditor: RunningAuditor) -> dict[str, list[str]]:
    with auditor.client() as client:
        return {one.record_id: (one.meta or {})["user"] for one in client.stream_query()}


def under(key: str, text: str) -> list[str]:
    return [pseudonyms.keyed(key.encode())(text)]


def on_disk(site: Site) -> bytes:
    """Everything that the outbox has on disk."""
    return b"".join(path.read_bytes() for path in sorted(site.folder.glob("outbox.db*")))


def test_the_name_is_nowhere_behind_the_mapping(site: Site, auditor: RunningAuditor):
    """Not in the Auditor, not in the outbox, not in the log, not in what was refused."""
    with auditor.client() as client:  # another run, so that ours is refused, and kept
        client.add(Record("jobs-1", FIRST_START, FIRST_START, Meta({"user": ["x"]}), []))
    site.log(1, 2, user="alice")
    with service(site) as (process, _):
        eventually(lambda: "record rejected" in site.said())
        eventually(lambda: len(users(auditor)) == 2)
        assert b"alice" not in on_disk(site)
        assert end(process) == 0
    assert users(auditor) == {"jobs-1": ["x"], "jobs-2": under(KEYS[0], "alice")}
    shown = site.run("rejected", "show", "--source", "jobs").stdout
    assert under(KEYS[0], "alice")[0] in shown
    assert "alice" not in site.said() + shown


def test_a_job_that_cannot_be_mapped_keeps_its_text(site: Site):
    """So the page says: it is needed to try the job again."""
    site.log(1, user="alice", cores=-1)
    with service(site) as (process, _):
        eventually(lambda: '"unmappable": 1' in site.said())
        assert end(process) == 0
    assert b"alice" in on_disk(site)
    assert "alice" not in site.said()


def test_every_command_gives_the_same_records(site: Site, auditor: RunningAuditor):
    """Dry run, backfill and reconcile make the records that the daemon sent."""
    period = ("--since", "2026-01-01", "--until", "2026-01-02")
    site.log(1, 2, user="alice")
    dry = site.run("backfill", *period, "--dry-run")
    assert dry.returncode == 0
    assert "alice" not in dry.stdout
    assert site.run("backfill", *period).returncode == 0
    assert set(map(tuple, users(auditor).values())) == {tuple(under(KEYS[0], "alice"))}
    agreed = site.run("reconcile", *period)
    assert (agreed.returncode, "2  equal" in agreed.stdout) == (0, True), agreed.stdout


def test_a_known_user_is_found_and_so_is_the_user_of_a_pseudonym(
    site: Site, auditor: RunningAuditor
):
    """The commands of docs/operation.md, with the key; the records are theirs alone."""
    site.log(1, 3, user="alice")
    site.log(2, user="bob")
    assert site.run("backfill", "--since", "2026-01-01", "--until", "2026-01-02").returncode == 0
    (alice,) = under(KEYS[0], "alice")
    found = site.run("pseudonym", "alice").stdout.strip()
    assert found == alice
    page = (DOCS / "operation.md").read_text()
    lines = re.search(r"## Who is who.*?```sh\n(.*?)```", page, re.DOTALL)
    assert lines is not None
    of_user, of_pseudonym = lines[1].splitlines()
    command = f"{sys.executable} -m collector"
    environ = {
        **os.environ,
        "PYTHONPATH": str(site.folder),
        "AUDITOR_COLLECTOR_CONFIG": str(site.config),
    }
    for line, wanted in (
        (f"{of_user} --url {auditor.url} --format json", ["jobs-1", "jobs-3"]),
        (
            of_pseudonym.replace("getent passwd", "printf 'alice:x:1\\nbob:x:2\\n'"),
            [f"{alice}  alice"],
        ),
    ):
        text = re.sub(r"\b7ddbe\w+", alice, line).replace("auditor-collector", command)
        said = subprocess.run(
            ["sh", "-c", text], env=environ, capture_output=True, text=True, timeout=60, check=True
        ).stdout
        assert [
            one for one in ("jobs-1", "jobs-2", "jobs-3", f"{alice}  alice") if one in said
        ] == wanted


@pytest.mark.parametrize(
    ("mode", "key", "words"),
    [(0o644, KEYS[0], "mode is 0644"), (0o600, "short", "expected 32 or more")],
)
def test_a_wrong_key_ends_every_command_that_makes_records(
    tmp_path: Path, mode: int, key: str, words: str
):
    """With 78, before anything is written; the status needs no key."""
    site = site_with(tmp_path, "http://127.0.0.1:9")
    write_key(site, key)
    (tmp_path / "key").chmod(mode)
    period = ("--since", "2026-01-01", "--until", "2026-01-02")
    commands = (
        ("run",),
        ("check", "--offline"),
        ("pseudonym", "a"),
        ("backfill", *period, "--dry-run"),
    )
    for command in commands:
        process = site.run(*command)
        assert process.returncode == 78, command
        assert words in process.stderr
        assert key not in process.stderr
    assert not (tmp_path / "outbox.db").exists()


def test_the_key_of_a_credential_is_taken(tmp_path: Path, auditor: RunningAuditor):
    """As systemd gives it, without a word in the configuration; without it, exit status 78."""
    site = site_with(tmp_path, auditor.url)
    site.config.write_text(site.config.read_text().replace("pseudonym_key", "# pseudonym_key"))
    (tmp_path / "key").rename(tmp_path / "pseudonym-key")
    site.log(1, user="alice")
    process = site.run("run")
    assert process.returncode == 78
    assert "sources[0].mapping.meta.user: there is no key for pseudonyms" in process.stderr
    with service(site, CREDENTIALS_DIRECTORY=str(tmp_path)) as (running, _):
        eventually(lambda: users(auditor) == {"jobs-1": under(KEYS[0], "alice")})
        assert end(running) == 0


def test_a_reload_takes_a_new_key_or_keeps_the_old_one(site: Site, auditor: RunningAuditor):
    """A wrong key changes nothing, and the journal says why."""
    with service(site) as (process, manager):
        manager.hear_until(lambda said: "READY" in said)
        write_key(site, "short")
        process.send_signal(signal.SIGHUP)
        manager.hear_until(lambda said: "old one stays" in said.get("STATUS", ""))
        site.log(1, user="alice")
        eventually(lambda: users(auditor) == {"jobs-1": under(KEYS[0], "alice")})
        write_key(site, KEYS[1])
        manager.forget()
        process.send_signal(signal.SIGHUP)
        manager.hear_until(lambda said: said.get("STATUS") == "starting: 1 source")
        site.log(2, user="alice")
        eventually(lambda: users(auditor).get("jobs-2") == under(KEYS[1], "alice"))
        assert end(process) == 0
    assert "has 5 bytes; expected 32 or more" in site.said()


NAMED = re.compile(r"alice|bob|carol|dave|nobody|root|by \d", re.IGNORECASE)


def test_with_the_example_no_record_of_real_accounting_names_a_user(tmp_path: Path):
    """docs/mapping.md's rules on the captured jobs of both schedulers; by the defaults, all do."""
    pseudonym = pseudonyms.keyed(KEYS[0].encode())
    ap1, lab = parse(EXAMPLE, find_plugin).sources
    assert isinstance(lab, SlurmSection)
    lab.sacct = slurm.standin(tmp_path)
    for section in (ap1, lab):
        plugin = find_plugin(section.plugin)
        bare = type(section)(name="bare", plugin=section.plugin, record_prefix="bare")
        default, mapping = mapping_of(bare, plugin), mapping_of(section, plugin, pseudonym)
        fields = frozenset(default.fields | mapping.fields)
        if section is lab:
            source: Source = plugin(section, slurm.quiet(slurm.CAPTURED_AT, fields))
        else:
            source = htcondor.source_of("pool", fields)
        jobs = slurm.jobs(source.poll(None)).values()
        assert all(NAMED.search(str(default.record(job).meta)) for job in jobs)
        found = {text for job in jobs for text in texts_of(mapping.record(job))}
        assert not [text for text in found if NAMED.search(text)]
        assert {pseudonym("labalice"), pseudonym("labbob")} <= found
        assert section is ap1 or {"COMPLETED", "CANCELLED"} <= found


def texts_of(record: Record) -> set[str]:
    """All that its meta says."""
    return {text for texts in (record.meta or {}).values() for text in texts}
