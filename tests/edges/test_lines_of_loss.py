"""What real servers write when lines of theirs are lost is read as loss; what they write when none is, is not."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from clientip.engine import Engine, LogSource
from clientip.model import Line, Rejected, Setup, System

from tests.worlds.patience import LIMIT_S, until

pytestmark = pytest.mark.edge

NGINX = """
daemon off;
user root;
worker_processes 1;
pid PATH/pid;
error_log PATH/log notice;
events {}
http {
  server {
    listen unix:PATH/http;
    location /full { access_log /dev/full; return 200 x; }
    location /away { access_log syslog:server=unix:PATH/away; return 200 x; }
    location /good { access_log PATH/good; return 200 x; }
  }
}
"""
HAPROXY = """
global
  log PATH/away local0
  stats socket PATH/stats
defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
frontend f
  bind unix@PATH/http
  log global
  log-format "%ci:%cp %ST %HP"
  http-request set-log-level silent if { path /good }
  http-request return status 200
"""
COUNTING = """
defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
  log stdout format raw local0
frontend one
  bind unix@PATH/http
  log-format "one %pid %rt %lc %ST %HP"
  http-request set-log-level silent if { path /silent }
  http-request return status 200
frontend two
  bind unix@PATH/two
  log-format "two %pid %rt %lc %ST %HP"
  http-request return status 200
"""


def ask(path: Path, target: str) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as asked:
        asked.connect(str(path))
        asked.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        while asked.recv(4096):
            pass


@contextmanager
def running(folder: Path, config: str, *call: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server that accepts connections; what it writes to standard output and error goes to `out`."""
    (folder / "conf").write_text(config.replace("PATH", str(folder)))
    with (folder / "out").open("wb") as out:
        server = subprocess.Popen([*call, str(folder / "conf")], stdout=out, stderr=out)
    try:
        until((folder / "http").exists, (folder / "out").read_text)
        yield server
    finally:
        server.kill()
        server.wait(LIMIT_S)


def children(server: subprocess.Popen[bytes]) -> list[int]:
    return [int(each) for each in Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()]


def losses(name: str, text: str) -> list[str]:
    """The lines that are read as loss; no other one is rejected."""
    setup = Setup(system="lb", format=name, logs_peer="socket", timezone="UTC")
    engine = Engine([System(name="lb", peers=frozenset({"outside"}))], [LogSource(setup)], line_bytes=1 << 20)
    reading, found = engine.reading("lb"), list[str]()
    for line in text.splitlines():
        [outcome] = reading.feed(Line(line.encode(), line.encode()))
        if isinstance(outcome, Rejected):
            assert outcome.reason == "lines_lost", line
            found.append(line)
    return found


def count(lines: Sequence[str], *words: str) -> list[int]:
    return [sum(word in line for line in lines) for word in words]


def test_nginx_says_in_its_error_log_what_it_could_not_write(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running(tmp_path, NGINX, "nginx", "-p", str(tmp_path), "-c") as server:
        ask(tmp_path / "http", "/good")
        until((tmp_path / "good").read_text)
        assert losses("nginx", log.read_text()) == []
        ask(tmp_path / "http", "/full")
        ask(tmp_path / "http", "/away")
        until(lambda: "send() to syslog failed" in log.read_text())
        os.kill(children(server)[0], signal.SIGKILL)
        until(lambda: "exited on signal 9" in log.read_text())
        said = ("write() to", "send() to syslog failed", "exited on signal 9")
        assert count(losses("nginx", log.read_text()), *said) == [1, 1, 1]


def test_haproxy_says_in_alerts_what_it_could_not_write(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with running(tmp_path, HAPROXY, "haproxy", "-W", "-db", "-f") as server:
        ask(tmp_path / "http", "/good")
        assert losses("haproxy", out.read_text()) == []
        ask(tmp_path / "http", "/lost")
        until(lambda: "failed in logger" in out.read_text())
        os.kill(children(server)[0], signal.SIGKILL)
        until(lambda: "exited with code 137" in out.read_text())
        assert count(losses("haproxy", out.read_text()), "failed in logger", "exited with code 137") == [1, 1]


def test_the_request_counter_of_haproxy_shows_what_was_not_logged_and_its_log_counter_does_not(tmp_path: Path) -> None:
    """`clientip help lossless` says so."""
    out = tmp_path / "out"
    with running(tmp_path, COUNTING, "haproxy", "-db", "-f"):
        for name, target in (("http", "/a"), ("http", "/silent"), ("two", "/b"), ("http", "/c")):
            ask(tmp_path / name, target)
        until(lambda: "/c" in out.read_text())
        found = re.findall(r"(one|two) \d+ (\d+) (\d+) 200 /(\w)", out.read_text())
    assert found == [("one", "0", "0", "a"), ("two", "2", "0", "b"), ("one", "3", "1", "c")]
