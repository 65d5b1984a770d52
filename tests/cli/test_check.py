"""`check` proves that a configuration gives records, not only that it can be read."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.helpers.auditor_server import RunningAuditor
from tests.helpers.example_plugin import FIRST_START
from tests.helpers.site import Site


@pytest.fixture
def site(tmp_path: Path, auditor: RunningAuditor) -> Site:
    return Site(tmp_path, auditor.url)


def lately(*ago: int) -> list[int]:
    """Numbers of jobs that began so many hours ago."""
    now = int((datetime.now(UTC) - FIRST_START).total_seconds())
    return [now - 3600 * hours for hours in ago]


def test_a_record_is_shown_as_it_would_be_sent(site: Site):
    """Of the newest job; nothing is stored."""
    site.log(*lately(30, 20, 3, 2), user="bob")
    process = site.run("check")
    assert process.returncode == 0, process.stdout
    assert "ok       jobs: of the newest 4 jobs, 4 make a record" in process.stdout
    text = process.stdout.split("a record as it would be sent: ")[1].splitlines()[0]
    assert json.loads(text)["meta"]["user"] == ["bob"]
    assert not (site.folder / "outbox.db").exists()


def test_rejected_jobs_are_an_error_when_they_are_most(site: Site):
    """With the share, and the reason that most of them have; fewer are a warning."""
    site.log(*lately(5, 4, 3), cores="many")
    site.log(*lately(2, 1))
    process = site.run("check")
    assert process.returncode == 1
    assert "error    jobs: of the newest 5 jobs, 2 make a record, 3 would be" in process.stdout
    assert "component Cores: cores = 'many': expected a number" in process.stdout
    site.log(*lately(1))
    process = site.run("check")
    assert process.returncode == 0
    assert "warning  jobs: of the newest 6 jobs, 3 make a record" in process.stdout


def test_jobs_that_a_rule_leaves_out_are_no_error(site: Site):
    """They are not to be accounted; that nothing is left is a warning."""
    site.log(*lately(5, 4, 3), user="mallory", cores="many")
    site.log(*lately(2), user="bob")
    config = site.config.read_text()
    only_bob = config.replace(
        "plugin: jsonlines", "plugin: jsonlines, only_if: [{field: user, matches: bob}]"
    )
    site.config.write_text(only_bob)
    process = site.run("check")
    assert process.returncode == 0
    assert "1 make a record, 3 are left out (mostly: only_if user)" in process.stdout
    site.config.write_text(only_bob.replace("matches: bob", "matches: nobody"))
    process = site.run("check")
    assert process.returncode == 0
    assert "warning  jobs: of the newest 4 jobs, 0 make a record" in process.stdout


def test_no_job_to_try_with_is_a_warning(site: Site):
    """A new machine, or one that has been idle for a month."""
    site.log(1, 2)
    process = site.run("check")
    assert process.returncode == 0
    assert "warning  jobs: no job of the last 31 days to try the mapping with" in process.stdout


def test_a_field_that_no_job_has_is_a_warning(site: Site):
    """With the field that may be meant, or how a constant is written."""
    site.log(*lately(2, 1))
    config = site.config.read_text()
    rules = "{meta: {who: {field: usr, optional: true}, site: {field: MYSITE, optional: true}}}"
    site.config.write_text(
        config.replace("plugin: jsonlines", f"plugin: jsonlines, mapping: {rules}")
    )
    said = site.run("check").stdout
    assert (
        'mapping.meta.who: none of the newest 2 jobs has a field usr; did you mean "user"?' in said
    )
    assert "a constant is written {value: MYSITE}" in said


def test_findings_for_programs(site: Site):
    """JSON, and one line with the status of a plugin for Nagios and Icinga."""
    site.log(*lately(2, 1), cores="many")
    process = site.run("check", "--format", "json")
    said = json.loads(process.stdout)
    assert process.returncode == said["exit_status"] == 1
    assert {"level", "about", "text"} <= set(said["findings"][0])
    assert [one["about"] for one in said["findings"] if one["level"] == "error"] == ["jobs"]
    process = site.run("check", "--format", "nagios")
    assert process.returncode == 2
    assert process.stdout.startswith("AUDITOR COLLECTOR CRITICAL - jobs: of the newest 2 jobs")
    site.config.write_text("sources: [\n")
    assert site.run("check", "--format", "nagios").returncode == 2
    process = site.run("check", "--format", "json")
    assert process.returncode == json.loads(process.stdout)["exit_status"] == 78
    assert json.loads(process.stdout)["findings"][0]["line"] > 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("since: null", "since: 2999-01-01"), "is in the future"),
        (("record_prefix: jobs", "record_prefix: my jobs"), "has a blank"),
    ],
)
def test_what_is_seldom_meant_is_a_warning(site: Site, change: tuple[str, str], words: str):
    """It may be right, so nothing stops; with line and key."""
    config = site.config.read_text().replace("plugin: jsonlines", "plugin: jsonlines, since: null")
    assert change[0] in config
    site.config.write_text(config.replace(*change))
    process = site.run("check", "--offline")
    assert process.returncode == 0
    assert words in process.stdout
    assert "line 2: sources[0]." in process.stdout


def test_an_auditor_that_is_not_named_is_a_warning(site: Site):
    """A default address is seldom the site's."""
    text = "\n".join(one for one in site.config.read_text().splitlines() if "auditor:" not in one)
    site.config.write_text(text)
    process = site.run("check", "--offline")
    assert "auditor: not given, so records go to http://127.0.0.1:8000" in process.stdout


def test_a_pattern_that_can_backtrack_is_a_warning(site: Site):
    """With its rule and line: a user's text could make it slow."""
    rules = "{meta: {x: {field: user, matches: '^(a+)+$', optional: true}}}"
    text = site.config.read_text()
    site.config.write_text(
        text.replace("plugin: jsonlines", f"plugin: jsonlines, mapping: {rules}")
    )
    process = site.run("check", "--offline")
    assert process.returncode == 0
    assert "line 2: sources[0].mapping.meta.x: " in process.stdout
    assert "backtrack" in process.stdout
