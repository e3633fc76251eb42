"""Notifications for the service manager: the protocol of sd_notify(3), over the socket that NOTIFY_SOCKET names.

https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

from __future__ import annotations

import os
import socket
import time
from typing import Final

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
ALIVE: Final = "WATCHDOG=1"


def notify(text: str) -> bool:
    """Notify the manager, without waiting for it; returns whether there is one and it took the text."""
    name = os.environ.get("NOTIFY_SOCKET", "")
    address = "\0" + name[1:] if name.startswith("@") else name
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.setblocking(False)
        try:
            return bool(name) and sender.sendto(text.encode(), address) > 0
        except OSError:
            return False


def reloading() -> str:
    """The text for a reload that has begun; READY must follow."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"
