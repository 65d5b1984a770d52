"""Tells systemd how the service is: sd_notify(3), in a few lines and without its library."""

import os
import socket


def notify(**state: str | int) -> bool:
    """Sends a state to the service manager.

    Args:
        **state: variables of sd_notify(3), e.g. `READY=1, STATUS="polling"`.

    Returns:
        Whether there is a service manager that it was sent to.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    lines = (f"{name}={str(value).replace(chr(10), chr(32))}" for name, value in state.items())
    message = "\n".join(lines)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.sendto(message.encode(), address)
        except OSError:
            return False
    return True
