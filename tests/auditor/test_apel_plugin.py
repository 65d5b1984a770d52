"""AUDITOR's APEL plugin, run on what our collectors write of real accounting: no `None`, no
`UNKNOWN`, and the sums of the batch system.

It is in the extra `peers`.
"""

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from collector.mapping import duration_s
from tests.helpers.auditor_server import RunningAuditor
from tests.slurm.standin import CASES as SLURM
from tests.slurm.standin import standin

HTCONDOR = Path(__file__).parents[1] / "testcases" / "htcondor"
ROOT = Path(__file__).parents[2]
REPUBLISH = shutil.which("auditor-apel-republish") or shutil.which(
    "auditor-apel-republish", path=str(Path(sys.executable).parent)
)
PAGE = (ROOT / "docs" / "apel.md").read_text()
PLUGIN = re.findall(r"```yaml\n(!Config.*?)```", PAGE, re.DOTALL)[0]
MONTH = ["-y", "2026", "-m", "11"]
"""Of the captured accounting."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(REPUBLISH is None, reason="auditor-apel-plugin is not installed"),
]


def collect(source: dict[str, Any], auditor: RunningAuditor, folder: Path) -> Path:
    """Brings the accounting of a source into the Auditor; returns the configuration."""
    config = folder / "config.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "site_id": "cluster1",
                "sources": [{"name": "lab", "record_prefix": "lab", **source}],
                "auditor": {"url": auditor.url},
                "outbox": {"path": str(folder / "outbox.db"), "min_free_bytes": 0},
            },
            sort_keys=False,
        )
    )
    ours("backfill", config, "--since", "2026-11-01", "--until", "2026-12-01")
    return config


def ours(command: str, config: Path, *more: str, status: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "collector", command, "--config", str(config), *more],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def report(auditor: RunningAuditor, folder: Path) -> tuple[list[dict[str, str]], str]:
    """The summaries of the month, as the plugin with the page's configuration sums them up, and all
    that it said.
    """
    key, certificate = folder / "key.pem", folder / "cert.pem"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=site"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*request, *files], check=True, capture_output=True)
    config = folder / "apel.yml"
    text = PLUGIN.replace("log_level: INFO", "log_level: TRACE")
    text = text.replace("port: 8000", f"port: {auditor.port}").replace(
        "use_tls: true", "use_tls: false"
    )
    text = text.replace("/etc/grid-security/hostcert.pem", str(certificate))
    text = text.replace("/etc/grid-security/hostkey.pem", str(key))
    config.write_text(text)
    assert REPUBLISH is not None
    done = subprocess.run(
        [REPUBLISH, *MONTH, "-s", "MY-GOCDB-SITE", "-c", str(config), "--dry-run"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout
    assert "Total numbers reported" in done.stdout, done.stdout
    message = done.stdout.partition("APEL-normalised-summary-message: v0.4\n")[2]
    groups = message.partition("\n\n")[0].split("%%\n")[:-1]
    return [
        dict(line.split(": ", 1) for line in group.splitlines()) for group in groups
    ], done.stdout


def sums(summaries: list[dict[str, str]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for one in summaries:
        for name in ("NumberOfJobs", "WallDuration", "CpuDuration"):
            total[name] += int(one[name])
    return total


def assert_whole(summaries: list[dict[str, str]], said: str) -> None:
    """Nothing that EGI would refuse or count under nobody."""
    assert summaries
    for one in summaries:
        assert "None" not in one.values()
        assert "UNKNOWN" not in one["InfrastructureDescription"]
        assert one["VO"] in ("atlas", "cms", "ops")
        assert one["SubmitHost"]
    for word in ("CRITICAL", "not found", "WARNING  Meta"):
        assert word not in said


def test_a_month_of_slurm_is_the_sum_that_sacct_has(auditor: RunningAuditor, tmp_path: Path):
    """Jobs, wall-clock and CPU seconds of all runs, by sacct's own columns."""
    source = {
        "plugin": "slurm",
        "sacct": standin(tmp_path),
        "pause_s": 0,
        "complete_s": 0,
        "mapping": {
            "scores": {"HEPscore23": 12.5},
            "meta": {
                "voms": {"field": "User", "table": {"labalice": "/atlas", "*": "/cms"}},
                "submithost": {"value": "ce1.example.org:8443/slurm-batch"},
            },
        },
    }
    collect(source, auditor, tmp_path)
    summaries, said = report(auditor, tmp_path)
    assert_whole(summaries, said)
    assert sums(summaries) == of_sacct()
    assert {one["InfrastructureDescription"].rpartition("-")[2] for one in summaries} == {"slurm"}


def test_a_month_of_htcondor_is_the_sum_that_the_schedd_has(
    auditor: RunningAuditor, tmp_path: Path
):
    """Jobs, wall-clock and CPU seconds of what ran, by the ads' own times."""
    source = {
        "plugin": "htcondor",
        "history": str(HTCONDOR / "pool" / "input" / "history"),
        "mapping": {
            "scores": {"HEPscore23": [{"field": "MachineAttrHEPSCORE0"}, 12.5]},
            "meta": {
                "voms": [
                    {"field": "x509UserProxyFirstFQAN", "optional": True},
                    {"field": "Owner", "table": {"*alice": "/atlas", "*": "/ops"}},
                ]
            },
        },
    }
    collect(source, auditor, tmp_path)
    summaries, said = report(auditor, tmp_path)
    assert_whole(summaries, said)
    assert sums(summaries) == of_schedd()
    assert {one["InfrastructureDescription"].rpartition("-")[2] for one in summaries} == {
        "htcondor"
    }


def test_check_names_what_the_plugin_would_miss(auditor: RunningAuditor, tmp_path: Path):
    """The plugin's own configuration is read; a score, a VO, and a site that nobody reports."""
    config = collect(
        {"plugin": "htcondor", "history": str(HTCONDOR / "pool" / "input" / "history")},
        auditor,
        tmp_path,
    )
    plugin = tmp_path / "apel.yml"
    plugin.write_text(PLUGIN.replace("[cluster1]", "[cluster2]"))
    said = ours("check", config, "--for", "apel", "--plugin-config", str(plugin), status=1)
    assert "NormalisedWallDuration" in said or "NormalisedCpuDuration" in said
    assert "no score HEPscore23 on Cores" in said
    assert "ends the plugin's month of the whole site" in said
    assert re.search(r"VO: \d+ of \d+ records have no meta voms", said)
    assert "x509UserProxyFirstFQAN" in said
    assert "site_id cluster1: not under sites_to_report" in said


def of_sacct() -> Counter[str]:
    """Of the rows that sacct printed: runs that had nodes, ended, and lasted a second or longer.

    The second row of a resized job counts the time of the first once more.
    """
    total: Counter[str] = Counter()
    for line in (SLURM / "sacct" / "rows.jsonl").read_text().splitlines():
        row = json.loads(line)
        has_nodes = row.get("NodeList", "") not in ("", "None assigned")
        if "." in row["JobID"] or not has_nodes or row["End"] == "Unknown":
            continue
        elapsed_s = int(row["ElapsedRaw"]) - max(0, int(row["Submit"]) - int(row["Start"]))
        if elapsed_s:
            total["NumberOfJobs"] += 1
            total["WallDuration"] += elapsed_s
            total["CpuDuration"] += round(float(duration_s(row["TotalCPU"])))
    return total


def of_schedd() -> Counter[str]:
    """Of the ads themselves: jobs that held a slot, by the schedd's own times of their last run.

    Completed jobs ended when they completed; removed ones when their shadow said so, or at once.
    """
    total: Counter[str] = Counter()
    for ad in ads().values():
        ran_as_another = "RoutedToJobId" in ad and "LastMatchTime" not in ad
        if ad["JobUniverse"] in ("7", "12") or ran_as_another:
            continue
        start, entered = int(ad.get("JobCurrentStartDate", 0)), int(ad["EnteredCurrentStatus"])
        ran_s = entered - start
        if ad["JobStatus"] == "3" and "LastRemoteWallClockTime" in ad:
            ran_s = int(float(ad["LastRemoteWallClockTime"]))
        elif ad["JobStatus"] == "3" and ad["LastJobStatus"] != "2":
            continue
        if ran_s:
            total["NumberOfJobs"] += 1
            total["WallDuration"] += ran_s
            total["CpuDuration"] += round(float(ad["RemoteUserCpu"]) + float(ad["RemoteSysCpu"]))
    return total


def ads() -> dict[str, dict[str, str]]:
    """The first ad of each job in the files, attribute → text: a schedd that was killed writes the
    end of a job once more when it restarts, with times of then.
    """
    found: dict[str, dict[str, str]] = {}
    folder = HTCONDOR / "pool" / "input"
    for path in [*sorted(folder.glob("history.*")), folder / "history"]:
        for text in re.split(r"(?m)^\*\*\* .*\n", path.read_text(errors="replace")):
            ad = dict(re.findall(r"(?m)^(\w+) = (.*)$", text))
            if "GlobalJobId" in ad:
                found.setdefault(ad["GlobalJobId"], ad)
    return found
