"""What a configuration meets on its machine: the Auditor, certificates, the outbox's disk."""

import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from collector.auditor.certificate import read_certificate
from collector.auditor.protocol import AuditorError
from collector.clock import stamp
from collector.config import Config
from collector.pipeline.assemble import make_client, proxy_of
from collector.source import Finding

_SOON = timedelta(days=14)
_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "lustre", "gpfs", "beegfs", "ceph", "afs"})
"""Types of file systems on which SQLite's locks, or its shared memory, cannot be relied on."""


def look_around(config: Config, now: datetime) -> Iterator[tuple[str, Finding]]:
    """Looks at the outbox's file system, at certificates and the Auditor: (about, finding).

    Args:
        config: the configuration.
        now: the time, aware.
    """
    for finding in _outbox(config.outbox.path):
        yield "outbox", finding
    for finding in _certificates(config, now):
        yield "auditor", finding
    yield "auditor", _auditor(config)


def _outbox(path: Path) -> Iterator[Finding]:
    folder = next(one for one in path.absolute().parents if one.is_dir())
    kind = file_system_of(folder, Path("/proc/self/mountinfo"))
    if kind in _NETWORK:
        yield Finding.warning(
            f"{path} is on a network file system ({kind}): two hosts may write into it, and SQLite "
            "cannot prevent that; use a local disk"
        )


def file_system_of(path: Path, mounts: Path) -> str:
    """The type of the file system that a path is on, e.g. `ext4`; empty where it is not known.

    Args:
        path: absolute.
        mounts: in the format of proc(5), /proc/PID/mountinfo.
    """
    place = os.path.realpath(path)
    found, length = "", -1
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return ""
    for line in lines:
        before, _, after = line.partition(" - ")
        point = before.split()[4].replace("\\040", " ")
        is_above = place == point or place.startswith(point.rstrip("/") + "/")
        if is_above and len(point) >= length:  # of two at one point, the later covers the other
            found, length = after.split()[0], len(point)
    return found


def _certificates(config: Config, now: datetime) -> Iterator[Finding]:
    for key in ("certificate", "ca"):
        path = getattr(config.auditor.tls, key)
        if path is None:
            continue
        try:
            ends_at = read_certificate(path).not_after
        except ValueError as error:
            yield Finding.error(f"tls.{key}: {error}")
            continue
        end = f"{path} ({key}) ends at {stamp(ends_at)}"
        if ends_at <= now:
            yield Finding.error(f"{end}, which is over: renew it")
        elif ends_at <= now + _SOON:
            yield Finding.warning(f"{end}, in {(ends_at - now).days} days: renew it")
        else:
            yield Finding.note(end)


def _auditor(config: Config) -> Finding:
    url, proxy = config.auditor.url, proxy_of(config.auditor)
    way = f"{url} through the proxy {proxy}" if proxy else url
    with make_client(config.auditor, config.places) as client:
        try:
            client.check()
        except AuditorError as error:
            return Finding.error(f"{way}: {error}")
    return Finding(True, f"{way} answers, and its database is there")
