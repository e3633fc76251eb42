"""Starts the real servers in their namespaces, when a scenario first needs them, and knows where each one logs."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab import envoy_conf, patterns, syslog
from tests.lab.haproxy_conf import BALANCERS, SYSLOG_PORT
from tests.lab.network import BALANCER, Network
from tests.lab.otlp import Receiver
from tests.worlds.patience import LIMIT_S

CONF = Path(__file__).parent / "conf"
MARGIN_S = 0.4  # between the collectors' start and the first request: clocks may lie apart
CLIENTIP = str(Path(sys.executable).parent / "clientip")
EVENTS = ("-E", "-e", "NEW,DESTROY", "--any-nat", "-o", "timestamp,id,extended", "-b", "8388608")
COLLECT = (CLIENTIP, "collect", "conntrack")
NGINX = {"app-a": "app-a", "app-b": "app-b", "app-b2": "ingress-b", "mesh-app": "mesh"}  # server → namespace
TRAEFIK = {"ingress-a": "10.244.2.5", "ingress-b": "10.244.2.5"}  # → the application behind
SHOPS = {"shop-a": ("app-a", "10.244.1.5"), "shop-b": ("app-b", "10.244.2.5")}


@dataclass
class Servers:
    """The running servers, their folder of logs and their scratch folders."""

    network: Network
    tmp: Path

    def __post_init__(self) -> None:
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._receivers: dict[str, Receiver] = {}
        self._listeners: dict[str, syslog.Receiver] = {}
        self.logs = self.tmp / "logs"
        self.shared = self.tmp / "shared"
        for folder in (self.logs, self.shared):
            folder.mkdir()
        (self.shared / "slow.txt").write_text("slow\n" * 800)
        self._certificate()

    def need(self, names: Sequence[str]) -> None:
        """Make sure that these run. A balancer begins anew: it must hold no connection that nobody saw begin."""
        for name in names:
            if name in BALANCERS and name in self._running:
                self._running[name].terminate()
                end(self._running.pop(name))
            if name not in self._running and not name.endswith("-hand"):  # the second log of a server
                self._start(name)

    def stop(self) -> None:
        """End every server; the namespaces would do it too, but not as politely."""
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            end(process)

    def _start(self, name: str) -> None:
        scratch = self.tmp / name
        scratch.mkdir(exist_ok=True)
        values = {"tmp": str(scratch), "shared": str(self.shared), "log": str(self.log(name))}
        self.log(name).touch()  # a restarted server goes on writing
        if name in BALANCERS:
            by_syslog = name == "lb-cutting"
            if by_syslog and name not in self._listeners:
                self._listen("lb", name)
            text, ports = BALANCERS[name]
            conf = self._write(scratch / "haproxy.cfg", "haproxy.cfg", {**values, "frontends": text()})
            self._run(name, "lb", ["haproxy", "-db", "-f", conf], ports, None if by_syslog else self.log(name))
        elif name in NGINX:
            hand = self.log(f"{name}-hand")
            formats = {"pattern": patterns.NGINX, "handmade": patterns.NGINX_HAND_MADE, "handlog": str(hand)}
            conf = self._write(scratch / "nginx.conf", "nginx.conf", {**values, **formats})
            self._run(name, NGINX[name], ["nginx", "-c", conf], (8080, 8081, 8443))
        elif name in TRAEFIK:
            self._receive(name, name)
            target = {"app": TRAEFIK[name], "shop": TRAEFIK[name]}
            self._write(scratch / "routes.yml", "routes.yml", {**values, **target})
            conf = self._write(scratch / "traefik.yml", "traefik.yml", values)
            words = ["env", "OTEL_BSP_SCHEDULE_DELAY=100", program("traefik"), f"--configFile={conf}"]
            self._run(name, name, words, (8000,))
            time.sleep(0.7)  # the file provider's routes come after the port
        elif name == "ingress-settings":
            target = {"app": "10.244.2.5", "shop": "10.244.2.5", "balancer": BALANCER[0], "bridge": "10.244.1.1"}
            self._write(scratch / "routes.yml", "routes.yml", {**values, **target})
            conf = self._write(scratch / "traefik.yml", "traefik-settings.yml", {**values, **target})
            self._run(name, "ingress-a", ["traefik", f"--configFile={conf}"], (8001, 8002, 8003, 8004, 8005))
            time.sleep(0.7)
        elif name in SHOPS:
            self._shop(name, scratch)
        elif name == "caddy":
            conf = self._write(scratch / "Caddyfile", "Caddyfile", values)
            self._run(name, "node-b", ["caddy", "run", "--config", conf, "--adapter", "caddyfile"], (80,))
        else:
            self._envoy(name, scratch)

    def _shop(self, name: str, scratch: Path) -> None:
        where, address = SHOPS[name]
        self._receive(where, name)
        ready = scratch / "ready"
        script = str(Path(__file__).with_name("application.py"))
        self._run(name, where, [sys.executable, script, address, "8090", "8053", str(ready)], (8090,))

    def _envoy(self, name: str, scratch: Path) -> None:
        where, make, port = {
            "envoy": ("node-a", envoy_conf.ingress, 80),
            "sidecar": ("mesh", envoy_conf.sidecar, 15006),
        }[name]
        conf = scratch / "envoy.json"
        conf.write_text(make(str(self.log(name))))
        if name == "sidecar":
            redirect = "-t nat -A PREROUTING -p tcp --dport 8080 -j REDIRECT --to-ports 15006"
            self.network.command(where, "iptables", *redirect.split())
        words = ["envoy", "-c", str(conf), "--concurrency", "1", "--disable-hot-restart"]
        words += ["--file-flush-interval-msec", "100", "--log-level", "error"]
        self._run(name, where, words, (port,))

    def _receive(self, where: str, name: str) -> None:
        """A receiver of spans in the pod; shops and ingresses have one each."""
        with self.network.inside(where):
            listener = socket.create_server(("127.0.0.1", 4318))
        proto, lines = self.logs / f"{name}.bin", self.logs / f"{name}.spans.jsonl"
        proto.touch()
        lines.touch()
        self._receivers[name] = Receiver(listener, proto, lines)

    def _listen(self, where: str, name: str) -> None:
        """A receiver of syslog beside a server whose lines come that way."""
        with self.network.inside(where):
            listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        listener.bind(("127.0.0.1", SYSLOG_PORT))
        self._listeners[name] = syslog.Receiver(listener, self.log(name))

    def log(self, name: str) -> Path:
        """Where a server writes its access log."""
        return self.logs / f"{name}.log"

    def _write(self, path: Path, template: str, values: dict[str, str]) -> str:
        """Fill `@{name}` in a configuration template."""
        text = (CONF / template).read_text()
        path.write_text(re.sub(r"@\{([a-z]+)\}", lambda found: values[found.group(1)], text))
        return str(path)

    def _certificate(self) -> None:
        words = (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=lab.example"
        )
        files = ["-keyout", str(self.shared / "tls.key"), "-out", str(self.shared / "tls.crt")]
        subprocess.run([*words.split(), *files], check=True, capture_output=True)

    def _run(self, name: str, where: str, words: list[str], ports: Sequence[int], to: Path | None = None) -> None:
        """Start one program and wait for its ports; `to` takes its standard output."""
        output = self.tmp / name / "out"
        words = [program(words[0]), *words[1:]]
        with output.open("wb") as out, (to or output).open("ab") as log:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self.network.name(where), *words], stdout=log, stderr=out, cwd=output.parent
            )
        self._running[name] = process
        deadline = time.monotonic() + LIMIT_S
        while not set(ports) <= listening(self.network, where):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{name} did not start\n{output.read_text(errors='replace')[-3000:]}")
            time.sleep(0.02)


def program(name: str) -> str:
    """Where a program is."""
    path = shutil.which(name)
    if path is None:
        sys.exit(f"{name} is missing (see tests/setup.sh)")
    return path


def end(process: subprocess.Popen[bytes]) -> None:
    """Wait for a program that was asked to end; insist after a while."""
    try:
        process.wait(8)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def listening(network: Network, where: str) -> set[int]:
    """Ports with a listening TCP socket in one namespace; asking /proc leaves no log line behind."""
    ports = set()
    with network.inside(where):
        for table in ("tcp", "tcp6"):
            for line in Path(f"/proc/thread-self/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A":
                    ports.add(int(fields[1].rsplit(":", 1)[1], 16))
    return ports


class Collectors:
    """What watches the address translation of one node during one scenario."""

    def __init__(self, network: Network, folder: Path, nodes: Sequence[str], ulogd: bool = False) -> None:
        self.network, self.folder = network, folder
        self._running: list[subprocess.Popen[bytes]] = []
        folder.mkdir(exist_ok=True)
        for node in nodes:
            self._watch(node, "jsonl", list(COLLECT))
            self._watch(node, "log", ["conntrack", *EVENTS])
            if ulogd:
                self._watch(node, "ulogd.err", ["ulogd", "-v", "-c", self._ulogd(node)])

    def _ulogd(self, node: str) -> str:
        conf = self.folder.parent / f"{node}.ulogd.conf"
        values = {"tmp": str(self.folder.parent), "log": str(self.folder / f"{node}.ulogd.jsonl")}
        text = (CONF / "ulogd.conf").read_text()
        conf.write_text(re.sub(r"@\{([a-z]+)\}", lambda found: values[found.group(1)], text))
        return str(conf)

    def _watch(self, node: str, suffix: str, words: list[str]) -> None:
        command = ["ip", "netns", "exec", self.network.name(node), program(words[0]), *words[1:]]
        path, errors = self.folder / f"{node}.{suffix}", self.folder.parent / f"{node}.{suffix}.err"
        with path.open("ab") as out, errors.open("ab") as err:
            self._running.append(subprocess.Popen(command, stdout=out, stderr=err))

    def ready(self) -> None:
        """Wait until every collector has written its first line, which says that it listens."""
        deadline = time.monotonic() + LIMIT_S
        waiting = [path for path in self.folder.glob("*.jsonl") if "ulogd" not in path.name]
        while any(path.stat().st_size == 0 for path in waiting):
            if time.monotonic() > deadline or any(process.poll() is not None for process in self._running):
                errors = [path.read_text() for path in self.folder.parent.glob("*.err")]
                sys.exit(f"a collector did not start\n{' '.join(errors)}")
            time.sleep(0.02)
        time.sleep(MARGIN_S)  # conntrack -E gives no sign

    def stop(self) -> None:
        """End them; what was told by then is the recording."""
        for process in self._running:
            process.terminate()
        for process in self._running:
            end(process)
        self._running.clear()
        for path in self.folder.glob("*.ulogd.err"):
            path.unlink()
