"""The AUDITOR project's own Slurm collector, where it is installed, over a `sacct` of ours.

It calls `/usr/bin/sacct`, whatever the PATH says, so it runs in a mount namespace of its own where
another program stands in that place. This needs root, `unshare`, and an installed Slurm.
"""

import os
import shutil
from pathlib import Path

NAME = "auditor-slurm-collector"
SACCT = Path("/usr/bin/sacct")
_PATH = f"{os.environ.get('PATH', '')}:{Path.home()}/.cargo/bin"


def unavailable() -> str | None:
    """Why it cannot run here, if it cannot."""
    if shutil.which(NAME, path=_PATH) is None:
        return f"{NAME} is not installed: SQLX_OFFLINE=true cargo install {NAME}"
    if os.geteuid() != 0 or shutil.which("unshare") is None or not SACCT.exists():
        return f"needs root, unshare, and a {SACCT} to put the stand-in over"
    return None


def command(config: Path, sacct: str) -> list[str]:
    """Runs it with a configuration over a program that stands in for `sacct`."""
    program = shutil.which(NAME, path=_PATH)
    assert program is not None
    script = 'mount --bind "$1" "$2" && exec "$3" "$4"'
    return ["unshare", "--mount", "sh", "-c", script, "sh", sacct, str(SACCT), program, str(config)]
