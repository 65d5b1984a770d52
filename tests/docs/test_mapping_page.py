"""What docs/mapping.md shows is a mapping, and gives what the page says."""

import re
from datetime import UTC, datetime
from pathlib import Path

from collector.config import mapping_of, parse
from collector.job import Job
from collector.source import find_plugin

PAGE = (Path(__file__).parents[2] / "docs" / "mapping.md").read_text()
TABLE = re.findall(r"```\n(# hepscore.*?)```", PAGE, re.DOTALL)[0]
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def configuration(block: str) -> str:
    if block.startswith("sources:"):
        return block
    indented = "".join(f"    {line}\n" for line in block.splitlines())
    return f"sources:\n  - name: x\n    plugin: slurm\n    record_prefix: x\n{indented}"


def test_every_example_is_a_configuration(tmp_path: Path):
    """Each block is read without a mistake."""
    assert len(BLOCKS) >= 3
    for name in ("vos.txt", "hepscore.txt"):
        (tmp_path / name).write_text(TABLE)
    for block in BLOCKS:
        assert parse(configuration(block), find_plugin, tmp_path / "config.yaml")


def test_the_long_example_gives_what_it_says():
    """Site by condition, VO by expression, VOMS from a comment, megabytes, GPUs, scores."""
    section = parse(configuration(BLOCKS[1]), find_plugin).sources[0]
    fields: dict[str, str | int | float] = {
        "Partition": "new-1",
        "AcctGroup": "group_atlas.prod",
        "AdminComment": "{'voms': '/atlas/Role=production'}",
        "AllocCPUS": 8,
        "AllocTRES": "cpu=8,mem=64M,gres/gpu=2",
        "RemoteUserCpu": 10.0,
        "RemoteSysCpu": 0.5,
    }
    plugin = type("Plugin", (), {"Section": type(section), "mapping": ""})
    start = datetime(2026, 1, 1, tzinfo=UTC)
    record = mapping_of(section, plugin).record(Job("1", start, start, fields, b"", ""))
    assert record.meta is not None
    assert {key: record.meta[key] for key in ("site", "vo", "voms")} == {
        "site": ["SITE-B"],
        "vo": ["atlas"],
        "voms": ["/atlas/Role=production"],
    }
    amounts = {one.name: (one.amount, [s.value for s in one.scores]) for one in record.components}
    assert amounts == {
        "Cores": (8, [12.5]),
        "Memory": (67, []),
        "GPUs": (2, []),
        "TotalCPU": (10, []),
    }


def test_every_key_of_a_rule_stands_on_the_page():
    """A key that the code knows and the page does not would be a secret."""
    from collector.mapping.rules import ComponentRule

    for key in ComponentRule.__struct_fields__:
        assert f"`{key}`" in PAGE or f"{key}:" in PAGE, key
