"""What is to be known of the Slurm that writes the jobcomp log: whether it cuts long lines."""

import re

from collector.source import Context, SourceError
from collector.source.command import output_of
from collector_slurm.section import SlurmSection

_WHOLE_LINES_SINCE = (24, 5, 2)
"""The first release that cuts no line of the log. Source: Slurm's changelog of 24.05."""
_TIMEOUT_S = 20
"""It asks nobody; without a slurm.conf it may look for one in the network."""


class Writer:
    """Asks for the release of Slurm, once until `forget`, and only if it matters."""

    def __init__(self, section: SlurmSection, context: Context) -> None:
        self._command = [section.sacct, "--version"]
        self._context = context
        self._cuts: bool | None = None
        self._reported = False

    def forget(self) -> None:
        """Asks again next time: Slurm may have been upgraded."""
        self._cuts = None

    def cuts_lines(self) -> bool:
        """Whether long lines are cut, by the release of Slurm; also if that is not known."""
        if self._cuts is None:
            try:
                self._cuts = self.release() < _WHOLE_LINES_SINCE
            except SourceError as error:
                self._cuts = True
                if not self._reported:
                    self._reported = True
                    self._context.log.warning(
                        "release of Slurm not known; a line that looks cut is treated as cut",
                        error=str(error),
                        hint="set sacct to the command of the cluster",
                    )
        return self._cuts

    def release(self) -> tuple[int, ...]:
        """The release of Slurm, as `sacct --version` has it.

        Raises:
            SourceError: when it cannot be asked.
        """
        said = b"".join(output_of(self._command, _TIMEOUT_S, self._context.stop))
        release = re.search(rb"(\d+)\.(\d+)(?:\.(\d+))?", said)
        if release is None:
            shown = " ".join(self._command)
            raise SourceError(f"{shown}: expected a release as 24.05.2, got {said!r}")
        return tuple(int(number or 0) for number in release.groups())
