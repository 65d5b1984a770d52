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


def test_a_knob_of_the_daemon_counts_before_the_one_for_all(pool: Pool):
    """SCHEDD.HISTORY, as HTCondor's own tests set it; the epoch history is the shadow's."""
    path = pool.folder / "epoch_history"
    path.write_bytes(ad(1))
    pool.configure("HISTORY", "/nowhere/history")
    pool.configure("SCHEDD.HISTORY", pool.folder / "here" / "history")
    pool.configure("SHADOW.JOB_EPOCH_HISTORY", path)
    offered = offers(pool, mode="history")
    assert offered["history"] == "history is used"
    assert str(path) in offered["epochs"]


def test_a_history_that_is_read_well_is_used_whatever_the_configuration_says(pool: Pool):
    """`cannot be used` beside a source that reads would be wrong."""
    (pool.folder / "HISTORY.knob").unlink()
    assert offers(pool, mode="history")["history"].startswith("history is used, for ")


def test_a_configuration_that_cannot_be_read_is_not_one_without_the_knob(pool: Pool):
    """The reason is given."""
    script = "#!/bin/sh\necho 'ERROR: Can not read config source /etc/condor' >&2; exit 1\n"
    (pool.folder / "condor_config_val").write_text(script)
    assert "Can not read config source" in offers(pool, mode="history")["epochs"]
    assert "not set" not in offers(pool, mode="history")["epochs"]


def test_a_ce_is_asked_by_its_own_commands(pool: Pool):
    """HTCondor-CE has a configuration of its own."""
    path = pool.folder / "condor_ce_config_val"
    path.write_text(f"#!/bin/sh\necho {pool.folder}/here/history\n")
    path.chmod(0o755)
    ce = str(pool.folder / "condor_ce_history")
    assert offers(pool, mode="history", condor_history=ce)["history"] == "history is used"


@pytest.mark.parametrize(
    ("protected", "text", "level"),
    [
        (None, "owner can edit GlobalJobId, RoutedToJobId, AcctGroup", "note"),
        ("GlobalJobId, AcctGroup", "owner can edit RoutedToJobId", "note"),
        ("GlobalJobId RoutedToJobId AcctGroup CpusProvisioned", "no job ends", "warning"),
        ("globaljobid,routedtojobid,acctgroup", None, None),
    ],
)
def test_what_owners_can_edit_is_checked(
    pool: Pool, protected: str | None, text: str | None, level: str | None
):
    """PROTECTED_JOB_ATTRS of the schedd, and what must not be in it."""
    if protected is not None:
        pool.configure("PROTECTED_JOB_ATTRS", protected)
    source = pool.source(history=pool.folder / "here" / "history", mode="history")
    findings = [one for one in source.check() if "PROTECTED_JOB_ATTRS" in one.text]
    assert [(one.level, text is not None and text in one.text) for one in findings] == (
        [] if text is None else [(level, True)]
    )


def test_the_epoch_history_has_limits_of_its_own(pool: Pool):
    """Who raised MAX_HISTORY_LOG after a gap would go on losing runs."""
    path = pool.folder / "epoch_history"
    path.write_bytes(ad(1) + b'*** EPOCH ClusterId=1 ProcId=0 RunInstanceId=0 Owner="a"\n')
    finding = next(iter(pool.source(mode="epochs", epoch_history=path).check()))
    assert "MAX_EPOCH_HISTORY_LOG and MAX_EPOCH_HISTORY_ROTATIONS" in finding.text


def test_a_missing_default_path_says_where_this_system_has_it(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Debian's spool is another folder than HTCondor's own packages have."""
    monkeypatch.setattr("collector_htcondor.places._SPOOLS", (str(pool.folder / "here"),))
    finding = next(iter(pool.source(mode="history", history=tmp_path / "x" / "history").check()))
    assert not finding.ok
    assert f"this system has {pool.folder}/here/history" in finding.text
