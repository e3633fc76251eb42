"""Reads `setups.toml`, the table of recorded set-ups (one per log file)."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

HOST_NUMBER = {
    "nginx": 11,
    "haproxy": 12,
    "apache": 13,
    "varnish": 14,
    "traefik": 15,
    "envoy": 16,
    "caddy": 17,
}
BALANCER_PORT = 0  # a set-up without a port of its own: the log of the balancer itself


@dataclass(frozen=True)
class Setup:
    """One server configuration whose access log is kept as `logs/<name>.log`."""

    name: str
    server: str
    format: str
    port: int
    note: str
    pattern: str | None = None
    escape: str | None = None
    logs_peer: str = "socket"
    via: str | None = None
    wrapper: str | None = None
    cases: str = "core"
    extra: tuple[str, ...] = ()
    lb_log: bool = False
    ipv6: bool = True
    collector: int | None = None
    appends_before_log: bool = False
    captures: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    believes: tuple[str, ...] = ()

    @property
    def log(self) -> str:
        """File name of the recorded log."""
        return f"{self.name}.log"

    @property
    def v4(self) -> tuple[str, int]:
        """Where the server listens for IPv4 clients and for the balancer."""
        return (f"10.0.1.{HOST_NUMBER[self.server]}", self.port)

    @property
    def v6(self) -> tuple[str, int]:
        """Where the server listens for direct IPv6 clients."""
        return (f"fd00:1::{HOST_NUMBER[self.server]}", self.port)


def _load() -> tuple[Setup, ...]:
    table = tomllib.loads(Path(__file__).with_name("setups.toml").read_text())
    patterns = table["patterns"]
    rows = []
    for name, row in table["setups"].items():
        pattern = row.pop("pattern", None)
        for key in ("extra", "captures", "peers", "believes"):
            row[key] = tuple(row.get(key, ()))
        server = name.partition("-")[0]
        rows.append(Setup(name=name, server=server, pattern=patterns[pattern] if pattern else None, **row))
    return tuple(rows)


ALL = _load()
BALANCER = tuple(setup for setup in ALL if setup.port == BALANCER_PORT)
SETUPS = tuple(setup for setup in ALL if setup.port != BALANCER_PORT)
LB_HTTP_LOG, LB_TCP_LOG = (setup.log for setup in BALANCER)
