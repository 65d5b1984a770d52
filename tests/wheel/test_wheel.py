"""The installed wheel works without the checkout; .ci/check-wheel runs this."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from collector.config import default_mapping
from collector.source import Source, find_plugin, installed_plugins

COMMAND = Path(sys.executable).with_name("auditor-collector")


def test_the_package_comes_from_the_wheel():
    """Nothing of a checkout is on the path."""
    import collector

    assert "site-packages" in str(collector.__file__)


@pytest.mark.parametrize("name", ["htcondor", "slurm"])
def test_both_plugins_are_found_with_their_default_mapping(name: str):
    """Their files that are no Python came along."""
    assert name in installed_plugins()
    plugin = find_plugin(name)
    assert issubclass(plugin, Source)
    assert "Cores" in default_mapping(plugin).components


def test_types_and_version_came_along():
    """py.typed, for mypy; the version, for records."""
    files = {str(file) for file in importlib.metadata.files("auditor-collector") or ()}
    assert "collector/py.typed" in files
    assert "collector_slurm/py.typed" in files
    assert not any(file.startswith("tests") for file in files)


def test_every_command_has_help_with_an_example():
    """`--help` of each, without the extras that it may need."""
    said = subprocess.run([COMMAND, "--help"], capture_output=True, text=True, check=True).stdout
    commands = [line.split()[0] for line in said.partition("Commands:")[2].splitlines() if line]
    assert {"run", "backfill", "check", "status"} <= set(commands)
    for command in commands:
        help_text = subprocess.run(
            [COMMAND, command, "--help"], capture_output=True, text=True, check=True
        ).stdout
        assert "auditor-collector" in help_text.partition("Options:")[0], command
        assert "Example" in help_text, command


def test_rich_is_not_in_the_environment_of_the_service():
    """httpx and structlog import it when they find it, for 4.5 MiB on every node."""
    installed = {dist.metadata["Name"].lower() for dist in importlib.metadata.distributions()}
    assert "rich" not in installed
