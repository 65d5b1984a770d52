"""The folder tree is the data path: who may import what."""

import ast
import functools
import re
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

STATIONS = (
    *("mapping", "config", "source", "outbox", "auditor", "embedded", "sender", "pipeline"),
    *("metrics", "daemon", "cli"),
)
"""The packages of collector/, each imports from itself and those before it."""
MODES = {
    "collector_htcondor": ("history", "epochs", "per_job", "condor_history", "running"),
    "collector_slurm": ("sacct", "jobcomp"),
}


@functools.cache
def imports(path: Path) -> tuple[str, ...]:
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[str]:
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
    """Plugins know record, job, source and mapping, and the type of their section."""
    allowed = ("record", "source", "job", "mapping", "config")
    for module, path in MODULES.items():
        if module.split(".")[0] == plugin:
            for name in imports(path):
                package, _, rest = name.partition(".")
                if package == "collector":
                    assert rest.split(".")[0] in allowed, f"{module} imports {name}"
                elif package.startswith("collector"):
                    assert package == plugin, f"{module} imports {name}"


def test_only_the_client_and_the_embedded_server_speak_http():
    """httpcore: in collector/auditor/ alone; starlette and uvicorn: in collector/embedded/."""
    assert within(importers("httpcore", "httpx"), "collector.auditor")
    assert within(importers("starlette", "uvicorn"), "collector.embedded")


def test_client_and_embedded_server_share_the_limits_of_the_protocol_only():
    """Neither knows of the other: the server has nothing but the size of a body from the client."""
    assert not {
        one for one in importers("collector.embedded") if one.startswith("collector.auditor")
    }
    for module, path in MODULES.items():
        if module.startswith("collector.embedded"):
            for name in imports(path):
                if name.startswith("collector.auditor."):
                    assert name.startswith("collector.auditor.protocol"), f"{module}: {name}"


def test_the_ground_floor_is_flat_and_small():
    """Beside the stations of the data path: the two shapes of data, time, logs."""
    flat = {module for module in MODULES if re.fullmatch(r"collector\.\w+", module)}
    stations = {module for module in flat if MODULES[module].name == "__init__.py"}
    ground = {"collector.record", "collector.job", "collector.clock", "collector.logs"}
    assert flat - stations - {"collector.__main__"} == ground
    assert stations == {f"collector.{name}" for name in STATIONS}


def test_a_station_imports_no_later_one():
    """Packages import in one direction, so there is no cycle between them."""
    order = {name: rank for rank, name in enumerate(STATIONS)}
    for module, path in MODULES.items():
        station = module.split(".")[1] if module.startswith("collector.") else ""
        for name in imports(path):
            package, _, rest = name.partition(".")
            target = rest.split(".")[0]
            if package == "collector" and target in order and station in order:
                assert order[target] <= order[station], f"{module} imports {name}"


@pytest.mark.parametrize("plugin", MODES)
def test_a_mode_is_the_file_of_its_name(plugin: str):
    """Whoever looks for a mode opens the file that is called as it is in the configuration."""
    for mode in MODES[plugin]:
        assert f"{plugin}.{mode}" in MODULES


def test_the_same_role_has_the_same_name_in_both_plugins():
    """Commands, rotation, section, import of configurations: one name for each."""
    for role in ("source", "section", "command", "rotation", "import_config"):
        assert {f"collector_htcondor.{role}", f"collector_slurm.{role}"} <= MODULES.keys()


def test_no_test_module_imports_from_another():
    """What tests share is in tests/helpers/, or in a module that is no test."""
    for path in (ROOT / "tests").rglob("*.py"):
        for name in imports(path):
            assert not re.search(r"^tests\.(.*\.)?test_", name), f"{path}: {name}"


def test_only_the_outbox_opens_its_file():
    """Others that import sqlite3 have other files: the Auditor, a scratch file, other programs'."""
    importing = importers("sqlite3", "sqlite_utils")
    others = ("collector.embedded", "collector.cli.serve_auditor", "collector.pipeline.reconcile")
    theirs = "collector.cli.import_config"
    assert within(importing, "collector.outbox", *others, theirs)


def test_only_the_daemon_schedules_and_handles_signals():
    """Both belong to collector/daemon/; but the embedded Auditor ends by itself, and commands are
    killed.
    """
    assert within(importers("apscheduler"), "collector.daemon")
    assert within(
        importers("signal"),
        "collector.daemon",
        "collector.embedded.server",
        "collector.source.command",
    )


def test_the_outbox_and_the_client_meet_in_sender_and_pipeline():
    """Neither knows of the other."""
    outbox, auditor = importers("collector.outbox"), importers("collector.auditor")
    both = {module for module in outbox & auditor if not module.startswith("collector.cli")}
    assert within(both, "collector.sender", "collector.pipeline")
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
