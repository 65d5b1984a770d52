"""Every alert of docs/alerts.yaml, reached through the fault that it is for.

A real Prometheus scrapes a real daemon, by the rules as they are shipped but with shorter times.
"""

import contextlib
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from tests.helpers.auditor_server import RunningAuditor, start_auditor
from tests.helpers.site import eventually
from tests.operation.manager import service
from tests.operation.paused import Paused
from tests.operation.watched import Watched, free_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("prometheus"), reason="prometheus is not installed"),
]

RULES = (Path(__file__).parents[2] / "docs" / "alerts.yaml").read_text()


class Prometheus:
    """One that looks at a site each second."""

    def __init__(self, folder: Path, target: str) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self._folder = folder
        rules = re.sub(r"\bfor: \w+", "for: 1s", RULES)
        rules = rules.replace("> 3600", "> 2").replace("> 600", "> 3").replace("[30m]", "[3s]")
        (folder / "alerts.yaml").write_text(rules)
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["alerts.yaml"],
            "scrape_configs": [
                {"job_name": "auditor-collector", "static_configs": [{"targets": [target]}]}
            ],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        command = [
            *("prometheus", f"--config.file={self._folder}/prometheus.yml"),
            f"--web.listen-address={self.url.removeprefix('http://')}",
            f"--storage.tsdb.path={self._folder}/series",
        ]
        with (self._folder / "prometheus.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        with process:
            try:
                eventually(lambda: self.ask("query?query=up==1") not in (None, []))
                yield
            finally:
                process.terminate()

    def ask(self, what: str) -> list[dict[str, object]] | None:
        """The result of a query; None while it does not answer."""
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{what}", timeout=30) as answer:
                data = json.load(answer)["data"]
        except OSError:
            return None
        return data.get("result", data.get("alerts"))  # type: ignore[no-any-return]

    def firing(self) -> set[str]:
        """The alerts that fire."""
        return {
            str(alert["labels"]["alertname"])  # type: ignore[index]
            for alert in self.ask("alerts") or []
            if alert["state"] == "firing"
        }


class Scene:
    """A site whose daemon is well, and a Prometheus that has seen it so."""

    def __init__(
        self, site: Watched, prometheus: Prometheus, daemon: subprocess.Popen[str]
    ) -> None:
        self.site, self.prometheus, self.daemon = site, prometheus, daemon

    def reconfigure(self) -> None:
        """Lets the daemon take over what was changed at the site."""
        before = self.site.said().count('"started"')
        self.site.write_config()
        self.daemon.send_signal(signal.SIGHUP)
        eventually(lambda: self.site.said().count('"started"') > before)

    def fires(self, name: str) -> None:
        eventually(lambda: name in self.prometheus.firing())

    def is_over(self) -> None:
        eventually(lambda: not self.prometheus.firing())


@pytest.fixture
def scene(tmp_path: Path, auditor: RunningAuditor) -> Iterator[Scene]:
    site = Watched(tmp_path, auditor.url)
    site.log(1)
    prometheus = Prometheus(tmp_path, f"127.0.0.1:{site.port}")
    with service(site) as (daemon, _), prometheus.running():
        scene = Scene(site, prometheus, daemon)
        scene.is_over()
        yield scene
        log = (tmp_path / "prometheus.log").read_text()
        assert "level=error" not in log


def test_down(scene: Scene):
    """The daemon was killed, and nobody started it again."""
    scene.daemon.kill()
    scene.fires("AuditorCollectorDown")


def test_silent(tmp_path: Path, auditor: RunningAuditor):
    """The daemon was killed, and its textfile is still shown, as node_exporter does."""
    site = Watched(tmp_path, auditor.url)
    site.log(1)
    shown = tmp_path / "shown"
    shown.mkdir()
    (shown / "metrics").symlink_to(tmp_path / "collector.prom")
    page = functools.partial(SimpleHTTPRequestHandler, directory=str(shown))
    with ThreadingHTTPServer(("127.0.0.1", 0), page) as exporter:
        threading.Thread(target=exporter.serve_forever, daemon=True).start()
        prometheus = Prometheus(tmp_path, f"127.0.0.1:{exporter.server_port}")
        with service(site) as (daemon, _), prometheus.running():
            scene = Scene(site, prometheus, daemon)
            scene.is_over()
            daemon.kill()
            scene.fires("AuditorCollectorSilent")
        exporter.shutdown()


def test_source_failing_and_unwell(scene: Scene):
    """The log is gone; when it is back, both are over."""
    scene.site.limits = ", source_limit_s: 1"
    scene.reconfigure()
    log = scene.site.folder / "jobs.jsonl"
    log.rename(scene.site.folder / "away")
    scene.fires("AuditorCollectorSourceFailing")
    scene.fires("AuditorCollectorUnwell")
    (scene.site.folder / "away").rename(log)
    scene.is_over()


def test_outbox_grows(scene: Scene, auditor: RunningAuditor):
    """The Auditor is away, and jobs end all the same."""
    auditor.stop()
    scene.site.log(2)
    scene.fires("AuditorCollectorOutboxGrows")


def test_sending_paused(scene: Scene):
    """The address leads to something that is no Auditor: to Prometheus."""
    right = scene.site.url
    scene.site.url = scene.prometheus.url
    scene.reconfigure()
    scene.site.log(2)
    scene.fires("AuditorCollectorSendingPaused")
    scene.site.url = right
    scene.reconfigure()
    scene.is_over()


def test_jobs_rejected(scene: Scene):
    """Two of the three jobs that were ever seen cannot be mapped."""
    scene.site.log(2, cores=-1)
    scene.site.log(3, cores=-1)
    scene.fires("AuditorCollectorJobsRejected")


def test_reload_refused(scene: Scene):
    """A mistake in the changed file; over when it is corrected and read again."""
    good = scene.site.config.read_text()
    scene.site.config.write_text(good + "unknown: 1\n")
    scene.daemon.send_signal(signal.SIGHUP)
    scene.fires("AuditorCollectorReloadRefused")
    scene.site.config.write_text(good)
    scene.daemon.send_signal(signal.SIGHUP)
    scene.is_over()


def test_records_rejected(scene: Scene):
    """A job with an impossible number of cores."""
    scene.site.log(2, cores=-1)
    scene.fires("AuditorCollectorRecordsRejected")


def test_records_rejected_before_anybody_looked(tmp_path: Path, auditor: RunningAuditor):
    """In the first poll: Prometheus never sees the counter at 0."""
    site = Watched(tmp_path, auditor.url)
    site.log(1, cores=-1)
    prometheus = Prometheus(tmp_path, f"127.0.0.1:{site.port}")
    with service(site) as (daemon, _):
        rejected = ("auditor_collector_rejected_records", "unmappable")
        eventually(lambda: site.samples().get(rejected) == 1)
        with prometheus.running():
            Scene(site, prometheus, daemon).fires("AuditorCollectorRecordsRejected")


@pytest.mark.skipif(os.getuid() != 0, reason="not root, who mounts a small disk")
def test_disk_nearly_full(tmp_path: Path, auditor: RunningAuditor):
    """The outbox lies on a disk of 500 MB: the limit is the shipped one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=500m", "tmpfs", disk], check=True)
    try:
        site = Watched(disk, auditor.url)
        site.log(1)
        prometheus = Prometheus(tmp_path, f"127.0.0.1:{site.port}")
        with service(site) as (daemon, _), prometheus.running():
            Scene(site, prometheus, daemon).fires("AuditorCollectorDiskNearlyFull")
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def test_source_behind_and_jobs_will_be_lost(tmp_path: Path, auditor: RunningAuditor):
    """The Auditor is away, the outbox full, and the schedd rotates; over with the outage."""
    auditor.kill()
    site = Paused(tmp_path, auditor.url)
    site.rotate_unread()
    prometheus = Prometheus(tmp_path, f"127.0.0.1:{site.port}")
    with service(site) as (daemon, _), prometheus.running():
        scene = Scene(site, prometheus, daemon)
        scene.fires("AuditorCollectorSourceBehind")
        scene.fires("AuditorCollectorJobsWillBeLost")
        again = start_auditor(auditor.db, listen=auditor.url.removeprefix("http://"))
        scene.is_over()
        again.stop()


def test_no_alert_is_left_out():
    """Each of the rules has its test here."""
    here = re.findall(r'fires\("(AuditorCollector\w+)"', Path(__file__).read_text())
    # The end of a certificate is a date, which alerts_test.yaml has a story for.
    here.append("AuditorCollectorCertificateEnds")
    assert set(here) == {rule["alert"] for rule in yaml.safe_load(RULES)["groups"][0]["rules"]}
