"""Starts the command with what the package brings, and with plugins of the site; nothing else."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), "/usr/local/lib/auditor-collector"]
sys.argv[0] = "auditor-collector"

from collector.cli import main  # noqa: E402 - it is found on the path above

main()
