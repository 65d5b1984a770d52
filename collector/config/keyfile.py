"""Files that hold a key: who may read them."""

import stat
from pathlib import Path


def exposed(key: Path) -> str | None:
    """Why others may read a key, or None; by the rule that PostgreSQL has for its own.

    A group may read a key of root's: so it is with systemd's LoadCredential and Debian's ssl-cert.
    """
    try:
        status = key.stat()
    except OSError as error:
        given = key.is_relative_to("/run/credentials")
        hint = " (systemd puts it there only while the service runs)" if given else ""
        return f"{key}: cannot be read: {error.strerror}{hint}"
    allowed = 0o640 if status.st_uid == 0 else 0o600
    mode = stat.S_IMODE(status.st_mode)
    if not mode & ~(allowed | 0o100):
        return None
    return (
        f"{key}: its mode is {mode:04o}, so others may read or change it; expected {allowed:04o} "
        f"or less: chmod {allowed:04o} {key}, and think of a new key if this one was seen"
    )
