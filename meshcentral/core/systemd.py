"""The service manager's notification protocol (sd_notify(3)), without a library."""

from __future__ import annotations

import os
import socket


def notify(state: str) -> bool:
    """Send one state line to the service manager. False when there is none or it does not listen."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.connect(address)
            manager.send(state.encode())
    except OSError:
        return False
    return True


def ready(status: str = "") -> bool:
    """Start-up is complete; `status` is shown by `systemctl status`."""
    return notify(_with_status("READY=1", status))


def stopping(status: str = "") -> bool:
    """Shutdown has begun."""
    return notify(_with_status("STOPPING=1", status))


def watchdog() -> bool:
    """Keep-alive; due at least every `watchdog_interval()` seconds."""
    return notify("WATCHDOG=1")


def watchdog_interval() -> float | None:
    """Half of the time-out that the service manager has set for us, in seconds; None when it watches nobody."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 2_000_000 if microseconds.isdigit() and int(microseconds) else None


def _with_status(state: str, status: str) -> str:
    return f"{state}\nSTATUS={status.splitlines()[0]}" if status else state
