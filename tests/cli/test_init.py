"""`init` writes a configuration for this machine, by what its tools say, and checks it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from collector.config import Config, load
from collector.source import find_plugin

SLURM_CONF = """\
Configuration data as of 2026-01-31T12:00:00
AccountingStorageType   = {storage}
ClusterName             = linac
JobCompLoc              = /var/log/slurm/jobcomp.log
JobCompType             = {jobcomp}
SLURM_VERSION           = 23.11.4
"""


class Machine:
    """A folder of tools, which is the whole PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.config = folder, folder / "config.yaml"
        self.bin = folder / "bin"
        self.bin.mkdir()

    def tool(self, name: str, *answers: tuple[str, str]) -> None:
        """A tool that prints an answer for each of its arguments, and fails with any other."""
        cases = ""
        for number, (pattern, answer) in enumerate(answers):
            (self.folder / f"{name}.{number}").write_text(answer)
            cases += f'  {pattern}) while IFS= read -r l; do echo "$l"; done < '
            cases += f"{self.folder}/{name}.{number};;\n"
        script = (
            f'#!/bin/sh\ncase "$*" in\n{cases}  *) echo "Not defined: $1" >&2; exit 1;;\nesac\n'
        )
        (self.bin / name).write_text(script)
        (self.bin / name).chmod(0o755)

    def init(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "collector", "init", "--config", str(self.config), *arguments],
            env={**os.environ, "PATH": str(self.bin)},
            capture_output=True,
            text=True,
            check=False,
        )

    def loaded(self) -> Config:
        return load(self.config, find_plugin)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def htcondor(machine: Machine, tool: str, **knobs: str) -> None:
    answers = [("-version", "$CondorVersion: 23.9.6 $\n")]
    machine.tool(tool, *answers, *((knob, f"{value}\n") for knob, value in knobs.items()))


def test_the_history_of_an_access_point_is_found(machine: Machine):
    """With its place, and the site's name if HTCondor knows it."""
    history = machine.folder / "history"
    history.touch()
    htcondor(machine, "condor_config_val", HISTORY=str(history), GLIDEIN_Site="My Site")
    done = machine.init()
    (section,) = machine.loaded().sources
    assert (section.plugin, getattr(section, "mode", "")) == ("htcondor", "history")
    assert getattr(section, "history", None) == history
    assert getattr(section.mapping.meta["site"], "value", None) == "My Site"
    assert "JOB_EPOCH_HISTORY is not set" in machine.config.read_text()
    assert "the address of your Auditor" in done.stderr
    assert f"ok       {machine.config}: 1 source" in done.stdout, "check runs at the end"


def test_the_epoch_history_is_preferred_and_the_others_are_comments(machine: Machine):
    """Every run of a job is in it; uncommenting another mode is a choice."""
    for name in ("history", "epochs"):
        (machine.folder / name).touch()
    epochs, history = machine.folder / "epochs", machine.folder / "history"
    htcondor(machine, "condor_config_val", HISTORY=str(history), JOB_EPOCH_HISTORY=str(epochs))
    machine.init("htcondor")
    (section,) = machine.loaded().sources
    assert (getattr(section, "mode", ""), getattr(section, "epoch_history", "")) == (
        "epochs",
        epochs,
    )
    assert f"# history: {history}" in machine.config.read_text()
    assert "site" not in section.mapping.meta, "a name that nobody gave is not sent"
    assert "# mapping: {meta: {site: {value: MY-SITE}}}" in machine.config.read_text()


@pytest.mark.parametrize(
    ("storage", "jobcomp", "mode"),
    [
        ("accounting_storage/slurmdbd", "jobcomp/none", "sacct"),
        ("(null)", "jobcomp/filetxt", "jobcomp"),
    ],
)
def test_slurm_is_read_where_its_accounting_is(
    machine: Machine, storage: str, jobcomp: str, mode: str
):
    """By slurmdbd where that is used, else from the log."""
    machine.tool("scontrol", ("*", SLURM_CONF.format(storage=storage, jobcomp=jobcomp)))
    machine.tool("sacct", ("--version", "slurm 23.11.4\n"))
    if mode == "sacct":
        machine.tool("sacctmgr", ("*", "linac\nother\n"))
    machine.init()
    (section,) = machine.loaded().sources
    assert (section.name, section.record_prefix) == ("linac", "slurm-linac")
    assert getattr(section, "mode", "") == mode
    assert ("# clusters: [linac, other]" in machine.config.read_text()) == (mode == "sacct")


def test_both_schedulers_and_a_ce_get_a_source_each(machine: Machine):
    """Names and prefixes differ; a CE has its own history."""
    for tool in ("condor_config_val", "condor_ce_config_val"):
        history = machine.folder / f"{tool}.history"
        history.touch()
        htcondor(machine, tool, HISTORY=str(history))
    machine.tool("scontrol", ("*", SLURM_CONF.format(storage="x/slurmdbd", jobcomp="none")))
    machine.init()
    sections = machine.loaded().sources
    assert [section.plugin for section in sections] == ["htcondor", "htcondor", "slurm"]
    assert len({section.name for section in sections}) == 3
    assert getattr(sections[1], "history", None) == machine.folder / "condor_ce_config_val.history"


@pytest.mark.parametrize("kind", ["htcondor", "htcondor-ce", "slurm"])
def test_without_an_answer_it_says_what_to_fill_in(machine: Machine, kind: str):
    """The configuration is a right one, on a machine that has none of the tools."""
    done = machine.init(kind)
    assert len(machine.loaded().sources) == 1
    assert "gave no answer" in machine.config.read_text()
    assert done.stderr.count("FILL IN") >= 2


def test_without_any_scheduler_nothing_is_written(machine: Machine):
    """It says which can be named."""
    done = machine.init()
    assert done.returncode == 1
    assert "htcondor, htcondor-ce, slurm" in done.stderr
    assert not machine.config.exists()
    assert machine.init("pbs").returncode == 2


def test_a_configuration_that_is_there_stays(machine: Machine):
    """Unless it is to be replaced; `-` prints."""
    machine.config.write_text("mine")
    assert machine.init("slurm").returncode == 78
    assert machine.config.read_text() == "mine"
    machine.init("slurm", "--force")
    assert machine.loaded().sources[0].plugin == "slurm"
    assert machine.config.stat().st_mode & 0o777 == 0o640
    machine.config = Path("-")
    done = machine.init("slurm")
    assert (done.returncode, "sources:" in done.stdout) == (0, True)


def test_a_file_of_comments_is_no_configuration(machine: Machine):
    """The one that a package installs is replaced, without --force."""
    machine.config.write_text("# Keep one source\n\n#sources:\n")
    machine.init("slurm")
    assert machine.loaded().sources[0].plugin == "slurm"


def test_an_answer_cannot_write_into_the_configuration(machine: Machine):
    """A cluster's name, or a path, is one value, whatever it holds."""
    history = machine.folder / "his: tory # {x}'s"
    history.touch()
    htcondor(machine, "condor_config_val", HISTORY=str(history), GLIDEIN_Site="a}: b\n- c")
    machine.init("htcondor")
    (section,) = machine.loaded().sources
    assert getattr(section, "history", None) == history
    assert getattr(section.mapping.meta["site"], "value", None) == "a}: b"
