"""All that the author of a source plugin needs: the contract, commands, and tests to run on it.

`contract.py` says what a source is, `guard.py` keeps one bad entry from stopping the others,
`command.py` runs a scheduler's commands, `windows.py` reads window by window what has to be asked
for, and `testing.py` (which needs pytest) is the contract as tests. `docs/write-a-source.md` shows
how they are used.
"""

from collector.source.contract import (
    Batch,
    Checkpoint,
    Context,
    Filtered,
    Finding,
    Job,
    Lag,
    Source,
    SourceError,
    Stop,
    UnknownPluginError,
    Unreadable,
    Value,
    find_plugin,
    installed_plugins,
)
from collector.source.guard import guarded, reason_of

__all__ = [
    "Batch",
    "Checkpoint",
    "Context",
    "Filtered",
    "Finding",
    "Job",
    "Lag",
    "Source",
    "SourceError",
    "Stop",
    "UnknownPluginError",
    "Unreadable",
    "Value",
    "find_plugin",
    "guarded",
    "installed_plugins",
    "reason_of",
]
