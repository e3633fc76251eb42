"""A private network namespace with the addresses of the scene on its loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from cases import V6_CLIENTS

INSIDE = "--inside"
HOST_NAME = "golden"
V4_NETS = (
    "203.0.113.1/24",  # clients outside
    "198.51.100.1/24",
    "10.0.0.10/32",  # the balancer
    "10.0.0.11/32",
    "10.0.1.1/24",  # servers
    "10.0.2.20/32",  # the application
    "10.0.2.99/32",  # an application host where nothing listens
    "10.9.0.1/24",  # tenants
)
V6_ADDRESSES = (
    *V6_CLIENTS,
    "fd00::10",
    *(f"fd00:1::{number}" for number in range(11, 18)),
    "fd00:2::20",
    "fd00:2::99",
)


def enter() -> None:
    """Run this program again in namespaces of its own; does not return.

    The PID namespace makes sure that no server outlives the recording, the UTS
    namespace that no real host name gets into a syslog prefix.
    """
    if os.geteuid() != 0:
        sys.exit("record.py must run as root (it makes a network namespace)")
    arguments = [sys.executable, str(Path(sys.argv[0]).resolve()), INSIDE, *sys.argv[1:]]
    flags = ["--net", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child"]
    os.execvp("unshare", ["unshare", *flags, *arguments])


def set_up() -> None:
    """Bring up lo and add every address (inside the namespace)."""
    socket.sethostname(HOST_NAME)
    _ip("link", "set", "lo", "up")
    for net in V4_NETS:
        _ip("addr", "add", net, "dev", "lo")
    for address in V6_ADDRESSES:
        _ip("-6", "addr", "add", f"{address}/128", "dev", "lo", "nodad")


def listening() -> set[tuple[str, int]]:
    """Address (as /proc writes it) and port of each listening TCP socket. Asking /proc leaves no log line behind."""
    ends = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                address, port = fields[1].rsplit(":", 1)
                ends.add((address, int(port, 16)))
    return ends


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
