"""Every command explains itself: what it does, with an example that can be copied."""

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from collector.cli import main


def commands(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        yield (*path, name)
        if isinstance(found, click.Group):
            yield from commands(found, *path, name)


ALL = [*commands(main)]


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_a_help_text_has_an_example_line_by_line(path: tuple[str, ...]):
    """Each command of it in a line of its own, as one would type it, and no control characters."""
    done = CliRunner().invoke(main, [*path, "--help"])
    assert done.exit_code == 0
    assert "\\b" not in done.output
    assert "\b" not in done.output
    _, found, after = done.output.partition("Example")
    assert found, done.output
    lines = [line.strip() for line in after.splitlines()]
    assert any(" auditor-collector " in f" {line}" for line in lines)
    assert all(line.count("auditor-collector ") <= 2 for line in lines), done.output


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_a_help_text_begins_with_an_imperative(path: tuple[str, ...]):
    """`List …`, not `Lists …`; one sentence that ends."""
    done = CliRunner().invoke(main, [*path, "--help"])
    first = done.output.split("\n\n")[1].strip()
    assert not first.split()[0].endswith("s"), first
