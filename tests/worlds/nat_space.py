"""A router that does source NAT between two hosts: three network namespaces, real kernel, nothing else touched.

    client 203.0.113.10 ── router ── server 10.9.0.5        (2001:db8:1::10 ── 2001:db8:9::5)

What leaves towards the server gets the router's address; what goes to the router's own port 8080 is sent to the server,
and its source is replaced as well, as kube-proxy does it for a NodePort.  Needs root, iproute2, iptables.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.worlds.patience import LIMIT_S

CLIENT, SERVER, ROUTER = "203.0.113.10", "10.9.0.5", "10.9.0.1"
OUTSIDE = "203.0.113.1"  # the router's address on the client's side
CLIENT6, SERVER6, ROUTER6 = "2001:db8:1::10", "2001:db8:9::5", "2001:db8:9::1"
NODE_PORT, POD_PORT = 30080, 8080


def run(*command: str) -> str:
    """Run a command that must succeed; what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(command)}: {done.stderr.strip()} (this needs root, iproute2 and iptables)")
    return done.stdout


class NatSpace:
    """The three namespaces; their names hold the process id, so that several can stand side by side."""

    _made = 0

    def __init__(self) -> None:
        NatSpace._made += 1
        prefix = f"cc-{os.getpid()}-{NatSpace._made}"
        self.client, self.router, self.server = (f"{prefix}{end}" for end in "crs")

    def __enter__(self) -> NatSpace:
        try:
            self._make()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._remove()

    def _make(self) -> None:
        for name in (self.client, self.router, self.server):
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        for host, inner, outer in (
            (self.client, (CLIENT, CLIENT6), (OUTSIDE, "2001:db8:1::1")),
            (self.server, (SERVER, SERVER6), (ROUTER, ROUTER6)),
        ):
            far = "east" if host == self.client else "west"
            run("ip", "link", "add", "eth0", "netns", host, "type", "veth", "peer", "name", far, "netns", self.router)
            for space, device, addresses in ((host, "eth0", inner), (self.router, far, outer)):
                for address in addresses:
                    flags, bits = (["nodad"], "64") if ":" in address else ([], "24")
                    run("ip", "-n", space, "addr", "add", f"{address}/{bits}", "dev", device, *flags)
                run("ip", "-n", space, "link", "set", device, "up")
        for host, gateway4, gateway6 in ((self.client, OUTSIDE, "2001:db8:1::1"), (self.server, ROUTER, ROUTER6)):
            run("ip", "-n", host, "route", "add", "default", "via", gateway4)
            run("ip", "-n", host, "-6", "route", "add", "default", "via", gateway6)
        self.set("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        self.set("net.netfilter.nf_conntrack_events=1", "net.netfilter.nf_conntrack_timestamp=1")
        # Flows that are over stay in the table for as long as a test may need to look at them.
        self.set(*(f"net.netfilter.nf_conntrack_{kind}=3600" for kind in ("udp_timeout", "tcp_timeout_time_wait")))
        for command in ("iptables", "ip6tables"):
            self.nat(command, "-A", "POSTROUTING", "-o", "west", "-j", "MASQUERADE", "--random-fully")
        target = f"{SERVER}:{POD_PORT}"
        self.nat(
            *("iptables", "-A", "PREROUTING", "-d", OUTSIDE, "-p", "tcp", "--dport", str(NODE_PORT)),
            *("-j", "DNAT", "--to-destination", target),
        )

    def _remove(self) -> None:
        for name in (self.client, self.router, self.server):
            if Path("/run/netns", name).exists():
                run("ip", "netns", "del", name)

    def set(self, *settings: str) -> None:
        """`sysctl -w` on the router."""
        run(*self.inside(self.router), "sysctl", "-qw", *settings)

    def nat(self, command: str, *rule: str) -> None:
        """A rule of the router's table `nat`."""
        run(*self.inside(self.router), command, "-w", "-t", "nat", *rule)

    @staticmethod
    def inside(name: str) -> list[str]:
        """What to put before a command so that it runs in a namespace."""
        return ["ip", "netns", "exec", name]

    def start(self, name: str, *command: str, **how: Any) -> subprocess.Popen[bytes]:
        """Start a program in a namespace; the process is the program itself."""
        return subprocess.Popen([*self.inside(name), *command], **how)
