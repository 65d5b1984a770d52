"""The plugin of docs/write-a-source.md, for tests that need a source whose input they write."""

import re
from datetime import UTC, datetime
from pathlib import Path

import msgspec

PAGE = Path(__file__).parents[2] / "docs" / "write-a-source.md"
_BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(), re.DOTALL)
PLUGIN, ENTRY_POINT, CONFIG, CONTRACT = (text for _, text in _BLOCKS)

FIRST_START = datetime(2026, 1, 1, tzinfo=UTC)


def install(folder: Path) -> None:
    """Writes the example into a folder, as a distribution that is found from there."""
    (folder / "my_package.py").write_text(PLUGIN)
    info = folder / "my_package-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1\n")
    name, value = re.findall(r'(\w+) = "(.+)"', ENTRY_POINT)[0]
    (info / "entry_points.txt").write_text(f"[collector.sources]\n{name} = {value}\n")


def job(number: int, **fields: str | int) -> bytes:
    """A line of its log: job `number` starts that many seconds into 2026 and lasts a minute."""
    start = int(FIRST_START.timestamp()) + number
    text = {"id": number, "start": start, "end": start + 60, "user": "alice", "cores": 2}
    return msgspec.json.encode(text | fields) + b"\n"
