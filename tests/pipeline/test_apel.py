"""What AUDITOR's APEL plugin will make of our records is said before it does."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from collector.config import mapping_of, parse
from collector.job import Job
from collector.pipeline.apel import USUAL, judge_for_apel, read_plugin
from collector.pipeline.sources import MappedSource
from collector.source import find_plugin
from collector.source.testing import context

START, STOP = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 1, tzinfo=UTC)
PAGE = (Path(__file__).parents[2] / "docs" / "apel.md").read_text()
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
PLUGIN = next(block for block in BLOCKS if block.startswith("!Config"))
OURS = [block for block in BLOCKS if block is not PLUGIN]

HTCONDOR: dict[str, str | int | float] = {
    "Owner": "atlas001",
    "ScheddName": "ap1",
    "CpusProvisioned": 8,
    "RunUserCpu": 10.0,
    "RunSysCpu": 1.0,
}
SLURM: dict[str, str | int | float] = {
    "Cluster": "c",
    "User": "atlas001(1001)",
    "Group": "atlas",
    "Partition": "batch",
    "AllocCPUS": 8,
    "NNodes": 1,
    "TotalCPU": "01:00:00",
    "Comment": "{'voms': '/atlas/Role=production', 'headnode': 'https://ce1:443'}",
}


def found(text: str, jobs: list[dict[str, str | int | float]], plugin: Any = USUAL) -> list[str]:
    """What is said of jobs under a configuration: level and text."""
    config = parse(text, find_plugin)
    section = config.sources[0]
    source = find_plugin(section.plugin)
    mapped = MappedSource(source(section, context()), mapping_of(section, source, config=config))
    made = [Job(f"{number}", START, STOP, fields, b"", "") for number, fields in enumerate(jobs)]
    return [f"{one.level}: {one.text}" for one in judge_for_apel([*made], mapped, plugin)]


@pytest.mark.parametrize("text", OURS)
def test_the_configurations_of_the_page_have_all_that_the_plugin_reads(text: str, tmp_path: Path):
    """With token, comment or owner; by the page's own configuration of the plugin."""
    if "site_id" not in text:
        text = "site_id: cluster1\n" + text
    fields = SLURM if "plugin: slurm" in text else HTCONDOR
    if "Owner" not in text and fields is HTCONDOR:
        fields = {**HTCONDOR, "orig_AuthTokenIssuer": "https://atlas-auth.cern.ch/"}
    (tmp_path / "apel.yml").write_text(PLUGIN)
    (said,) = found(text, [fields], read_plugin(tmp_path / "apel.yml"))
    assert said.startswith("ok: ")


HEAD = "sources: [{name: a, plugin: htcondor, record_prefix: a, "


@pytest.mark.parametrize(
    ("more", "fields", "words"),
    [
        (
            "mapping: {components: {TotalCPU: null}}",
            {},
            ["error", "no component TotalCPU", "month"],
        ),
        ("", {}, ["error", "no score HEPscore23 on Cores"]),
        ("", {}, ["error", "VO", "its rule looks at AuthTokenGroups"]),
        ("mapping: {meta: {submithost: null}}", {}, ["error", "SubmitHost", "has no rule"]),
        ("", {}, ["error", "no meta site_id: no site reports them"]),
        ("track_running: true", {}, ["error", "track_running"]),
    ],
)
def test_what_is_missing_is_named_with_its_reason(
    more: str, fields: dict[str, str | int | float], words: list[str]
):
    """A component and a score end the month; meta becomes None; the mapping says where it looks."""
    said = found(f"{HEAD}{more}}}]", [{**HTCONDOR, **fields}])
    assert any(all(word in line for word in words) for line in said), said


def test_what_only_some_records_lack_is_counted():
    """A VO that some jobs lack is a warning; a component that one lacks is an error."""
    scores = "mapping: {scores: {HEPscore23: 12.5}}"
    proxy = {**HTCONDOR, "x509UserProxyFirstFQAN": "/atlas", "x509userproxysubject": "/CN=x"}
    said = found(f"site_id: c\n{HEAD}{scores}}}]", [HTCONDOR, proxy, proxy])
    assert "warning: APEL: VO: 1 of 3 records have no meta voms" in "\n".join(said)
    without = {name: value for name, value in proxy.items() if name != "RunSysCpu"}
    said = found(f"site_id: c\n{HEAD}{scores}}}]", [proxy, without])
    assert "error: APEL: CpuDuration: 1 of 2 records have no component TotalCPU" in "\n".join(said)


def test_a_site_that_nobody_reports_is_named(tmp_path: Path):
    """The plugin asks for the sites that its configuration lists, and for no others."""
    file = tmp_path / "apel.yml"
    file.write_text(PLUGIN.replace("[cluster1]", "[cluster2]"))
    said = found("site_id: cluster1\n" + HEAD + "}]", [HTCONDOR], read_plugin(file))
    assert any("cluster1: not under sites_to_report" in line for line in said)


@pytest.mark.parametrize("text", ["", "- a", "!Config {plugin: {}}", "a: [", "!Config\nauditor: x"])
def test_a_file_that_is_not_the_plugins_is_refused(text: str, tmp_path: Path):
    """With what is expected."""
    file = tmp_path / "apel.yml"
    file.write_text(text)
    with pytest.raises(
        ValueError, match=r"cannot be read|expected a configuration of auditor-apel"
    ):
        read_plugin(file)
