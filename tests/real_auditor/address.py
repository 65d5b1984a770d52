"""The real Auditor of a run of the tests."""

import os

import pytest

real_url = pytest.mark.skipif(
    "AUDITOR_URL" not in os.environ,
    reason="set AUDITOR_URL to the address of a real Auditor; the test leaves records in it",
)
