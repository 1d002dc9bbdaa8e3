"""systemd's readiness protocol (sd_notify(3)): one datagram to `$NOTIFY_SOCKET`, nothing without it."""

from __future__ import annotations

import contextlib
import os
import socket


def notify(**fields: str | int) -> None:
    """Tells systemd, for example `notify(READY=1, STATUS="...")`. Never private content: it is shown to all."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    message = "\n".join(f"{name}={value}" for name, value in fields.items())
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock,
    ):
        sock.sendto(message.encode(), address)


def watchdog_seconds() -> float | None:
    """How often systemd wants to hear from us at the latest; None when it doesn't watch this process."""
    microseconds = os.environ.get("WATCHDOG_USEC")
    pid = os.environ.get("WATCHDOG_PID")
    if not microseconds or (pid and int(pid) != os.getpid()):
        return None
    return int(microseconds) / 1e6
