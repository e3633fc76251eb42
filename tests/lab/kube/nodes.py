"""The nodes of the whole lab: containerd, kubelet and kube-proxy, each node in a network and a mount namespace."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from tests.lab.kube import images
from tests.lab.kube.namespaces import LabError, Namespaces, wait_until
from tests.lab.kube.plane import Plane

CONTAINERD = """version = 2
root = "{here}/containerd"
state = "{here}/state"
[grpc]
  address = "{here}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  sandbox_image = "{sandbox}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{here}/cni"
"""

# No cgroups of quality-of-service classes and no eviction: the machine belongs to others, too.
KUBELET = """apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {{anonymous: {{enabled: true}}, webhook: {{enabled: false}}}}
authorization: {{mode: AlwaysAllow}}
cgroupDriver: cgroupfs
failCgroupV1: false
cgroupsPerQOS: false
enforceNodeAllocatable: []
containerRuntimeEndpoint: unix://{here}/containerd.sock
volumePluginDir: {here}/plugins
clusterDNS: [10.96.0.53]
clusterDomain: cluster.local
evictionHard: {{memory.available: 1Mi, nodefs.available: 1%, imagefs.available: 1%}}
failSwapOn: false
enableControllerAttachDetach: false
localStorageCapacityIsolation: false
shutdownGracePeriod: 0s
"""


class Node:
    """One node: `name` is the namespace (a, b), `number` that of its pod network."""

    def __init__(self, lab: Namespaces, name: str, number: int, addresses: Sequence[str]) -> None:
        self.lab, self.name, self.number = lab, name, number
        self.addresses = tuple(addresses)
        self.here = lab.scratch / f"node-{name}"
        self.logs = self.here / "log"  # this node's /var/log

    def start(self, plane: Plane, archives: Sequence[Path]) -> None:
        """containerd with its images, then the kubelet. kube-proxy is started apart: its mode changes."""
        for folder in ("cni", "log", "plugins"):
            (self.here / folder).mkdir(parents=True)
        network = json.dumps(self._network())
        (self.here / "cni" / "10-lab.conflist").write_text(network)
        containerd = CONTAINERD.format(here=self.here, sandbox=images.SANDBOX)
        (self.here / "containerd.toml").write_text(containerd)
        (self.here / "kubelet.yaml").write_text(KUBELET.format(here=self.here))
        # /var/log is this node's own here: the kubelet's place for the logs of pods cannot be set.
        script = f'mount --bind "{self.logs}" /var/log && exec containerd --config "{self.here}/containerd.toml"'
        mounts = ["unshare", "--mount", "sh", "-c", script]
        process = self.lab.start(self.name, f"containerd-{self.name}", *mounts)
        wait_until(self._answers, 30, f"containerd of node-{self.name}", self.lab.check)
        for archive in archives:
            self.ctr("images", "import", str(archive))
        options = {
            "config": self.here / "kubelet.yaml",
            "kubeconfig": plane.kubeconfig,
            "hostname-override": f"node-{self.name}",
            "node-ip": ",".join(self.addresses),
            "root-dir": self.here / "kubelet",
            "cert-dir": self.here / "certificates",
        }
        words = [f"--{option}={value}" for option, value in options.items()]
        # In containerd's mounts: what the kubelet mounts for a pod, containerd must see.
        shared = ["nsenter", f"--mount=/proc/{process.pid}/ns/mnt", str(plane.programs / "kubelet")]
        self.lab.start(self.name, f"kubelet-{self.name}", *shared, *words)

    def _network(self) -> dict[str, object]:
        """A bridge, as kindnet or flannel's host-gw have it; no masquerade of its own."""
        ranges = [[{"subnet": f"10.244.{self.number}.0/24"}], [{"subnet": f"fd00:244:{self.number}::/64"}]]
        routes = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
        ipam = {"type": "host-local", "ranges": ranges, "routes": routes, "dataDir": str(self.here / "leases")}
        bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": False, "hairpinMode": True}
        ports = {"type": "portmap", "capabilities": {"portMappings": True}}
        return {"cniVersion": "0.4.0", "name": f"lab-{self.name}", "plugins": [{**bridge, "ipam": ipam}, ports]}

    def ctr(self, *words: str) -> str:
        """One call of containerd's own client."""
        return self.lab.run(self.name, "ctr", "-a", str(self.here / "containerd.sock"), "-n", "k8s.io", *words)

    def _answers(self) -> bool:
        try:
            self.ctr("version")
        except LabError:
            return False
        return True

    def end_pods(self) -> None:
        """Ends every container; only after the kubelet, which would start them again."""
        for task in self.ctr("tasks", "ls", "-q").split():
            self._quietly("tasks", "kill", "-s", "KILL", task)
        end = time.monotonic() + 10
        while (tasks := self.ctr("tasks", "ls", "-q").split()) and time.monotonic() < end:
            for task in tasks:
                self._quietly("tasks", "rm", task)
            time.sleep(0.2)

    def _quietly(self, *words: str) -> None:
        """A call that fails where the container has ended by itself."""
        try:
            self.ctr(*words)
        except LabError:
            return

    def sweep(self) -> None:
        """Snapshots of images are large."""
        shutil.rmtree(self.here)
