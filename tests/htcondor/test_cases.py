"""Real ads of a real pool give exactly the records that stand beside them."""

import pytest

from tests.htcondor.cases import NAMES, expected, result


@pytest.mark.parametrize("case", NAMES)
def test_a_case_gives_its_expected_records(case: str):
    """Every record of a case is there, in order, whole, and so is every ad that is none."""
    assert result(case) == expected(case)
