"""What tests of the Debian package share, made once in a process: a clean system, the package."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.operation.machine import SUITE, folder_for_a_system, run

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def clean_system() -> Iterator[Path]:
    """Debian's smallest system with Python; nothing else. To be copied, not to be used."""
    with folder_for_a_system() as folder:
        run("debootstrap", "--variant=minbase", "--include=python3", SUITE, folder)
        yield folder


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What .ci/package builds, of the files as they are."""
    tree = tmp_path_factory.mktemp("package") / "tree"
    shutil.copytree(
        ROOT,
        tree,
        ignore=shutil.ignore_patterns(".*_cache", ".venv", ".demo", "dist", "__pycache__"),
    )
    run("bash", tree / ".ci" / "package", sys.executable)
    return tree / "dist"
