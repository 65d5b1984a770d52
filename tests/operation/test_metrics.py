"""What monitoring sees is what is: the page, the textfile, the docs, the rules, the dashboard."""

import contextlib
import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest
import structlog
import yaml
from prometheus_client.parser import text_string_to_metric_families

from collector.clock import utc_now
from collector.config import MetricsSection
from collector.daemon.health import Reload
from collector.metrics import Metrics, Sight
from collector.outbox import (
    Intake,
    Outbox,
    SenderState,
)
from collector.record import Component, Record
from collector.source import Lag
from tests.helpers.auditor_server import RunningAuditor, start_auditor
from tests.helpers.example_plugin import FIRST_START
from tests.helpers.site import LIMIT_S, NOBODY, Site, end, eventually
from tests.operation.manager import service
from tests.operation.watched import Watched, free_port, samples

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def site(tmp_path: Path, auditor: RunningAuditor) -> Watched:
    return Watched(tmp_path, auditor.url)


def test_every_job_is_in_the_counters(site: Watched):
    """Read, put, sent, rejected; they survive a restart."""
    site.log(*range(10))
    site.log(99, cores=-1)
    for _ in range(2):
        with service(site) as (process, _):
            eventually(
                lambda: (
                    (seen := site.samples()).get(("auditor_collector_sender_state", "idle")) == 1
                    and seen["auditor_collector_records_sent_total", "poll,jobs"] == 10
                    and seen["auditor_collector_polls_total", "ok,jobs"] >= 1
                )
            )
            seen = site.samples()
            assert end(process) == 0
        assert seen["auditor_collector_jobs_read_total", "poll,jobs"] == 11
        assert seen["auditor_collector_records_queued_total", "poll,jobs"] == 10
        assert seen["auditor_collector_jobs_unmappable_total", "poll,jobs"] == 1
        assert seen["auditor_collector_rejected_records", "unmappable"] == 1
        assert seen["auditor_collector_waiting_records", ""] == 0
        assert seen["auditor_collector_polls_total", "ok,jobs"] >= 1
        assert seen["auditor_collector_polls_total", "failed,jobs"] == 0
        assert seen["auditor_collector_poll_seconds_count", "jobs"] >= 1
        assert seen["auditor_collector_sender_state", "idle"] == 1
        assert seen["auditor_collector_healthy", ""] == 1


def test_each_outcome_has_its_counter(site: Watched, auditor: RunningAuditor):
    """One job for each thing that can become of it: queued, merged, stop queued, filtered, …"""
    with (site.folder / "my_package.py").open("a") as plugin:  # a job whose end is its start runs
        plugin.write(
            "\n_parse = JsonLinesSource.parse\n"
            "def parse(self, raw, where):\n"
            "    job = _parse(self, raw, where)\n"
            "    if isinstance(job, Job) and job.stop_at == job.start_at:\n"
            "        job.stop_at = None\n"
            "    return job\n"
            "JsonLinesSource.parse = parse\n"
        )
    first = int(FIRST_START.timestamp())
    text = site.config.read_text()
    site.config.write_text(text.replace("prefix: jobs,", "prefix: jobs, since: 2026-01-01,"))
    with auditor.client() as client:
        for number, amount in ((2, 2), (3, 3)):
            start = FIRST_START + timedelta(seconds=number)
            stop, cores = start + timedelta(seconds=60), Component("Cores", amount)
            client.add(Record(f"jobs-{number}", start, stop, None, [cores]))
    site.log(1, 2, 3)
    site.log(4, cores=-1)
    site.log(5, start=first - 100, end=first - 50)
    site.log(6, end=first + 6)
    site.log(6)
    site.log(7, end=first + 7)
    with service(site) as (process, _):

        def count(outcome: str) -> float:
            return site.samples().get((f"auditor_collector_{outcome}_total", "poll,jobs"), -1)

        eventually(lambda: (count("records_sent"), count("records_colliding")) == (3, 1))
        site.log(7)
        site.log(1)
        eventually(lambda: (count("stops_sent"), count("records_known")) == (1, 1))
        seen = site.samples()
        found = {outcome: count(outcome) for outcome in OUTCOMES}
        assert end(process) == 0
    assert found == OUTCOMES
    filtered = ("auditor_collector_jobs_filtered_total", "poll,ended before since,jobs")
    assert seen[filtered] == 1
    assert seen["auditor_collector_pass_seconds_count", ""] >= 2
    assert seen["auditor_collector_poll_seconds_count", "jobs"] >= 2
    assert [name for name, _ in seen].count("auditor_collector_build_info") == 1


OUTCOMES = {
    "jobs_read": 10,
    "records_queued": 5,
    "records_merged": 1,
    "stops_queued": 1,
    "records_known": 1,
    "jobs_unmappable": 1,
    "records_sent": 3,
    "stops_sent": 1,
    "records_already_there": 1,
    "records_colliding": 1,
}


def test_health_is_green_when_all_is_well(site: Watched):
    """200, in words; another page is 404."""
    site.log(1)
    with service(site):
        eventually(lambda: site.get("/healthz") == (200, "all is well\n"))
        assert site.get("/elsewhere")[0] == 404


def test_health_is_red_while_a_source_cannot_be_read(site: Watched):
    """With the source's own words; green again once it can."""
    site.limits = ", source_limit_s: 0.5"
    site.write_config()
    with service(site):
        eventually(lambda: site.get("/healthz")[0] == 503)
        assert "source jobs: last good poll never: cannot read" in site.get("/healthz")[1]
        assert site.samples()["auditor_collector_source_failing", "jobs"] == 1
        site.log(1)
        eventually(lambda: site.get("/healthz")[0] == 200)
        assert site.samples()["auditor_collector_source_failing", "jobs"] == 0


def test_health_is_red_while_records_wait_too_long(tmp_path: Path):
    """The Auditor is away: how long, and why; green again when it is back."""
    auditor = start_auditor(tmp_path / "auditor.db")
    auditor.kill()
    site = Watched(tmp_path, auditor.url)
    site.limits = ", waiting_limit_s: 0.3"
    site.write_config()
    site.log(1)
    with service(site):
        eventually(lambda: "sender: a record has waited for" in site.get("/healthz")[1])
        assert site.samples()["auditor_collector_sender_state", "unreachable"] == 1
        auditor = start_auditor(tmp_path / "auditor.db", listen=auditor.url.removeprefix("http://"))
        eventually(lambda: site.get("/healthz")[0] == 200)
    auditor.stop()


def test_health_is_red_when_the_outbox_is_full_or_its_disk_nearly(site: Watched):
    """Nearly: by the limit of the metrics; full: sources pause."""
    site.log(1)
    site.limits = f", free_limit_bytes: {10**18}"
    site.write_config()
    site.config.write_text(site.config.read_text().replace("free_limit_bytes: 0,", ""))
    with service(site) as (process, _):
        eventually(lambda: "are free in" in site.get("/healthz")[1])
        text = site.config.read_text().replace("min_free_bytes: 0", f"min_free_bytes: {10**18}")
        site.config.write_text(text)
        process.send_signal(signal.SIGHUP)
        eventually(lambda: "outbox: full, so sources pause" in site.get("/healthz")[1])


def test_the_page_moves_with_the_configuration(site: Watched):
    """A reload that names another port; a reload that names none."""
    with service(site) as (process, _):
        eventually(lambda: site.get("/metrics")[0] == 200)
        before, site.port = site.port, free_port()
        site.write_config()
        process.send_signal(signal.SIGHUP)
        eventually(lambda: site.get("/metrics")[0] == 200)
        site.port, after = before, site.port
        assert site.get("/metrics")[0] == 0
        site.port = after
        site.config.write_text(re.sub("metrics:.*\n", "", site.config.read_text()))
        process.send_signal(signal.SIGHUP)
        eventually(lambda: site.get("/metrics")[0] == 0)
        assert end(process) == 0


def test_a_port_that_is_taken_stops_no_accounting(site: Watched, auditor: RunningAuditor):
    """It is told; records are sent all the same."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", site.port))
        other.listen()
        site.log(1)
        with service(site) as (process, _), auditor.client() as client:
            eventually(lambda: [one.record_id for one in client.stream_query()] == ["jobs-1"])
            assert end(process) == 0
    assert "metrics cannot be served" in site.said()


@pytest.mark.slow
def test_slow_and_broken_clients_hold_up_nothing(site: Watched, auditor: RunningAuditor):
    """Clients that say nothing, garbage, or endless headers: records are sent, the page answers."""
    with service(site) as (process, _):
        eventually(lambda: site.get("/metrics")[0] == 200)
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", site.port)) as client:
                client.sendall(b"\x00\xff garbage\r\n\r\n")
        mute = socket.create_connection(("127.0.0.1", site.port))
        mute.sendall(b"GET /metrics HTTP/1.1\r\n")
        stop = threading.Event()

        def drip() -> None:
            try:
                while not stop.wait(0.5):
                    mute.sendall(b"X: y\r\n")
            except OSError:
                pass

        thread = threading.Thread(target=drip)
        thread.start()
        site.log(1)
        with auditor.client() as reading:
            eventually(lambda: [one.record_id for one in reading.stream_query()] == ["jobs-1"])
        eventually(lambda: site.get("/metrics")[0] == 200)
        stop.set()
        thread.join()
        mute.close()
        assert end(process) == 0
    assert "Traceback" not in site.said()


@pytest.mark.slow
def test_only_get_is_answered(site: Watched):
    """Nothing that is sent has any effect."""
    with service(site):
        eventually(lambda: site.get("/metrics")[0] == 200)
        for method in ("POST", "PUT", "DELETE"):
            connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=LIMIT_S)
            connection.request(method, "/metrics", body="x")
            assert connection.getresponse().status == 501
            connection.close()


def test_the_textfile_is_whole_and_for_everybody(site: Watched):
    """Mode 0644 whatever the umask is, never half of it, and nothing left beside it."""
    site.log(1)
    file = site.folder / "collector.prom"
    with service(site) as (process, _):
        eventually(file.exists)
        for _ in range(200):
            text = file.read_text()
            assert text.endswith("\n")
            assert samples(text)["auditor_collector_polls_total", "ok,jobs"] >= 0
        assert file.stat().st_mode & 0o777 == 0o644
        assert end(process) == 0
    assert not list(site.folder.glob(".collector.prom*"))


@pytest.mark.slow
def test_a_textfile_that_cannot_be_written_is_told_once(site: Watched, auditor: RunningAuditor):
    """And accounting goes on."""
    site.config.write_text(site.config.read_text().replace("collector.prom", "no/collector.prom"))
    site.log(1)
    with service(site) as (process, _), auditor.client() as client:
        eventually(lambda: [one.record_id for one in client.stream_query()] == ["jobs-1"])
        eventually(lambda: "metrics cannot be written" in site.said())
        eventually(lambda: site.samples()["auditor_collector_polls_total", "ok,jobs"] > 10)
        assert end(process) == 0
    assert site.said().count("metrics cannot be written") == 1


def test_nothing_of_it_is_loaded_when_it_is_off(tmp_path: Path):
    """No listener, and no megabyte for the client library."""
    site = Site(tmp_path, NOBODY)
    site.log(1)
    with service(site) as (process, manager):
        manager.hear_until(lambda said: "record waits" in said.get("STATUS", ""))
        tcp = Path(f"/proc/{process.pid}/net/tcp").read_text()
        inodes = set()
        for link in Path(f"/proc/{process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                inodes.update(re.findall(r"socket:\[(\d+)\]", str(link.readlink())))
        listening = {line.split()[9] for line in tcp.splitlines() if line.split()[3] == "0A"}
        assert not inodes & listening
    code = "import sys, collector.cli.run; print('prometheus_client' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "False\n"


def test_a_source_that_knows_how_far_it_is_behind_is_heard(site: Watched):
    """Its lag is a metric, and red when half of what the scheduler keeps is not read yet."""
    with (site.folder / "my_package.py").open("a") as plugin:
        plugin.write("\nfrom collector.source import Lag\n")
        plugin.write("JsonLinesSource.lag = lambda self, checkpoint: Lag(6000, 10_000)\n")
    site.log(1)
    with service(site):
        eventually(lambda: "jobs will be lost" in site.get("/healthz")[1])
        assert site.samples()["auditor_collector_source_behind_seconds", "jobs"] == 6000
        assert site.samples()["auditor_collector_source_kept_seconds", "jobs"] == 10_000


# ------------------------------------------------------------------ docs, rules, dashboard


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Every metric there can be."""
    path = tmp_path_factory.mktemp("metrics") / "outbox.db"
    now = utc_now()
    with Outbox.open(path, now=utc_now) as outbox:
        outbox.put(Intake("jobs", [], read=1, filtered={"never started": 1}))
        outbox.note_poll("jobs", ok=True, message="", now=now)
        outbox.note_sender(SenderState.SENDING, "", now)
        lags = {"jobs": Lag(1, 2)}
        metrics = Metrics(
            MetricsSection(),
            outbox,
            Sight(lambda: lags, lambda: ([], []), Reload(now), now),
            structlog.get_logger(),
            utc_now,
        )
        metrics.polled("jobs", "ok", 1)
        text = metrics.exposition().decode()
    return {
        family.name + ("_total" if family.type == "counter" else "")
        for family in text_string_to_metric_families(text)
        if family.name.startswith("auditor_collector")
    }


def mentioned(text: str) -> set[str]:
    return {
        re.sub("_(bucket|sum|count)$", "", name)
        for name in re.findall(r"\bauditor_collector_\w+", text)
    }


def test_the_page_of_metrics_lists_them_all(names: set[str]):
    """Neither one that is not there, nor one less."""
    assert mentioned((DOCS / "metrics.md").read_text()) == names


def test_the_rules_and_the_dashboard_use_what_there_is(names: set[str]):
    """A renamed metric would make an alert silent."""
    rules = yaml.safe_load((DOCS / "alerts.yaml").read_text())["groups"][0]["rules"]
    alerts = mentioned(" ".join(rule["expr"] for rule in rules))
    panels = json.loads((DOCS / "grafana.json").read_text())["panels"]
    shown = mentioned(" ".join(one["expr"] for panel in panels for one in panel["targets"]))
    assert alerts
    assert alerts <= names
    assert len(shown) > len(alerts)
    assert shown <= names


def test_every_alert_leads_to_a_part_of_the_runbook():
    """The heading is there."""
    headings = {
        re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).strip().replace(" ", "-")
        for line in (DOCS / "runbook.md").read_text().splitlines()
        if line.startswith("#")
    }
    for rule in yaml.safe_load((DOCS / "alerts.yaml").read_text())["groups"][0]["rules"]:
        page, _, heading = rule["annotations"]["runbook"].partition("#")
        assert page == "runbook.md"
        assert not heading or heading in headings, rule["alert"]


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool (Debian: prometheus) is missing")
def test_prometheus_accepts_the_rules_and_every_one_fires():
    """`promtool check rules`, and `promtool test rules` with a story for each alert."""
    stories = Path(__file__).with_name("alerts_test.yaml")
    rules = yaml.safe_load((DOCS / "alerts.yaml").read_text())["groups"][0]["rules"]
    told = set(re.findall('alertname="(\\w+)"', stories.read_text()))
    assert told == {rule["alert"] for rule in rules}
    for command in (["check", "rules", str(DOCS / "alerts.yaml")], ["test", "rules", str(stories)]):
        said = subprocess.run(["promtool", *command], capture_output=True, text=True, check=False)
        assert said.returncode == 0, said.stdout + said.stderr
