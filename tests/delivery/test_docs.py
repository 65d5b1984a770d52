"""docs/delivery.md says what the tests show."""

import re
from pathlib import Path

from tests.delivery.access_faults import SCENARIOS

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "delivery.md").read_text()


def test_every_fault_stands_in_the_page():
    """With what happens and under which name it is played."""
    for name, scenario in SCENARIOS.items():
        assert f"| {scenario.fault} | {scenario.happens} | `{name}` |" in PAGE


def test_every_test_that_the_page_names_is_there():
    """A renamed test is renamed in the page."""
    files = [
        *(TESTS / "outbox").glob("test_*.py"),
        *(TESTS / "delivery").glob("test_*.py"),
        TESTS / "operation" / "test_lag.py",
    ]
    code = "".join(file.read_text() for file in files)
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 10
    assert [name for name in named if f"def {name}(" not in code] == []
