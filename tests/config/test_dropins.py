"""A configuration of several files: later ones win, and each mistake names its file."""

from pathlib import Path

import pytest

from collector.config import Config, ConfigError, load
from collector.source import find_plugin

MAIN = """\
sources:
  - name: ap1
    plugin: htcondor
    record_prefix: htcondor-ap1
    mapping: {meta: {site: {field: Site}, user: Owner}}
auditor:
  url: https://auditor.example.org:8000
  timeout_s: 10
"""


def loaded(folder: Path, **files: str) -> Config:
    (folder / "config.yaml").write_text(MAIN)
    (folder / "conf.d").mkdir()
    for name, text in files.items():
        (folder / "conf.d" / f"{name}.yaml").write_text(text)
    return load(folder / "config.yaml", find_plugin)


def test_a_host_that_differs_in_one_value_has_a_file_with_it(tmp_path: Path):
    """Sources are merged by name, sections by key, and the last file wins."""
    config = loaded(
        tmp_path,
        a="sources: [{name: ap1, record_prefix: htcondor-ap7}]\nauditor: {timeout_s: 20}\n",
        b="auditor: {timeout_s: 30}\nlog: {level: debug}\n",
    )
    assert [one.record_prefix for one in config.sources] == ["htcondor-ap7"]
    assert config.auditor.url == "https://auditor.example.org:8000"
    assert (config.auditor.timeout_s, config.log.level) == (30, "debug")


def test_a_source_of_another_name_is_added(tmp_path: Path):
    """So a package, or another team, can bring one."""
    config = loaded(tmp_path, a="sources: [{name: lab, plugin: slurm, record_prefix: lab}]")
    assert [one.name for one in config.sources] == ["ap1", "lab"]


def test_a_rule_replaces_that_of_its_name(tmp_path: Path):
    """It is not mixed with it, which would have two sources of one value; others stay."""
    rule = "{name: ap1, mapping: {meta: {site: {value: MY-SITE}}}}"
    (section,) = loaded(tmp_path, a=f"sources: [{rule}]").sources
    assert set(section.mapping.meta) == {"site", "user"}
    assert getattr(section.mapping.meta["site"], "value", None) == "MY-SITE"


def test_a_mistake_names_its_file_and_line(tmp_path: Path):
    """Whether a file is no YAML, has a wrong value, or what is merged does not go together."""
    with pytest.raises(ConfigError) as caught:
        loaded(
            tmp_path,
            a="auditor:\n  url: http://a:1\n  tls: {ca: /x}\n",
            b="\nsources:\n  - name: ap1\n    window_s: 5\n    sinse: 2026-01-01\n",
        )
    folder = tmp_path / "conf.d"
    found = str(caught.value).splitlines()
    assert len(found) == 3
    assert found[0].startswith(f"{folder}/a.yaml: line 3: auditor.tls: certificates are used")
    assert found[1].startswith(f"{folder}/b.yaml: line 4: sources[0].window_s: goes with mode")
    assert found[2].startswith(f"{folder}/b.yaml: line 5: sources[0].sinse: unknown key; did you")
    (folder / "b.yaml").write_text("a: [\n")
    (folder / "c.yaml").write_bytes(b"# caf\xe9\n")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "config.yaml", find_plugin)
    assert [one.file for one in caught.value.mistakes] == [f"{folder}/b.yaml", f"{folder}/c.yaml"]


def test_a_key_that_one_file_gives_twice_is_a_mistake_there(tmp_path: Path):
    """Also when an earlier file has it."""
    with pytest.raises(ConfigError, match=r"a.yaml: line 2: log: given before, in line 1"):
        loaded(tmp_path, a="log: {}\nlog: {level: info}\n")
    (tmp_path / "conf.d" / "a.yaml").write_text("auditor: {timeout_s: 1}\nauditor: {}\n")
    with pytest.raises(ConfigError, match=r"a.yaml: line 2: auditor: given before"):
        load(tmp_path / "config.yaml", find_plugin)


def test_another_name_has_a_folder_of_its_own(tmp_path: Path):
    """Instances of the service, `NAME.yaml`, have `NAME.d`; hidden and other files do not count."""
    config = loaded(tmp_path, a="log: {level: debug}\n")
    (tmp_path / "lab.yaml").write_text(MAIN)
    assert config.log.level == "debug"
    assert load(tmp_path / "lab.yaml", find_plugin).log.level == "info"
    (tmp_path / "lab.d").mkdir()
    for name, level in (("a.yaml", "error"), (".b.yaml", "debug"), ("c.yaml~", "debug")):
        (tmp_path / "lab.d" / name).write_text(f"log: {{level: {level}}}\n")
    assert load(tmp_path / "lab.yaml", find_plugin).log.level == "error"


def test_the_file_itself_may_be_empty(tmp_path: Path):
    """Everything is in `conf.d` then; with nothing at all it is a mistake."""
    config = tmp_path / "config.yaml"
    config.write_text("")
    with pytest.raises(ConfigError, match="empty"):
        load(config, find_plugin)
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "1.yaml").write_text(MAIN)
    assert load(config, find_plugin).sources[0].name == "ap1"
