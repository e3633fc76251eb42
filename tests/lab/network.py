"""A small cluster in network namespaces: clients, router, two nodes with pods, an external balancer.

    client 203.0.113.10-13,.20-23 ── router ──┬─ node-a 198.51.100.11 ─ cni0 10.244.1.1 ─ pods .5 .6 .7 .9
           2001:db8:1::10 …                   ├─ node-b 198.51.100.12 ─ cni0 10.244.2.1 ─ pods .5 .6
                                              └─ lb     198.51.100.50

Everything happens in mount, PID and network namespaces of our own (`enter`), so a killed run leaves nothing and
nobody else's namespaces are seen or touched.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

INSIDE = "CLIENTIP_LAB_INSIDE"
RULES = Path(__file__).parent / "rules"
CLONE_NEWNET = 0x40000000

Mode = Literal["iptables", "nftables"]

CLIENTS4 = tuple(f"203.0.113.{n}" for n in (10, 11, 12, 13, 20, 21, 22, 23))
CLIENTS6 = tuple(f"2001:db8:1::{n}" for n in (10, 11, 12, 13, 20, 21, 22, 23))
NODES = {"node-a": ("198.51.100.11", "2001:db8:2::11", 1), "node-b": ("198.51.100.12", "2001:db8:2::12", 2)}
BALANCER = ("198.51.100.50", "2001:db8:2::50")
PODS = {  # name → node and last number of its address
    "app-a": ("node-a", 5),
    "ingress-a": ("node-a", 6),
    "mesh": ("node-a", 7),
    "tenant": ("node-a", 9),
    "app-b": ("node-b", 5),
    "ingress-b": ("node-b", 6),
}
NAMES = ("client", "router", *NODES, "lb", *PODS)

_libc = ctypes.CDLL(None, use_errno=True)


def missing() -> str | None:
    """Why the lab cannot run here; None where it can."""
    if os.geteuid() != 0:
        return "it needs root"
    probe = ["unshare", "--net", "--mount", "--pid", "--fork", "sh", "-c"]
    script = (
        "mkdir -p /run/netns && mount -t tmpfs none /run/netns && ip netns add probe"
        " && ip link add v0 netns probe type veth peer name v1"
        " && ip netns exec probe iptables -t nat -A POSTROUTING -j MASQUERADE --random-fully"
        " && ip netns exec probe conntrack -L"
    )
    try:
        done = subprocess.run([*probe, script], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        return f"{error.filename} is missing (see tests/setup.sh)"
    return None if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def enter(module: str) -> None:
    """Run this program again in namespaces of its own, unless it already is there; does not return."""
    if os.environ.get(INSIDE):
        return
    if os.geteuid() != 0:
        sys.exit("the lab needs root: it makes network namespaces")
    flags = ["--net", "--mount", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child"]
    os.environ[INSIDE] = "1"
    os.execvp("unshare", ["unshare", *flags, sys.executable, "-m", module, *sys.argv[1:]])


def run(*command: str, text: str | None = None) -> None:
    """Run a command; what it says on failure becomes the error."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")


def pod_addresses(pod: str) -> tuple[str, str]:
    """The IPv4 and IPv6 address of a pod."""
    node, number = PODS[pod]
    subnet = NODES[node][2]
    return f"10.244.{subnet}.{number}", f"fd00:244:{subnet}::{number}"


class Network:
    """The namespaces, their links and the rules on the nodes."""

    def __init__(self) -> None:
        self.prefix = f"cl{os.getpid()}-"
        self._handles: dict[str, int] = {}
        self._own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)

    def up(self) -> None:
        """Make everything; addresses are usable at once (no duplicate address detection)."""
        Path("/run/netns").mkdir(exist_ok=True)
        run("mount", "-t", "tmpfs", "none", "/run/netns")
        for name in NAMES:
            run("ip", "netns", "add", self.prefix + name)
            self._handles[name] = os.open(f"/run/netns/{self.prefix}{name}", os.O_RDONLY)
            self.ip(name, ["link set lo up"])
        self._wires()
        self._pods()
        self._switches()

    def name(self, where: str) -> str:
        """The namespace's name on this machine."""
        return self.prefix + where

    def ip(self, where: str, commands: Sequence[str]) -> None:
        """Give several `ip` commands inside one namespace."""
        run("ip", "-n", self.name(where), "-batch", "-", text="\n".join(commands) + "\n")

    def command(self, where: str, *words: str, text: str | None = None) -> None:
        """Run a command inside one namespace."""
        run("ip", "netns", "exec", self.name(where), *words, text=text)

    def start(self, where: str, words: Sequence[str], out: IO[bytes], cwd: Path) -> subprocess.Popen[bytes]:
        """Start a program inside one namespace."""
        return subprocess.Popen(
            ["ip", "netns", "exec", self.name(where), *words], stdout=out, stderr=subprocess.STDOUT, cwd=cwd
        )

    @contextmanager
    def inside(self, where: str) -> Iterator[None]:
        """Put the calling thread into one namespace: a socket opened there stays there."""
        self._move(self._handles[where])
        try:
            yield
        finally:
            self._move(self._own)

    @staticmethod
    def _move(handle: int) -> None:
        if _libc.setns(handle, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")

    def _link(self, where: str, device: str, other: str, far: str) -> None:
        run(
            *("ip", "link", "add", device, "netns", self.name(where), "type", "veth"),
            *("peer", "name", far, "netns", self.name(other)),
        )
        self.ip(where, [f"link set {device} up"])
        self.ip(other, [f"link set {far} up"])

    def _wires(self) -> None:
        self._link("client", "eth0", "router", "wan0")
        commands = [f"addr add {address}/24 dev eth0" for address in CLIENTS4]
        commands += [f"addr add {address}/64 dev eth0 nodad" for address in CLIENTS6]
        routes = ["route add default via 203.0.113.1", "route add default via 2001:db8:1::1"]
        self.ip("client", commands + routes)
        self.ip("router", ["link add lan type bridge", "link set lan up"])
        for name, (v4, v6, _) in {**NODES, "lb": (*BALANCER, 0)}.items():
            self._link(name, "eth0", "router", f"p-{name}")
            self.ip("router", [f"link set p-{name} master lan"])
            self.ip(name, [f"addr add {v4}/24 dev eth0", f"addr add {v6}/64 dev eth0 nodad"])
            self.ip(name, ["route add default via 198.51.100.1", "route add default via 2001:db8:2::1"])
        commands = ["addr add 203.0.113.1/24 dev wan0", "addr add 2001:db8:1::1/64 dev wan0 nodad"]
        self.ip("router", [*commands, "addr add 198.51.100.1/24 dev lan", "addr add 2001:db8:2::1/64 dev lan nodad"])

    def _pods(self) -> None:
        for node, (_, _, subnet) in NODES.items():
            bridge = ["link add cni0 type bridge", "link set cni0 up", f"addr add 10.244.{subnet}.1/24 dev cni0"]
            self.ip(node, [*bridge, f"addr add fd00:244:{subnet}::1/64 dev cni0 nodad"])
        for pod, (node, _) in PODS.items():
            subnet = NODES[node][2]
            v4, v6 = pod_addresses(pod)
            self._link(pod, "eth0", node, f"v-{pod}")
            self.ip(node, [f"link set v-{pod} master cni0", f"link set v-{pod} type bridge_slave hairpin on"])
            self.ip(pod, [f"addr add {v4}/24 dev eth0", f"addr add {v6}/64 dev eth0 nodad"])
            self.ip(pod, [f"route add default via 10.244.{subnet}.1", f"route add default via fd00:244:{subnet}::1"])
        self.overlay(on=False)

    def overlay(self, on: bool) -> None:
        """Reach the other node's pods over VXLAN, or by plain routes (host-gw)."""
        for node, (v4, _, subnet) in NODES.items():
            other = next(name for name in NODES if name != node)
            far4, far6, far = NODES[other]
            make = f"link add flannel.1 type vxlan id 1 local {v4} remote {far4} dstport 8472"
            device = [make, "link set flannel.1 up", f"addr add 10.244.{subnet}.0/32 dev flannel.1"]
            if on:
                self.ip(node, [*device, f"route replace 10.244.{far}.0/24 via 10.244.{far}.0 dev flannel.1 onlink"])
                continue
            self.ip(
                "router", [f"route replace 10.244.{subnet}.0/24 via {v4}"]
            )  # headless Services, reached from outside
            self.ip(
                node, [f"route replace 10.244.{far}.0/24 via {far4}", f"route replace fd00:244:{far}::/64 via {far6}"]
            )
            subprocess.run(["ip", "-n", self.name(node), "link", "del", "flannel.1"], capture_output=True, check=False)

    def _switches(self) -> None:
        """What a node's kernel is set to; the names are those of sysctl."""
        forward = ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]
        loose = ["net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0"]
        bridged = ["net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables"]
        for name in ("router", *NODES, "lb", "mesh"):
            self.command(name, "sysctl", "-qw", *forward, *loose)
        for name in NODES:
            flags = ["timestamp=1", "events=1", "acct=1"]
            self.command(name, "sysctl", "-qw", *[f"net.netfilter.nf_conntrack_{flag}" for flag in flags])
            self.command(name, "sysctl", "-qwe", *[f"{key}=1" for key in bridged])
        self.command("router", "sysctl", "-qwe", *[f"{key}=0" for key in bridged])

    def rules(self, mode: Mode, ports: int | None = None, folder: Path = RULES) -> None:
        """Load what kube-proxy wrote; `ports` narrows the range that MASQUERADE may choose from."""
        for node in NODES:
            self.command(node, "nft", "flush", "ruleset")
            if mode == "nftables":
                self.command(node, "nft", "-f", "-", text=(folder / f"nftables.{node}").read_text())
                continue
            text = (folder / f"iptables.{node}").read_text()
            self.command(node, "iptables-restore", text=text if ports is None else narrowed(text, ports))
            self.command(node, "ip6tables-restore", text=(folder / f"iptables6.{node}").read_text())

    def stamps(self, on: bool) -> None:
        """Let the nodes' kernels stamp flows, or not."""
        for node in NODES:
            self.command(node, "sysctl", "-qw", f"net.netfilter.nf_conntrack_timestamp={int(on)}")

    def forget(self) -> None:
        """Empty the nodes' connection tables, so that a scenario begins with nothing."""
        for node in NODES:
            subprocess.run(
                ["ip", "netns", "exec", self.name(node), "conntrack", "-F"], capture_output=True, check=False
            )


def narrowed(rules: str, ports: int) -> str:
    """kube-proxy's masquerade rule with a small range of ports, as on a node with a large fan-in."""
    low = 40000
    found = re.search(r"^-A KUBE-POSTROUTING .*-j MASQUERADE.*$", rules, re.MULTILINE)
    if found is None:
        raise RuntimeError("the rules hold no MASQUERADE of KUBE-POSTROUTING")
    rule = found.group(0).replace("-A KUBE-POSTROUTING ", "")
    lines = [f"-A KUBE-POSTROUTING -p {proto} {rule} --to-ports {low}-{low + ports - 1}" for proto in ("tcp", "udp")]
    return rules.replace(found.group(0), "\n".join(lines))
