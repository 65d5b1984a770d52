"""`check` tells which modes a machine offers, and why another would be better."""

from pathlib import Path
from typing import Any

import pytest

from tests.htcondor.schedd import ad
from tests.htcondor.standin import Pool


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    found = Pool(tmp_path)
    schedd = found.schedd()
    schedd.append(ad(1))
    found.configure("HISTORY", schedd.history)
    return found


def offers(pool: Pool, **keys: Any) -> dict[str, str]:
    """What is said of each mode, and of tracking; none of it is a fault."""
    given = {"history": pool.folder / "here" / "history", "condor_q": str(pool.folder / "condor_q")}
    findings = list(pool.source(**{**given, **keys}).check())[1:]
    assert all(finding.ok for finding in findings)
    texts = [finding.text.removeprefix("mode: ") for finding in findings]
    return {text.split(" ")[0]: text for text in texts}


def test_the_mode_in_use_is_told_and_those_that_are_not_set_up(pool: Pool):
    """With the names in HTCondor's configuration that would set them up, and why one might."""
    told = offers(pool, mode="history")
    assert told["history"] == "history is used"
    assert "JOB_EPOCH_HISTORY is not set" in told["epochs"]
    assert "evicted" in told["epochs"]
    assert "PER_JOB_HISTORY_DIR is not set" in told["per_job"]
    assert "can be used" in told["condor_history"]
    assert "can be used" in told["track_running"]


def test_a_better_mode_that_is_there_is_named_with_its_key(pool: Pool):
    """The epoch history has every run; the files beside the collector beat the command."""
    path = pool.folder / "epoch_history"
    path.write_bytes(ad(1))
    pool.configure("JOB_EPOCH_HISTORY", path)
    told = offers(pool, mode="history")
    assert f"epochs can be used (epoch_history: {path}), and may be better" in told["epochs"]
    told = offers(pool, mode="condor_history")
    assert "may be better" in told["history"]
    told = offers(pool, mode="condor_history", schedd_names=["here"])
    assert "may be better" not in told["history"]


def test_files_that_are_not_those_of_the_machine_are_told(pool: Pool):
    """A forgotten path, or a copy on purpose."""
    pool.configure("HISTORY", pool.folder / "state.json")
    told = offers(pool, mode="history")
    assert f"HISTORY of this machine is {pool.folder / 'state.json'}" in told["history"]


def test_a_file_that_is_gone_or_a_command_that_hangs_is_no_offer(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
):
    """And holds nothing up."""
    pool.configure("PER_JOB_HISTORY_DIR", pool.folder / "nowhere")
    assert "nowhere is not here" in offers(pool, mode="history")["per_job"]
    monkeypatch.setattr("collector_htcondor.modes._TIMEOUT_S", 0.5)
    (pool.folder / "condor_config_val").write_text("#!/bin/sh\nexec sleep 60\n")
    assert "gave nothing more" in offers(pool, mode="history")["epochs"]


def test_without_htcondors_commands_the_files_are_looked_for_where_they_are_configured(pool: Pool):
    """A machine may have the files only."""
    gone = {"condor_history": "/nowhere/condor_history", "condor_q": "/nowhere/condor_q"}
    told = offers(pool, mode="history", **gone)
    assert "condor_config_val" in told
    assert told["history"] == "history is used"
    assert "/nowhere/condor_history is not here" in told["condor_history"]
    assert "/nowhere/condor_q is not here" in told["track_running"]
