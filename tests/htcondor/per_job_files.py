"""A directory of per-job history files, as a schedd writes it."""

import os
from pathlib import Path
from typing import Any

from tests.htcondor.schedd import START, ad


def write(folder: Path, cluster: int, written_s: float | None = None, **attributes: Any) -> Path:
    """As the schedd does: under another name first."""
    lines = sorted(ad(cluster, **attributes).splitlines(keepends=True))
    path = folder / f"history.{cluster}.0"
    hidden = folder / f".history.{cluster}.0.tmp"
    hidden.write_bytes(b"".join(lines))
    written_s = START + 10 * cluster if written_s is None else written_s
    os.utime(hidden, (written_s, written_s))
    return hidden.rename(path)
