"""One network namespace with clients, nginx, HAProxy and application servers on its loopback. Needs root and iproute2.

203.0.113.0/24, 2001:db8:1::7   clients          10.0.0.10, fd00::10   nginx, which appends X-Forwarded-For
10.0.0.99                       a stranger       10.0.0.11             HAProxy, which adds a line X-Forwarded-For
10.0.0.20, fd00::20             the application  10.0.0.12             HAProxy, which adds a line Forwarded
                                                 10.0.0.13             nginx, which overwrites X-Real-IP
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from tests.worlds.nat_space import run

ROOT: Final = Path(__file__).parents[2]
CLIENT, ANOTHER, CLIENT6, STRANGER, APP = "203.0.113.7", "203.0.113.8", "2001:db8:1::7", "10.0.0.99", "10.0.0.20"
NGINX, HAPROXY, FORWARDED, REAL_IP, NGINX6 = "10.0.0.10", "10.0.0.11", "10.0.0.12", "10.0.0.13", "fd00::10"
SERVERS: Final = {"uvicorn-h11": 8001, "uvicorn-httptools": 8002, "gunicorn": 8003}
ADDRESSES: Final = (
    *("203.0.113.1/24", "10.0.0.1/24"),
    *(f"{each}/128" for each in (CLIENT6, NGINX6, "fd00::20")),
)

CONFIG: Final = f"""
[systems.nginx]
addresses = ["{NGINX}", "{NGINX6}"]
peers     = ["outside"]
conveys   = [{{ header = "x-forwarded-for", mode = "append" }}]
[systems.haproxy]
addresses = ["{HAPROXY}"]
peers     = ["outside"]
conveys   = [{{ header = "x-forwarded-for", mode = "append" }}]
[systems.haproxy-forwarded]
addresses = ["{FORWARDED}"]
peers     = ["outside"]
conveys   = [{{ header = "forwarded", mode = "append" }}]
[systems.nginx-real-ip]
addresses = ["{REAL_IP}"]
peers     = ["outside"]
conveys   = [{{ header = "x-real-ip", mode = "overwrite" }}]
[systems.app]
peers     = ["nginx", "haproxy", "haproxy-forwarded", "nginx-real-ip", "outside"]
drops_underscores = true
"""

_NGINX: Final = """
daemon off; master_process off; pid @/nginx.pid; error_log @/nginx.log;
events {}
http {
  access_log off; underscores_in_headers on; ignore_invalid_headers off;
  client_body_temp_path @/b; proxy_temp_path @/p; fastcgi_temp_path @/f; uwsgi_temp_path @/u; scgi_temp_path @/s;
  proxy_http_version 1.1;
  map $http_upgrade $connection_out { default upgrade; "" ""; }
  SERVERS
}
"""
_NGINX_SERVER: Final = """
  upstream app{port} {{ server 10.0.0.20:{port}; keepalive 1; }}
  server {{ listen 10.0.0.10:{port}; location / {{
    proxy_pass http://app{port}; proxy_bind 10.0.0.10; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_out; }} }}
  server {{ listen 10.0.0.13:{port}; location / {{
    proxy_pass http://10.0.0.20:{port}; proxy_bind 10.0.0.13; proxy_set_header X-Real-IP $remote_addr; }} }}
  server {{ listen [fd00::10]:{port}; location / {{
    proxy_pass http://[fd00::20]:{port}; proxy_bind fd00::10;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }}
"""
_HAPROXY: Final = """
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 60s
"""
_HAPROXY_SERVER: Final = """
listen appended{port}
  bind 10.0.0.11:{port}
  option forwardfor
  server app 10.0.0.20:{port} source 10.0.0.11
listen forwarded{port}
  bind 10.0.0.12:{port}
  http-request add-header Forwarded for=%[src]
  server app 10.0.0.20:{port} source 10.0.0.12
"""

# Runs inside: each line asks for one exchange, and is answered when the server has closed; it waits for the server.
_CLIENT: Final = """
import json, socket, sys, time
def connected(source, target, until):
    while True:
        family = socket.AF_INET6 if ":" in source else socket.AF_INET
        ours = socket.socket(family)
        ours.bind((source, 0))
        try:
            ours.connect(tuple(target))
            return ours
        except OSError:
            ours.close()
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
for row in sys.stdin:
    source, target, request = json.loads(row)
    with connected(source, target, time.monotonic() + 120) as ours:
        port, answer = ours.getsockname()[1], b""
        ours.sendall(request.encode("latin-1"))
        while not answer.endswith(b"\\x88\\2\\3\\xe8") and (data := ours.recv(65536)):  # the end of a WebSocket
            answer += data
    print(json.dumps([port, answer.decode("latin-1")]), flush=True)
"""


class FrontSpace:
    """The namespace; its name holds the process id, so that several can stand side by side."""

    _made = 0

    def __init__(self, folder: Path) -> None:
        FrontSpace._made += 1
        self.name, self.folder = f"cf-{os.getpid()}-{FrontSpace._made}", folder
        self._stack = ExitStack()

    def __enter__(self) -> FrontSpace:
        try:
            run("ip", "netns", "add", self.name)
            self._stack.callback(run, "ip", "netns", "del", self.name)
            run("ip", "-n", self.name, "link", "set", "lo", "up")
            for address in ADDRESSES:
                run("ip", "-n", self.name, "addr", "add", address, "dev", "lo", *(["nodad"] if "::" in address else []))
            (self.folder / "clientip.toml").write_text(CONFIG)
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            self._client = self.start("client", sys.executable, "-c", _CLIENT, **pipes)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._stack.close()

    def start(self, log: str, *command: str, **how: Any) -> subprocess.Popen[bytes]:
        """Start a program inside; it ends with the namespace."""
        out = self._stack.enter_context((self.folder / f"{log}.log").open("wb"))
        environment = os.environ | {"CLIENTIP_CONFIG": str(self.folder / "clientip.toml"), **how.pop("env", {})}
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.name, *command],
            **{"stdout": out, "stderr": out, "cwd": ROOT, "env": environment, **how},
        )
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process

    def log(self, name: str) -> str:
        """What a program printed."""
        return (self.folder / f"{name}.log").read_text()

    def proxies(self) -> None:
        """nginx and HAProxy in front of all servers."""
        servers = "".join(_NGINX_SERVER.format(port=port) for port in SERVERS.values())
        text = _NGINX.replace("SERVERS", servers).replace("@", str(self.folder))
        (self.folder / "nginx.conf").write_text(text)
        self.start("nginx.out", "nginx", "-c", str(self.folder / "nginx.conf"), "-e", str(self.folder / "nginx.log"))
        servers = "".join(_HAPROXY_SERVER.format(port=port) for port in SERVERS.values())
        (self.folder / "haproxy.cfg").write_text(_HAPROXY + servers)
        self.start("haproxy", "haproxy", "-db", "-f", str(self.folder / "haproxy.cfg"))

    def applications(self) -> None:
        """Every server, on both of the application's addresses."""
        for host, number in ((APP, 4), ("fd00::20", 6)):
            for name, kind, loop in (("uvicorn-h11", "h11", "asyncio"), ("uvicorn-httptools", "httptools", "uvloop")):
                how = ("--host", host, "--port", str(SERVERS[name]), "--http", kind, "--loop", loop)
                self.uvicorn(f"{name}{number}", "--no-proxy-headers", *how)
        binds = [f"--bind={APP}:{SERVERS['gunicorn']}", f"--bind=[fd00::20]:{SERVERS['gunicorn']}"]
        main = (sys.executable, "-m", "gunicorn", *binds, "tests.worlds.echo_apps:wsgi_app()")
        self.start("gunicorn", *main)
        for host, source in ((APP, CLIENT), ("fd00::20", CLIENT6)):
            for port in SERVERS.values():
                self.told(source, (host, port))  # which waits until it is there: nginx would not

    def uvicorn(self, log: str, *arguments: str, **how: Any) -> subprocess.Popen[bytes]:
        """A uvicorn that serves the echo."""
        main = (sys.executable, "-m", "uvicorn", "--factory", "tests.worlds.echo_apps:asgi_app")
        return self.start(log, *main, *arguments, **how)

    def ask(self, source: str, target: tuple[str, int], *lines: str) -> tuple[int, str]:
        """Send a request with these further lines; the port it came from, and the whole answer."""
        if not any(line.lower().startswith("connection:") for line in lines):
            lines = (*lines, "Connection: close")
        request = "\r\n".join(("GET / HTTP/1.1", "Host: app", *lines, "", ""))
        assert self._client.stdin is not None
        assert self._client.stdout is not None
        self._client.stdin.write(json.dumps([source, target, request]).encode() + b"\n")
        self._client.stdin.flush()
        row = self._client.stdout.readline()
        assert row, self.log("client")
        port, answer = json.loads(row)
        return port, answer

    def told(self, source: str, target: tuple[str, int], *lines: str) -> dict[str, Any]:
        """What the application says of the request; `port` is the port it came from."""
        port, answer = self.ask(source, target, *lines)
        assert " 200 " in answer.partition("\r\n")[0], answer
        return {**json.loads(answer.rpartition("\r\n\r\n")[2]), "port": port}
