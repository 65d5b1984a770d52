"""Numbers, durations and sizes are read exactly, or refused."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.mapping import quantities


@given(st.integers(-(2**64) + 1, 2**64 - 1))
def test_a_whole_number_stays_one(value: int):
    """An integer comes back as it is, from a number and from text."""
    assert quantities.integer(value) == value
    assert quantities.integer(str(value)) == value
    assert type(quantities.number(str(value))) is int


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_real_number_is_read_as_python_prints_it(value: float):
    """Text of a real number gives the number."""
    assert quantities.number(repr(value)) == value


@pytest.mark.parametrize(
    "value",
    ["", "x", "1_000", "0x10", "nan", "inf", "１", "1 2", True, None, math.nan, math.inf, []],
)
def test_what_is_no_number_is_refused(value: object):
    """Booleans, infinities, NaN, hexadecimal and other scripts' digits are no numbers."""
    with pytest.raises(ValueError, match="expected"):
        quantities.number(value)


def test_an_integer_beyond_64_bits_is_no_number():
    """No scheduler counts that far; multiplying texts of 4000 digits would take minutes."""
    with pytest.raises(ValueError, match="expected"):
        quantities.number(10**4000)
    with pytest.raises(ValueError, match="expected"):
        quantities.number("9" * 4000)


def test_a_fraction_is_no_whole_number():
    """1.5 is refused where a whole number is expected; 2.0 is one."""
    with pytest.raises(ValueError, match="whole"):
        quantities.integer("1.5")
    assert quantities.integer(2.0) == 2


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("00:00.003", 0.003),
        ("01:27", 87),
        ("00:01:27", 87),
        ("1-00:00:00", 86_400),
        ("2-03:04:05.5", 183_845.5),
        ("100:00:00", 360_000),
        ("87", 87),
        (12, 12),
    ],
)
def test_a_duration_is_read_to_the_millisecond(text: object, seconds: float):
    """Every form that sacct prints gives its seconds."""
    assert quantities.duration_s(text) == seconds


@given(st.integers(0, 10_000), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_any_duration_that_slurm_can_print_is_read(
    days: int, hours: int, minutes: int, seconds: int
):
    """days-hours:minutes:seconds gives the sum of its parts."""
    text = f"{days}-{hours:02}:{minutes:02}:{seconds:02}"
    assert quantities.duration_s(text) == ((days * 24 + hours) * 60 + minutes) * 60 + seconds


@pytest.mark.parametrize("text", ["INVALID", "UNLIMITED", "Unknown", "1:2:3:4", "-1:00", "", "1-2"])
def test_what_is_no_duration_is_refused(text: str):
    """Slurm's words for a missing duration are no duration."""
    with pytest.raises(ValueError, match="seconds"):
        quantities.duration_s(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("3313664", 3_313_664),
        ("64M", 64 << 20),
        ("4G", 4 << 30),
        ("1.50T", 3 << 39),
        ("0", 0),
        ("500K", 512_000),
        ("2GiB", 2 << 30),
        (1024, 1024),
    ],
)
def test_a_size_is_read_with_its_unit(text: object, size: int):
    """Units are powers of 1024; a plain number is bytes."""
    assert quantities.memory_bytes(text) == size
    assert type(quantities.memory_bytes(text)) is int


@pytest.mark.parametrize("text", ["4Gc", "10000Mn", "", "M", "-1M", "1X"])
def test_a_size_per_core_or_node_is_refused(text: str):
    """Without the number of cores or nodes it is no size."""
    with pytest.raises(ValueError, match="size"):
        quantities.memory_bytes(text)
