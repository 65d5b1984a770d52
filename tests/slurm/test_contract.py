"""Both modes keep the promises of the plugin contract, on real accounting."""

from pathlib import Path

import pytest

from collector.source import Context, Source
from collector.source.testing import SourceContract
from tests.slurm.standin import CAPTURED_AT, LOG, captured, source, standin, written


class TestSacct(SourceContract):
    """`mode: sacct`, without overlap: the contract wants no run twice."""

    @pytest.fixture(autouse=True)
    def _standin(self, tmp_path: Path) -> None:
        rows = [row for row in captured() if int(row["JobIDRaw"].partition(".")[0]) % 4 == 0]
        self.sacct = standin(tmp_path, written(tmp_path, rows))

    def source(self, context: Context) -> Source:
        """Over a quarter of the captured rows."""
        context.now = lambda: CAPTURED_AT
        return source(
            context, sacct=self.sacct, overlap_s=0, window_s=1e10, rescan_s=7200, settle_s=0
        )


class TestJobcomp(SourceContract):
    """`mode: jobcomp`, on a log that was rotated."""

    @pytest.fixture(autouse=True)
    def _log(self, tmp_path: Path) -> None:
        lines = [line for line in LOG.read_bytes().splitlines(True) if b"JobId=148 " not in line]
        self.path = tmp_path / "jobcomp.log"
        self.path.with_name("jobcomp.log.1").write_bytes(b"".join(lines[:90]))
        self.path.write_bytes(b"".join(lines[90:]))

    def source(self, context: Context) -> Source:
        """Over the captured log."""
        return source(context, mode="jobcomp", jobcomp_path=self.path, time_zone="UTC")
