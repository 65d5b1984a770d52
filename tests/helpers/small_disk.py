"""A small file system of our own, which can really be full."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


@contextlib.contextmanager
def small_disk(path: Path, inodes: int = 0) -> Iterator[Path]:
    """12 MB, inside the `with`; the write-ahead log of an outbox alone grows to 4 MB.

    Args:
        path: where.
        inodes: so many files at most; 0: any number.
    """
    path.mkdir()
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small file system")
    try:
        mount("-t", "tmpfs", "-o", f"size=12m,mode=700,nr_inodes={inodes}", "tmpfs", str(path))
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no small file system can be mounted here: {error}")
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)
