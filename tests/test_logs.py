"""Events are one line each, readable by whoever reads them, and hold no secrets."""

import io
import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import structlog

from collector import logs


def lines_of(style: logs.Format, level: str = "info") -> list[str]:
    stream = io.StringIO()
    logs.set_up(level, style, stream)
    log = structlog.get_logger()
    log.debug("hidden")
    log.info("polled", source="ap1", read=3, text='a "b"\nc=d')
    logging.getLogger("library").warning("from a library: %s", "x")
    try:
        password = "hunter2"  # noqa: F841 - a local variable that must not be shown
        raise ValueError("broken")
    except ValueError:
        log.exception("died")
    return stream.getvalue().splitlines()


def test_json_is_one_object_a_line():
    """With time, level and every field."""
    found = [json.loads(line) for line in lines_of("json")]
    assert [event["event"] for event in found] == ["polled", "from a library: x", "died"]
    assert found[0]["read"] == 3
    assert found[0]["level"] == "info"
    assert found[0]["at"].endswith("Z")


def test_the_journal_gets_priorities_and_no_forged_lines():
    """Each line begins with its priority; text of a user stays inside its field."""
    found = lines_of("journal")
    assert found[0] == "<6>polled source=ap1 read=3 text='a \"b\"\\nc=d'"
    assert found[1].startswith("<4>from a library: x")
    assert all(line.startswith("<3>") for line in found[2:])


def test_words_of_a_library_forge_no_line():
    """What begins like a priority, behind a line end, stays where it is."""
    stream = io.StringIO()
    logs.set_up("info", "journal", stream)
    logging.getLogger("library").warning("broken: %s", "x\n<0>system is on fire")
    assert stream.getvalue() == "<4>broken: x\\n<0>system is on fire logger=library\n"


@pytest.mark.parametrize("style", ["json", "journal", "console"])
def test_a_traceback_shows_no_local_variables(style: logs.Format):
    """A password in a local variable does not reach the log."""
    text = "\n".join(lines_of(style))
    assert "broken" in text
    assert "hunter2" not in text.replace('password = "hunter2"', "")


def test_the_level_says_what_is_written():
    """Below the level, nothing."""
    assert len(lines_of("json", "error")) == 1
    assert json.loads(lines_of("json", "debug")[0])["event"] == "hidden"


@pytest.mark.parametrize(("inode", "priority"), [("{}", "<3>"), ("1{}", "")])
def test_mistakes_in_the_configuration_are_errors_in_the_journal(
    inode: str, priority: str, tmp_path: Path
):
    """Where standard error is the journal; where it is only that of a service further up, not."""
    (tmp_path / "config.yaml").write_text("senders: {}\n")
    read, write = os.pipe()
    status = os.fstat(write)
    subprocess.run(
        [sys.executable, "-m", "collector", "check", "-c", "config.yaml"],
        cwd=tmp_path,
        stderr=write,
        env={**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{inode.format(status.st_ino)}"},
        timeout=60,
        check=False,
    )
    os.close(write)
    with os.fdopen(read) as said:
        lines = said.read().splitlines()
    assert len(lines) >= 2
    assert all(re.match(f"{priority}[a-z]", line) for line in lines)
