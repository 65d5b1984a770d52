"""The public client and ours are exchangeable, on the embedded Auditor."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.helpers.auditor_server import RunningAuditor, running_auditor

PROGRAMS = Path(__file__).parent / "programs"


def run(program: str, *arguments: str) -> str:
    """Runs a program and returns what it printed.

    It leaves without taking the interpreter down: pyauditor's threads may abort the process then.
    """
    program += "\nimport os\nsys.stdout.flush()\nos._exit(0)\n"
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning", "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "RUST_BACKTRACE": "0"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["tutorial.txt", "blocking.txt"])
def test_a_program_runs_after_changing_only_the_import(name: str, tmp_path: Path) -> None:
    """What a program for pyauditor prints, it prints with our client too, word for word."""
    program = (PROGRAMS / name).read_text(encoding="utf-8")
    printed = []
    for package in ("pyauditor", "collector.auditor"):
        with running_auditor(tmp_path / f"{package}.db") as auditor:
            printed.append(
                run(
                    program.replace("from pyauditor import", f"from {package} import"),
                    str(auditor.port),
                )
            )
    assert printed[1] == printed[0]
    assert printed[0].count("\n") > 10


def test_the_queued_client_delivers(auditor: RunningAuditor, tmp_path: Path) -> None:
    """The public client that queues in a file sends its records and updates to us."""
    program = textwrap.dedent("""
        import asyncio, datetime, sys
        from pyauditor import AuditorClientBuilder, Component, Record
        start = datetime.datetime(2022, 8, 16, 12, tzinfo=datetime.timezone.utc)

        async def main():
            builder = AuditorClientBuilder().address("127.0.0.1", int(sys.argv[1]))
            client = await builder.database_path(sys.argv[2]).send_interval(1).build_queued()
            for number in range(20):
                await client.add(Record(f"r{number}", start).with_component(Component("CPU", 1)))
            for _ in range(100):
                await asyncio.sleep(0.1)
                if len(await client.advanced_query("")) == 20:
                    break
            await client.update(Record("r3", start).with_stop_time(start))
            for _ in range(100):
                await asyncio.sleep(0.1)
                if (await client.get_single_record("r3")).runtime == 0:
                    break
            await client.stop()

        asyncio.run(main())
    """)
    run(program, str(auditor.port), f"sqlite://{tmp_path / 'queue.db'}")
    with auditor.client() as client:
        assert len(list(client.stream_query())) == 20
        assert client.get_single_record("r3").runtime == 0
