"""One entry breaks itself and nothing else: what `guarded` catches, and what it lets pass."""

import pytest

from collector.source import SourceError, Unreadable, guarded, reason_of


def raising(error: Exception):
    def make(entry: object, where: str) -> None:
        raise error

    return make


class Text:
    """An entry that makes its text when asked."""

    def __bytes__(self) -> bytes:
        return b"made when needed"


class Unwritable:
    """An entry whose text cannot be written, as one with a lone surrogate."""

    def __bytes__(self) -> bytes:
        return "\ud800".encode()

    def __repr__(self) -> str:
        return "<job \ud800>"


def test_what_is_made_of_a_good_entry_is_passed_on():
    """The result is that of the function, called with the entry and where it is."""
    assert guarded(lambda entry, where: (entry, where), b"text", "f:1") == (b"text", "f:1")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("StartTime is no time"),
        KeyError("State"),
        OverflowError("date value out of range"),
        RecursionError("maximum recursion depth exceeded"),
        MemoryError(),
        AssertionError(),
        OSError(5, "Input/output error"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_any_exception_is_the_entrys(error: Exception):
    """It becomes the entry's Unreadable, with its text, its place and the reason."""
    found = guarded(raising(error), b"text", "f:1")
    assert found == Unreadable(b"text", "f:1", reason_of(error))


def test_input_that_cannot_be_read_is_no_entrys_fault():
    """A SourceError ends the poll, which is repeated."""
    with pytest.raises(SourceError, match="slurmdbd is away"):
        guarded(raising(SourceError("slurmdbd is away")), b"text", "f:1")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1)])
def test_the_end_of_the_program_is_no_entrys_fault(error: BaseException):
    """What asks the program to end is passed on."""
    with pytest.raises(type(error)):
        guarded(raising(error), b"text", "f:1")  # type: ignore[arg-type]


def test_the_text_is_made_only_for_an_entry_that_fails():
    """An entry may be something that makes its text."""
    found = guarded(raising(ValueError("no")), Text(), "f:1")
    assert found.raw == b"made when needed"


def test_an_entry_whose_text_cannot_be_written_is_kept_as_it_is_shown():
    """Keeping the text is not what stops the others either."""
    found = guarded(raising(ValueError("no")), Unwritable(), "f:1")
    assert found.raw == b"<job \\ud800>"


def test_an_unforeseen_error_is_given_with_its_type():
    """A KeyError's message alone would be a mere name."""
    assert reason_of(KeyError("State")) == "KeyError: 'State'"
    assert reason_of(ValueError("expected a number")) == "expected a number"


def test_a_reason_is_bounded():
    """A message may hold the entry's text, which is as long as its user likes."""
    assert len(reason_of(ValueError("x" * 10_000))) == 500
