"""`auditor-collector init`: a commented configuration for this machine."""

import contextlib
import grp
import os
import shutil
import sys
from pathlib import Path

import click

from collector.cli.check import command as check
from collector.cli.options import CONTEXT, EXIT_CONFIG, config_option
from collector.source import find_plugin, installed_plugins
from collector.source.proposal import Key, Proposal

_GROUP = "auditor-collector"
_HEAD = """\
# The configuration of auditor-collector, as `auditor-collector init` proposed it for {host}.
# Every key, with its default and why one would change it: config.example.yaml. After a change:
#   auditor-collector check; systemctl reload auditor-collector

sources:
"""
_TAIL = """\

auditor:
  url: http://127.0.0.1:8000          # FILL IN: the address of your Auditor
  # tls:                              # for an https address
  #   ca: /etc/auditor-collector/ca.pem
  #   certificate: /etc/auditor-collector/client.pem
  #   key: /etc/auditor-collector/client.key
"""


@click.command(context_settings=CONTEXT)
@config_option
@click.argument("kinds", nargs=-1, metavar="[htcondor|htcondor-ce|slurm]...")
@click.option("--force", is_flag=True, help="Replace a configuration that is there.")
def command(config_path: Path, kinds: tuple[str, ...], force: bool) -> None:
    """Write a commented configuration for this machine, and check it.

    Asks condor_config_val, condor_ce_config_val, scontrol, sacct and sacctmgr, where they are, for
    the places of files and the names of clusters. Without a kind, every scheduler that answers gets
    a source. What no tool knows is marked with FILL IN. `--config -` prints to standard output.

    \b
    Example:
      auditor-collector init slurm
      auditor-collector init --config -

    Exit status: that of check; 78 if there is a configuration already (a file of comments is none).
    """
    offered = {kind: name for name in installed_plugins() for kind in find_plugin(name).kinds}
    unknown = [kind for kind in kinds if kind not in offered]
    if unknown:
        raise click.UsageError(f"{unknown[0]}: expected {', '.join(sorted(offered))}")
    proposals: list[tuple[str, Proposal]] = []
    for kind in kinds or offered:
        proposal = find_plugin(offered[kind]).propose(kind)
        if proposal is not None and (kinds or proposal.found):
            proposals.append((offered[kind], proposal))
    if not proposals:
        text = "no scheduler answers on this machine; name one: " + ", ".join(sorted(offered))
        raise click.ClickException(text)
    text = _HEAD.format(host=os.uname().nodename) + _sources(proposals) + _TAIL
    if str(config_path) == "-":
        click.echo(text, nl=False)
        return
    _write(config_path, text, force=force)
    click.echo(f"{config_path}: written", err=True)
    for number, line in enumerate(text.splitlines(), 1):
        if "FILL IN" in line:
            click.echo(f"{config_path}: line {number}: {line.strip()}", err=True)
    check.main(["--config", str(config_path)], prog_name="auditor-collector check")


def _sources(proposals: list[tuple[str, Proposal]]) -> str:
    blocks = []
    names: set[str] = set()
    for plugin, proposal in proposals:
        name = proposal.name
        while name in names:
            name = f"{name}-{plugin}"
        names.add(name)
        lines = [f"  # {' '.join(line.split())}" for line in proposal.said]
        lines += [
            _line("  - ", "name", name, "in logs and status; do not rename it later"),
            _line("    ", "plugin", plugin, ""),
            _line("    ", "record_prefix", _prefix(plugin, name), "begins all record ids"),
        ]
        lines += [_of(key, "    ") for key in proposal.keys]
        lines += [_of(key, "    # ") for key in proposal.also]
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def _prefix(plugin: str, name: str) -> str:
    return name if name.startswith(plugin) else f"{plugin}-{name}"


def _of(key: Key, before: str) -> str:
    why = f"FILL IN: {key.why}" if key.fill_in else key.why
    return _line(before, key.name, key.value, why)


def _line(before: str, name: str, value: str, why: str) -> str:
    text = f"{before}{name}: {value}"
    return f"{text:<37} # {' '.join(why.split())}" if why else text


def _says_nothing(path: Path) -> bool:
    """Whether a file has comments only, as the one that a package installs."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return all(not line.strip() or line.lstrip().startswith("#") for line in lines)


def _write(path: Path, text: str, *, force: bool) -> None:
    """Writes the file for the service's group to read; never over another one."""
    if path.exists() and not force and not _says_nothing(path):
        click.echo(f"{path}: is there already; --force replaces it", err=True)
        sys.exit(EXIT_CONFIG)
    made = path.with_name(f".{path.name}.new")
    try:
        made.unlink(missing_ok=True)
        descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        if os.geteuid() == 0:
            with contextlib.suppress(KeyError):  # not installed as a service
                shutil.chown(made, group=grp.getgrnam(_GROUP).gr_gid)
        made.replace(path)
    except OSError as error:
        raise click.ClickException(f"{path}: cannot be written: {error.strerror}") from error
