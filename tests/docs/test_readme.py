"""What README and docs say is so: commands and options exist, links lead somewhere."""

import re
from pathlib import Path

import pytest

from collector.cli import main
from collector.config import parse
from collector.source import find_plugin

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
README = PAGES[0].read_text()


def test_its_configuration_is_one():
    """The five lines are read without a mistake."""
    (block,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert parse(block, find_plugin).sources[0].name == "ap1"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_its_commands_exist(page: Path):
    """Every `auditor-collector X` of the pages is a command, with the options that are shown."""
    context = main.make_context("auditor-collector", ["--version"], resilient_parsing=True)
    commands = {name: main.get_command(context, name) for name in main.list_commands(context)}
    for line in re.findall(r"(?:^|[`$/]\s?)auditor-collector ([a-z][^`|#\n]*)", page.read_text()):
        words = line.split()
        name = words[0].rstrip(".,;:)")
        assert name in commands, f"{page.name}: {line}"
        command = commands[name]
        assert command is not None
        sub = getattr(command, "commands", {}).get(words[1] if len(words) > 1 else "", command)
        known = {option for one in (command, sub) for p in one.params for option in p.opts}
        for option in re.findall(r"(?<!\S)--[a-z-]+", line):
            assert option in known | {"--help"}, f"{page.name}: {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_its_links_lead_somewhere(page: Path):
    """Every relative link names a file of the repository."""
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_its_make_targets_exist():
    """`make X` of the README is a target."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)`", README)) <= targets
