"""The folder tree is the data path: who may import what."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = {
    path.relative_to(root)
    .with_suffix("")
    .as_posix()
    .replace("/", ".")
    .removesuffix(".__init__"): path
    for root in (ROOT, ROOT / "plugins")
    for folder in sorted(root.glob("collector*"))
    for path in sorted(folder.rglob("*.py"))
}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def importers(*targets: str) -> set[str]:
    """The modules that import one of the targets, or something below it."""
    return {
        module
        for module, path in MODULES.items()
        for name in imports(path)
        if any(name == target or name.startswith(target + ".") for target in targets)
    }


def within(modules: set[str], *allowed: str) -> bool:
    return all(
        any(module == one or module.startswith(one + ".") for one in allowed) for module in modules
    )


def test_a_record_knows_nothing_of_ours():
    """record.py stands at the bottom."""
    assert not any(
        name.split(".")[0] == "collector" for name in imports(MODULES["collector.record"])
    )


@pytest.mark.parametrize("plugin", ["collector_htcondor", "collector_slurm"])
def test_a_plugin_imports_only_the_contract(plugin: str):
    """Plugins know record, source and job, mapping, quantities and commands, and their section."""
    allowed = ("record", "source", "job", "mapping", "config", "quantities", "command")
    for module, path in MODULES.items():
        if module.split(".")[0] == plugin:
            for name in imports(path):
                package, _, rest = name.partition(".")
                if package == "collector":
                    assert rest.split(".")[0] in allowed, f"{module} imports {name}"
                elif package.startswith("collector"):
                    assert package == plugin, f"{module} imports {name}"


def test_only_the_auditor_package_speaks_http():
    """httpx, starlette and uvicorn are used in collector/auditor/ alone."""
    assert within(importers("httpx", "starlette", "uvicorn"), "collector.auditor")


def test_only_the_outbox_opens_its_file():
    """Others that import sqlite3 have other files: the Auditor, a scratch file, other programs'."""
    importing = importers("sqlite3", "sqlite_utils")
    others = ("collector.auditor", "collector.cli.serve_auditor", "collector.reconcile")
    theirs = "collector.cli.import_config"
    assert within(importing, "collector.outbox", *others, theirs)


def test_only_the_daemon_schedules_and_handles_signals():
    """APScheduler and signal belong to collector/daemon/; the embedded Auditor ends by itself."""
    assert within(importers("apscheduler"), "collector.daemon")
    assert within(importers("signal"), "collector.daemon", "collector.auditor.server")


def test_the_outbox_and_the_client_meet_in_the_sender():
    """Neither knows of the other; the sender knows both."""
    outbox, auditor = importers("collector.outbox"), importers("collector.auditor")
    both = {module for module in outbox & auditor if not module.startswith("collector.cli")}
    assert both - {"collector.assemble", "collector.reconcile"} <= {
        module for module in MODULES if module.startswith("collector.sender")
    }
    assert not {module for module in outbox if module.startswith("collector.auditor")}
    assert not {module for module in auditor if module.startswith("collector.outbox")}


def test_a_core_module_never_names_a_plugin():
    """Plugins are found by entry point."""
    assert within(importers("collector_htcondor"), "collector_htcondor")
    assert within(importers("collector_slurm"), "collector_slurm")


def test_modules_stay_readable():
    """A module has one job; past 450 lines it has two."""
    long = {module: len(path.read_text().splitlines()) for module, path in MODULES.items()}
    assert {module: lines for module, lines in long.items() if lines > 450} == {}
