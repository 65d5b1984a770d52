"""The embedded Auditor answers as the real one does: as recorded, and side by side."""

import os
import uuid
from pathlib import Path

from tests.real_auditor.address import real_url
from tests.real_auditor.conversation import Step, differences, digest, hold, steps

ANSWERS = Path(__file__).parent / "answers.txt"


def test_the_embedded_auditor_answers_as_the_real_one_did(url: str) -> None:
    """Every answer equals the one that was recorded: status, type, body, order of records."""
    conversation = list(steps("recorded"))
    recorded = ANSWERS.read_text().splitlines()
    heard = hold(url, conversation)
    assert len(recorded) == len(conversation)
    assert _unequal(conversation, recorded, [digest(answer) for answer in heard]) == []


def test_differences_are_as_documented(url: str) -> None:
    """Where the embedded Auditor differs on purpose, it does, and its page says so."""
    page = (Path(__file__).parents[2] / "docs" / "embedded-auditor.md").read_text()
    for reason, step, _, ours in differences("t"):
        (answer,) = hold(url, [step])
        assert (reason, answer.status) == (reason, ours)
        assert reason in page


@real_url
def test_the_embedded_and_the_real_auditor_answer_the_same(url: str) -> None:
    """Side by side, every answer of both is the same."""
    conversation = list(steps(uuid.uuid4().hex[:8]))
    real = hold(os.environ["AUDITOR_URL"], conversation)
    ours = hold(url, conversation)
    assert _unequal(conversation, real, ours) == []


@real_url
def test_the_real_auditor_differs_where_it_is_said_to() -> None:
    """The list of differences is not out of date."""
    for reason, step, status, _ in differences(uuid.uuid4().hex[:8]):
        (answer,) = hold(os.environ["AUDITOR_URL"], [step])
        assert (reason, answer.status) == (reason, status)


def _unequal(conversation: list[Step], expected: list, heard: list) -> list[str]:  # type: ignore[type-arg] # answers or digests
    return [
        f"{step}: expected {one}, heard {other}"
        for step, one, other in zip(conversation, expected, heard, strict=True)
        if one != other
    ]
