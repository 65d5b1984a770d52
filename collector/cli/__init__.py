"""The command `auditor-collector`: one module for each of its commands, loaded when it is used.

Loading them late keeps the daemon free of what only other commands need, and `--help` quick.
"""

import gc
import importlib

import click

from collector.cli.options import CONTEXT

_COMMANDS = {
    "init": ("collector.cli.init", "Write a configuration for this machine."),
    "run": ("collector.cli.run", "Run the daemon."),
    "check": ("collector.cli.check", "Check the configuration, the sources and the Auditor."),
    "schema": ("collector.cli.schema", "Print the JSON schema of the configuration."),
    "status": ("collector.cli.status", "Show what waits, what was sent and what was refused."),
    "backfill": ("collector.cli.backfill", "Account a past period, once."),
    "collect-job": ("collector.cli.collect_job", "Put one ended job into the outbox (epilog)."),
    "explain": ("collector.cli.explain", "Explain what becomes of a job, step by step."),
    "capture": ("collector.cli.capture", "Make a test case of real jobs, without their names."),
    "rejected": ("collector.cli.rejected", "List, show, retry or drop what was rejected."),
    "outbox": ("collector.cli.outbox", "List, flush, export or import what waits."),
    "reconcile": ("collector.cli.reconcile", "Compare a source with what the Auditor holds."),
    "pseudonym": ("collector.cli.pseudonym", "Find the pseudonym of a known user."),
    "records": ("collector.cli.records", "Query the records of an Auditor."),
    "report": ("collector.cli.report", "Sum up usage by site, VO, user, month."),
    "import-config": ("collector.cli.import_config", "Translate another collector's config."),
    "serve-auditor": ("collector.cli.serve_auditor", "Run the embedded Auditor."),
}


class _Commands(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, _: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, _: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        command = importlib.import_module(_COMMANDS[name][0]).command
        assert isinstance(command, click.Command)
        gc.freeze()  # what is imported stays: not to be looked through for garbage, over and over
        return command

    def format_commands(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(cls=_Commands, context_settings=CONTEXT)
@click.version_option(package_name="auditor-collector")
def main() -> None:
    """Batch-system accounting for an Auditor.

    Reads what HTCondor and Slurm account, turns every run of a job into a record, and brings each
    record into the Auditor, once.

    \b
    First steps:
      auditor-collector init  --config /etc/auditor-collector/config.yaml
      auditor-collector check --config /etc/auditor-collector/config.yaml
      auditor-collector run   --config /etc/auditor-collector/config.yaml
    """
