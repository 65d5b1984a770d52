"""The soak, in small."""

import random
from pathlib import Path

import pytest

from tests.delivery.soak import soak


@pytest.mark.slow
def test_kills_and_faults_at_random_lose_nothing(tmp_path: Path):
    """The daemon and the Auditor are killed again and again; `reconcile` finds all equal."""
    assert soak(tmp_path, jobs=5_000, seed=random.randrange(10**6)) == 0
