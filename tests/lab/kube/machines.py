"""The whole cluster as one thing: topology, control plane, nodes, workloads, and what is collected from them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.lab.kube import images, plane
from tests.lab.kube.namespaces import PREFIX, LabError, Namespaces, ip, wait_until
from tests.lab.kube.nodes import Node
from tests.lab.kube.scenarios import BALANCER, CLIENTS, NODES, Batch, Pod

HERE = Path(__file__).parent
ROUTER = {"wan": ("203.0.113.1", "2001:db8:1::1"), "lan": ("198.51.100.1", "2001:db8:2::1")}
PLANE6 = "2001:db8:2::10"
SPANS_PORT = 4318
FORWARDING = ("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
CONNTRACK = (
    "net.netfilter.nf_conntrack_events=1",
    "net.netfilter.nf_conntrack_timestamp=1",
    "net.bridge.bridge-nf-call-iptables=1",
    "net.bridge.bridge-nf-call-ip6tables=1",
)


class Cluster:
    """Two nodes, a control plane, a router and clients; started and stopped as a whole."""

    def __init__(self, lab: Namespaces) -> None:
        self.lab = lab
        self.scratch = lab.scratch
        self.plane = plane.Plane(lab)
        self.nodes = [Node(lab, name, number, NODES[name]) for number, name in enumerate(NODES, 1)]
        self.pods: dict[str, list[Pod]] = {}
        self.sent = 0
        self._processes: dict[str, int] = {}  # pod → a process of it

    def start(self, mode: str) -> None:
        """Everything up to ready pods."""
        self._topology()
        self.plane.start()
        controllers = {
            "kubeconfig": self.plane.kubeconfig,
            "service-account-private-key-file": self.scratch / "service-accounts.key",
            "root-ca-file": self.scratch / "certificates" / "apiserver.crt",
            "use-service-account-credentials": "false",
            "leader-elect": "false",
            "cluster-cidr": plane.CLUSTER,
        }
        self._control("kube-controller-manager", controllers)
        self._control("kube-scheduler", {"kubeconfig": self.plane.kubeconfig, "leader-elect": "false"})
        receiver = [sys.executable, "-m", "tests.lab.kube.spans", plane.ADDRESS, str(SPANS_PORT)]
        self.lab.start("cp", "spans", *receiver, str(self.scratch / "spans.bin"))
        archives = [images.sandbox(self.scratch)]
        for server in ("traefik", "caddy"):
            files = {f"/bin/{server}": Path(shutil.which(server) or server)}
            archive = self.scratch / f"{server}.tar"
            archives.append(images.image(f"docker.io/lab/{server}:1", files, [f"/bin/{server}"], archive))
        self.lab.start("lb", "haproxy", "haproxy", "-db", "-f", str(HERE / "haproxy.cfg"))
        for node in self.nodes:
            node.start(self.plane, archives)
            self.plane.start_proxy(node.name, f"node-{node.name}", mode)
        for archive in archives:
            archive.unlink()
        self.plane.kubectl("apply", "-f", str(HERE / "workloads.yaml"))
        wait_until(self._is_ready, 120, "the pods", self.lab.check)
        self._find_processes()

    def _topology(self) -> None:
        lab = self.lab
        lab.bridge("sw")
        lab.bridge("wan")
        for name in ("cp", "rt", "lb", "client", *NODES):
            lab.add(name)
        lab.plug("cp", "eth0", "sw", f"{plane.ADDRESS}/24", f"{PLANE6}/64")
        lab.plug("lb", "eth0", "sw", f"{BALANCER[0]}/24", f"{BALANCER[1]}/64")
        lab.plug("rt", "lan0", "sw", f"{ROUTER['lan'][0]}/24", f"{ROUTER['lan'][1]}/64")
        lab.plug("rt", "wan0", "wan", f"{ROUTER['wan'][0]}/24", f"{ROUTER['wan'][1]}/64")
        clients = [*(f"{each}/24" for each in CLIENTS[4]), *(f"{each}/64" for each in CLIENTS[6])]
        lab.plug("client", "eth0", "wan", *clients)
        for version in (0, 1):
            lab.route("client", "default", "via", ROUTER["wan"][version])
        lab.sysctl("rt", *FORWARDING)
        for name, addresses in NODES.items():
            lab.plug(name, "eth0", "sw", f"{addresses[0]}/24", f"{addresses[1]}/64")
            lab.sysctl(name, *FORWARDING, *CONNTRACK)
        for name in ("cp", "rt", "lb", *NODES):
            for node in self.nodes:
                if node.name != name:
                    for network, via in zip(_pod_networks(node), NODES[node.name], strict=True):
                        lab.route(name, network, "via", via)
            if name != "rt":
                for version in (0, 1):
                    lab.route(name, "default", "via", ROUTER["lan"][version])

    def _control(self, program: str, options: dict[str, object]) -> None:
        words = [f"--{name}={value}" for name, value in options.items()]
        self.lab.start("cp", program, str(self.plane.programs / program), *words)

    def _is_ready(self) -> bool:
        """Whether every pod is ready and the ingress routes to the application."""
        try:
            listed: list[dict[str, Any]] = self.plane.objects("pods", "web")["items"]
        except LabError:
            return False
        self.pods = {}
        for each in listed:
            states = each["status"].get("containerStatuses") or [{}]
            if len(each["status"].get("podIPs", [])) == 0 or not states[0].get("ready"):
                return False
            addresses = [found["ip"] for found in each["status"]["podIPs"]]
            v4 = next((address for address in addresses if ":" not in address), "")
            v6 = next((address for address in addresses if ":" in address), "")
            pod = Pod(each["metadata"]["name"], each["spec"]["nodeName"].removeprefix("node-"), (v4, v6))
            self.pods.setdefault(each["metadata"]["labels"]["app"], []).append(pod)
        whole = {name: len(pods) for name, pods in self.pods.items()} == {"ingress": 2, "edge": 1, "app": 2}
        return whole and self._routes()

    def _routes(self) -> bool:
        """Whether clients reach the application through each node in both families."""
        plan = [
            {"scenario": "warm-up", "target": address, "port": 30085, "headers": []}
            for addresses in NODES.values()
            for address in addresses
        ] * 4
        plan.append({"scenario": "warm-up", "target": NODES["b"][0], "port": 8088, "headers": []})
        answers = json.loads(self.lab.run("client", *_driver(), stdin=json.dumps(plan)))
        return all(answer["statuses"] == [200] for answer in answers)

    def _find_processes(self) -> None:
        for each in self.plane.objects("pods", "web")["items"]:
            name, node = each["metadata"]["name"], each["spec"]["nodeName"].removeprefix("node-")
            container = each["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
            ctr = next(found for found in self.nodes if found.name == node).ctr
            rows = (line.split() for line in ctr("tasks", "ls").splitlines())
            self._processes[name] = next(int(row[1]) for row in rows if row[0] == container)

    def collect(self) -> None:
        """Starts the collector of NAT events on each node, and waits until it tells."""
        (self.scratch / "nat").mkdir()
        files = [self.scratch / "nat" / f"node-{node.name}.ndjson" for node in self.nodes]
        for node, file in zip(self.nodes, files, strict=True):
            command = [str(self.servers / "clientip"), "collect", "conntrack", "--out", str(file)]
            self.lab.start(node.name, f"collector-{node.name}", *command)

        def tells() -> bool:
            return all(file.exists() and file.stat().st_size for file in files)

        wait_until(tells, 20, "NAT events", self.lab.check)

    def switch(self, mode: str) -> None:
        """The other mode of kube-proxy on both nodes; it clears the old mode's rules itself."""
        for other in ("iptables", "nftables"):
            self.lab.stop(*(f"kube-proxy-{node.name}-{other}" for node in self.nodes))
        for node in self.nodes:
            self.plane.start_proxy(node.name, f"node-{node.name}", mode)
        time.sleep(3)
        wait_until(self._routes, 60, f"kube-proxy in mode {mode}", self.lab.check)

    def send(self, batch: Batch) -> None:
        """Sends a batch from its place, and keeps the truth about it."""
        plan = json.dumps([asdict(connection) for connection in batch.connections])
        if batch.place in self._processes:
            command = ["nsenter", f"--net=/proc/{self._processes[batch.place]}/ns/net", *_driver()]
            done = subprocess.run(command, input=plan, capture_output=True, text=True, check=True)
            answers = json.loads(done.stdout)
        else:
            answers = json.loads(self.lab.run(batch.place, *_driver(), stdin=plan))
        self.sent += len(answers)
        with (self.scratch / "truth.jsonl").open("a") as truth:
            for answer in answers:
                truth.write(json.dumps({"place": batch.place, **answer}) + "\n")

    def settle(self) -> None:
        """Lets the logs and the events of the last connections arrive."""
        time.sleep(4)
        for node in self.nodes:
            copied = self.scratch / "logs" / f"node-{node.name}"
            shutil.copytree(node.logs / "pods", copied)

    def stop(self) -> None:
        """Takes the pods down and leaves no cgroup; processes and namespaces go with the lab."""
        proxies = [f"kube-proxy-{node.name}-{mode}" for node in self.nodes for mode in ("iptables", "nftables")]
        for first in ("kubelet-", "collector-"):
            self.lab.stop(*(first + node.name for node in self.nodes))
        for node in self.nodes:
            node.end_pods()
        self.lab.stop(*proxies, *(f"containerd-{node.name}" for node in self.nodes))
        for node in self.nodes:
            node.sweep()


def _pod_networks(node: Node) -> tuple[str, str]:
    return f"10.244.{node.number}.0/24", f"fd00:244:{node.number}::/64"


def _driver() -> list[str]:
    return [sys.executable, "-m", "tests.lab.kube.driver"]


def bridges(node: Node) -> tuple[str, ...]:
    """The addresses the node's kernel gave the pods' bridge: where it hides same-node clients."""
    shown = ip("-n", PREFIX + node.name, "-br", "addr", "show", "dev", "cni0").split()[2:]
    return tuple(each.partition("/")[0] for each in shown if not each.startswith("fe80"))
