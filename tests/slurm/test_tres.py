"""What was allocated becomes components: GPUs by type, billing, energy, memory in any unit."""

from pathlib import Path

import pytest
import yaml

from collector.config import mapping_of, parse
from collector.source import find_plugin
from collector_slurm.source import SlurmSource
from tests.slurm.standin import CAPTURED_AT, jobs, quiet, row, standin, written

TRES = (
    "billing=96,cpu=8,energy=5432100,gres/gpu:a100=2,gres/gpu:h100=1,gres/gpu=3,"
    "gres/shard=16,license/matlab=4,mem=1.50T,node=2"
)
ITEMS = {
    "GPUs": "gres/gpu",
    "A100": "gres/gpu:a100",
    "H100": "gres/gpu:h100",
    "V100": "gres/gpu:v100",
    "Billing": "billing",
    "Energy": "energy",
    "Licenses": "license/matlab",
}


def components(folder: Path, **columns: str) -> dict[str, int]:
    """The components of a run with these columns: the default ones, and those of ITEMS."""
    rules = {
        name: {"field": "AllocTRES", "item": item, "type": "integer", "optional": True}
        for name, item in ITEMS.items()
    }
    rows = written(folder, [row("7", **columns)])
    keys = {"name": "slurm", "plugin": "slurm", "record_prefix": "slurm", "pause_s": 0}
    source = {**keys, "sacct": standin(folder, rows), "mapping": {"components": rules}}
    section = parse(yaml.safe_dump({"sources": [source]}), find_plugin).sources[0]
    mapping = mapping_of(section, SlurmSource)
    given = SlurmSource(section, quiet(CAPTURED_AT, frozenset(mapping.fields)))
    (job,) = jobs(given.poll(None)).values()
    return {one.name: one.amount for one in mapping.record(job).components}


def test_every_tres_can_be_a_component(tmp_path: Path):
    """GPUs of each type and of all together; what the job did not have is left out."""
    found = components(tmp_path, AllocTRES=TRES, AllocCPUS="8")
    assert found == {
        "Cores": 8,
        "Memory": 3 << 19,
        "GPUs": 3,
        "A100": 2,
        "H100": 1,
        "Billing": 96,
        "Energy": 5432100,
        "Licenses": 4,
    }


@pytest.mark.parametrize(
    ("size", "mebibytes"),
    [("64M", 64), ("2048K", 2), ("4G", 4096), ("1.50T", 3 << 19), ("1P", 1 << 30), ("1000", 0)],
)
def test_memory_is_mebibytes_whatever_unit_slurm_chose(size: str, mebibytes: int, tmp_path: Path):
    """A size without a unit is in bytes."""
    assert components(tmp_path, AllocTRES=f"cpu=2,mem={size},node=1")["Memory"] == mebibytes


def test_a_cluster_without_tres_of_its_own_still_has_cores(tmp_path: Path):
    """AllocTRES empty: cores come from AllocCPUS, and memory is unknown, not 0."""
    assert components(tmp_path, AllocTRES="") == {"Cores": 2}
