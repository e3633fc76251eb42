"""The control plane of a lab: etcd and a real API server in a namespace, and kubectl beside them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.lab.kube.namespaces import LabError, Namespaces, wait_until

HERE = Path(__file__).parent
VERSION = os.environ.get("KUBE_VERSION", "1.34.4")
ADDRESS = "198.51.100.10"
CLUSTER = "10.244.0.0/16,fd00:244::/44"
SERVICES = "10.96.0.0/16,fd00:96::/112"
TOKEN = "lab"  # of a server that nobody outside the namespaces reaches

KUBECONFIG = f"""apiVersion: v1
kind: Config
clusters: [{{name: lab, cluster: {{server: "https://{ADDRESS}:6443", insecure-skip-tls-verify: true}}}}]
users: [{{name: lab, user: {{token: {TOKEN}}}}}]
contexts: [{{name: lab, context: {{cluster: lab, user: lab}}}}]
current-context: lab
"""


def programs_folder() -> Path:
    """Where build.sh puts the programs: a cache outside the repository."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return Path(os.environ.get("CLIENTIP_KUBE", cache / "clientip-lab" / f"kube-{VERSION}"))


def build(*names: str) -> None:
    """Builds the programs that are missing; cold that takes minutes."""
    subprocess.run([HERE / "build.sh", programs_folder(), *names], check=True)


class Plane:
    """etcd and the API server, in the namespace `cp` of a lab."""

    def __init__(self, lab: Namespaces) -> None:
        self.lab = lab
        self.programs = programs_folder()
        self.kubeconfig = lab.scratch / "kubeconfig"

    def start(self, *options: str) -> None:
        """Runs both and waits until the API answers; `options` go to the API server."""
        scratch, local = self.lab.scratch, "http://127.0.0.1:2379"
        self.kubeconfig.write_text(KUBECONFIG)
        (scratch / "tokens").write_text(f"{TOKEN},admin,1,system:masters\n")
        key = scratch / "service-accounts.key"
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
        listen = ["--listen-client-urls", local, "--advertise-client-urls", local]
        listen += ["--listen-peer-urls", "http://127.0.0.1:2380"]
        self.lab.start("cp", "etcd", "etcd", "--data-dir", str(scratch / "etcd"), *listen)
        server = {
            "etcd-servers": local,
            "service-cluster-ip-range": SERVICES,
            "service-account-issuer": "https://lab",
            "service-account-key-file": key,
            "service-account-signing-key-file": key,
            "authorization-mode": "AlwaysAllow",
            "token-auth-file": scratch / "tokens",
            "cert-dir": scratch / "certificates",
            "bind-address": ADDRESS,
            "advertise-address": ADDRESS,
            "kubelet-preferred-address-types": "InternalIP",
            "allow-privileged": "true",
        }
        words = [f"--{name}={value}" for name, value in server.items()]
        self.lab.start("cp", "kube-apiserver", str(self.programs / "kube-apiserver"), *words, *options)
        wait_until(self._ready, 120, "the API server", self.lab.check)

    def _ready(self) -> bool:
        try:
            if self.kubectl("get", "--raw", "/readyz") != "ok":
                return False
            return bool(self.objects("endpointslices", "default", "kubernetes")["endpoints"])
        except LabError:
            return False

    def kubectl(self, *words: str, stdin: str | None = None) -> str:
        """One call of the real kubectl."""
        command = [str(self.programs / "kubectl"), f"--kubeconfig={self.kubeconfig}", *words]
        return self.lab.run("cp", *command, stdin=stdin)

    def objects(self, kind: str, namespace: str, *names: str) -> Any:
        """What the API holds, as parsed JSON."""
        return json.loads(self.kubectl("get", kind, "-n", namespace, *names, "-o", "json"))

    def address_nodes(self, addresses: dict[str, tuple[str, ...]]) -> None:
        """Gives Node objects without a kubelet their addresses, as a kubelet would."""
        for node, known in addresses.items():
            listed = [{"type": "InternalIP", "address": address} for address in known]
            listed.append({"type": "Hostname", "address": node})
            patch = json.dumps({"status": {"addresses": listed}})
            self.kubectl("patch", "node", node, "--subresource=status", "--type=merge", "-p", patch)

    def start_proxy(self, name: str, node: str, mode: str) -> None:
        """A kube-proxy in the namespace NAME, for one node, in one mode.

        Conntrack limits are of the whole machine, and a namespace may not set them: 0 leaves them alone.
        """
        options = {
            "kubeconfig": self.kubeconfig,
            "hostname-override": node,
            "proxy-mode": mode,
            "cluster-cidr": CLUSTER,
            "conntrack-max-per-core": "0",
            "conntrack-tcp-timeout-established": "0",
            "conntrack-tcp-timeout-close-wait": "0",
        }
        words = [f"--{option}={value}" for option, value in options.items()]
        self.lab.start(name, f"kube-proxy-{name}-{mode}", str(self.programs / "kube-proxy"), *words)
