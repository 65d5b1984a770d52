"""One grammar reads every form of a job id."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector_slurm.jobid import JobId, check_job

FORMS = {
    "31": JobId(31),
    "38_7": JobId(38, task=7),
    "163_[5-10%2]": JobId(163, tasks="5-10%2"),
    "177_[1-49:2%5]": JobId(177, tasks="1-49:2%5"),
    "117_[0-99]": JobId(117, tasks="0-99"),
    "39_[3,5,100-102]": JobId(39, tasks="3,5,100-102"),
    "39_[1,3,5,7,...]": JobId(39, tasks="1,3,5,7,..."),
    "42+0": JobId(42, offset=0),
    "31.batch": JobId(31, step="batch"),
    "31.extern": JobId(31, step="extern"),
    "134.interactive": JobId(134, step="interactive"),
    "31.0": JobId(31, step="0"),
    "31.4294967293": JobId(31, step="4294967293"),
    "42+1.2": JobId(42, offset=1, step="2"),
    "42.0+1": JobId(42, step="0+1"),
    "38_7.batch": JobId(38, task=7, step="batch"),
    "183.TBD": JobId(183, step="TBD"),
}


@pytest.mark.parametrize(("text", "taken_apart"), FORMS.items())
def test_every_form_is_taken_apart_and_put_together(text: str, taken_apart: JobId):
    """Array tasks, pending arrays, heterogeneous components and steps are told apart."""
    assert JobId.parse(text) == taken_apart
    assert str(taken_apart) == text


@pytest.mark.parametrize(
    "text", ["", "batch", "31.", "31_", "31+", "31_[", "31_[]", "31.foo", " 31", "31\n", "٣١", "-1"]
)
def test_what_is_no_job_id_is_refused(text: str):
    """The error shows the text and what an id looks like."""
    with pytest.raises(ValueError, match="is not a job id as 31, 38_7"):
        JobId.parse(text)
    with pytest.raises(ValueError, match="is not a job id as 31, 38_7"):
        check_job(text)


@pytest.mark.parametrize("text", FORMS)
def test_a_step_is_not_taken_for_a_job(text: str):
    """A row of a step that stands for a job would be accounted beside its job."""
    if FORMS[text].step is None:
        check_job(text)
    else:
        with pytest.raises(ValueError, match="is the id of a step"):
            check_job(text)


@given(
    st.integers(0, 2**31),
    st.none() | st.integers(0, 4_000_000),
    st.sampled_from([None, "batch", "7"]),
)
def test_any_id_survives_being_written_and_read(number: int, task: int | None, step: str | None):
    """What `str` writes, `parse` reads."""
    job_id = JobId(number, task=task, step=step)
    assert JobId.parse(str(job_id)) == job_id
