"""The example of docs/write-a-source.md is a plugin that works."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from collector.config import parse
from collector.source import Context, Source, UnknownPluginError, find_plugin, installed_plugins
from collector.source.testing import SourceContract
from tests.helpers.example_plugin import CONFIG, CONTRACT, PLUGIN, install, job


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The example, installed as a distribution of its own, beside a log of 50 jobs."""
    install(tmp_path)
    log = b"".join(map(job, range(49))) + b"not a job\n" + job(50)[:10]
    (tmp_path / "jobs.jsonl").write_bytes(log)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()
    yield importlib.import_module("my_package")
    sys.modules.pop("my_package")


def test_the_example_is_short():
    """A complete plugin takes less than 60 lines."""
    assert len(PLUGIN.splitlines()) < 60


def test_the_example_is_found_by_its_name_and_configured_by_its_keys(installed: Any):
    """An installed distribution offers its plugin; its section's keys stand in the YAML file."""
    assert find_plugin("jsonlines") is installed.JsonLinesSource
    section = parse(CONFIG, find_plugin).sources[0]
    assert section.log == "/var/log/scheduler/jobs.jsonl"  # type: ignore[attr-defined]


def test_an_unknown_plugin_lists_the_installed_ones(installed: Any):
    """Ours and the third party's."""
    assert installed_plugins() == ["htcondor", "jsonlines", "slurm"]
    with pytest.raises(UnknownPluginError, match="htcondor, jsonlines, slurm"):
        find_plugin("pbs")


class TestExample(SourceContract):
    """The example keeps every promise of the contract, as its page says."""

    @pytest.fixture(autouse=True)
    def _installed(self, installed: Any) -> None:
        names: dict[str, Any] = dict(vars(installed))
        exec(CONTRACT, names)  # the page's own test module
        self.page = names["TestJsonLines"]()

    def source(self, context: Context) -> Source:
        source = self.page.source(context)
        assert isinstance(source, Source)
        return source

    def test_what_is_no_job_is_told_and_a_torn_line_waits(self):
        """49 jobs, one unreadable line, and the torn one later."""
        batches = self.read()
        assert sum(len(batch.jobs) for batch in batches) == 49
        assert [one.raw for batch in batches for one in batch.unreadable] == [b"not a job\n"]
