"""Reports to systemd how the service is: sd_notify(3), in a few lines and without its library."""

import os
import socket
import time

from collector.logs import printable

_LIMIT_S = 0.2
"""A service manager that reads nothing for so long is not waited for: accounting goes on."""


def notify(**state: str | int) -> bool:
    """Sends a state to the service manager.

    Args:
        **state: variables of sd_notify(3), e.g. `READY=1, STATUS="polling"`.

    Returns:
        Whether there is a service manager that it was sent to.
    """
    if not listening():
        return False
    address = os.environ["NOTIFY_SOCKET"]
    if address.startswith("@"):
        address = "\0" + address[1:]
    # A value that is on one line cannot forge another variable.
    lines = (f"{name}={printable(str(value))}" for name, value in state.items())
    message = "\n".join(lines)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.settimeout(_LIMIT_S)
        try:
            sock.sendto(message.encode(errors="replace"), address)
        except OSError:
            return False
    return True


def listening() -> bool:
    """Whether a service manager listens."""
    return os.environ.get("NOTIFY_SOCKET", "").startswith(("/", "@"))


def reloading() -> None:
    """Says that a reload has begun; `READY=1` says that it has ended."""
    notify(RELOADING=1, MONOTONIC_USEC=time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)


def watchdog_s() -> float | None:
    """Seconds within which systemd expects a `WATCHDOG=1` of this process; None: it expects none.

    Source: sd_watchdog_enabled(3).
    """
    wanted, process = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID")
    if not wanted.isdecimal() or not int(wanted) or process not in (None, str(os.getpid())):
        return None
    return int(wanted) / 1e6
