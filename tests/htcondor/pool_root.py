"""The root of a Debian release with HTCondor in it, for pools that run chrooted there.

debootstrap fetches it once; it is kept in a cache folder and never written to afterwards, since
each pool has an overlay of its own above it.
"""

import fcntl
import os
import shutil
import subprocess
import time
from pathlib import Path

from tests.operation.machine import tell

KEPT_DAYS = 7
"""Then the release is fetched again, since sid moves; without a network the old one is used."""
_NEEDED = ("debootstrap", "chroot", "nsenter", "unshare", "setpriv")
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_INSTALL = """\
mount -t proc proc "$1/proc" && exec chroot "$1" sh -c '
printf "#!/bin/sh\\nexit 101\\n" >/usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d
export DEBIAN_FRONTEND=noninteractive
old="-o Acquire::Check-Valid-Until=false -o Acquire::Check-Date=false"
apt-get -q $old update && apt-get -q -y $old install --no-install-recommends condor &&
apt-get clean'
"""
"""Runs in a mount namespace of its own. A mirror may be older than its signature is valid."""


class UnavailableError(Exception):
    """Raised where no pool can be brought up; says why."""


def cache_folder() -> Path:
    """Where roots are kept: $AUDITOR_COLLECTOR_SYSTEMS, else below the user's cache folder."""
    if given := os.environ.get("AUDITOR_COLLECTOR_SYSTEMS"):
        return Path(given)
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "auditor-collector-tests"


def condor_root(suite: str) -> Path:
    """A folder with a Debian release and its HTCondor; fetches it when it is not there.

    Raises:
        UnavailableError: when it is not there and cannot be fetched.
    """
    if os.geteuid() != 0:
        raise UnavailableError("needs root: HTCondor's daemons run jobs as other users")
    if missing := [name for name in _NEEDED if shutil.which(name, path=_PATH) is None]:
        raise UnavailableError(f"not installed: {', '.join(missing)}")
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    root = cache / f"debian-{suite}-condor"
    with (cache / f"{root.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may want it
        if not root.exists() or time.time() - root.stat().st_mtime > KEPT_DAYS * 86400:
            try:
                _fetch(suite, root)
            except UnavailableError:
                if not root.exists():
                    raise
    return root


def _fetch(suite: str, root: Path) -> None:
    made = root.with_name(f"{root.name}.new")
    shutil.rmtree(made, ignore_errors=True)
    for command in (
        ("debootstrap", "--variant=minbase", suite, made),
        ("unshare", "--mount", "sh", "-c", _INSTALL, "sh", made),
    ):
        try:
            said = tell(*command)
        except subprocess.TimeoutExpired:
            raise UnavailableError(f"no Debian {suite}: {command[0]} took too long") from None
        if said.returncode or not made.exists():
            shutil.rmtree(made, ignore_errors=True)
            raise UnavailableError(f"no Debian {suite}: {(said.stdout + said.stderr)[-300:]}")
    made.chmod(0o755)
    os.utime(made)
    if root.is_symlink():
        root.unlink()
    shutil.rmtree(root, ignore_errors=True)
    made.rename(root)
