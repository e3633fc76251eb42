"""`python -m benchmarks.blinding [--seconds N] [--only KIND]`: what one attacker costs the others, by kind of licence.

A site is replayed twice: alone, and with an attacker who every second makes one line unreadable, holds one connection,
and has one request sent on twice, as far as the log format lets him. Counted are the requests of the others that were
answered. `damaged` rows are no attacker's: something breaks a line a second where no client can.
A wrong client fails the run.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

import clientip

US, MS, SECOND = 1_000, 1_000_000, 1_000_000_000
BEGIN: Final = 1_796_119_200 * SECOND
RATE: Final = 200  # requests of the others, a second
PER_CONNECTION: Final = 5  # requests, a second apart
CUT: Final = 1024  # HAProxy's own bound of a line of syslog (`len`)
LONGEST_S: Final = 10
POOL: Final = 64  # connections from the balancer to the server
PORTS: Final = 28_000
BALANCER, NODE, SERVICE, SERVER, PORT = "198.51.100.50", "198.51.100.11", "198.51.100.99", "10.244.2.5", 8080
ATTACKER: Final = "192.0.2.66"

ENDS: Final = "%fi:%fp %ft %b/%s %bi:%bp %si:%sp"
TCP: Final = f"%ci:%cp [%t] {ENDS} %Tw/%Tc/%Tt %B %ts"
HTTP: Final = f"%ci:%cp [%tr] {ENDS} %TR/%Tw/%Tc/%Tr/%Ta %ST %B %tsc %rc ID %{{+Q}}r"
NGINX: Final = (
    '{"msec":"$msec","rt":"$request_time","peer":"$remote_addr","peer_port":"$remote_port",'
    '"local":"$server_addr:$server_port","xrid":"$http_x_request_id","conn":"$connection","req":"$request"}'
)
APP: Final = f"""
[systems.app]
format = "nginx"
escape = "json"
pattern = '{NGINX}'
inputs = ["app.log"]
logs_peer = "socket"
peers = ["edge"]
"""
LB: Final = f"""
[systems.edge]
format = "haproxy"
timezone = "UTC"
inputs = ["edge.log"]
logs_peer = "socket"
addresses = ["{BALANCER}"]
peers = ["outside"]
"""
KEPT: Final = "%{+Q}[var(txn.rid)]"
WORD: Final = f'lossless = true\nlongest = "{LONGEST_S}s"\n'
NAT: Final = f"""
[systems.edge]
format = "conntrack_json"
inputs = ["edge.log"]
addresses = ["{NODE}"]
peers = ["outside"]
"""
CONFIGS: Final = {
    "begins": f"{LB}pattern = '{TCP}'\nlossless = true\noptions = {{ logasap = \"true\" }}\n",
    "nat": NAT,
    "minted": f'{LB}pattern = \'{HTTP.replace("ID", "%ID")}\'\noptions = {{ "unique-id-header" = "x-request-id" }}\n'
    'mints = ["x-request-id"]\n',
    "pooled": f"{LB}pattern = '{HTTP.replace('ID ', '')}'\n{WORD}",
    "kept": f'{LB}pattern = \'{HTTP.replace("ID", KEPT)}\'\noptions = {{ "var.txn.rid" = "x-request-id" }}\n'
    f'passes_ids = ["x-request-id"]\n{WORD}',
}
KINDS: Final = {
    "begins": "TCP begin lines (`option logasap`)",
    "nat": "NAT events of the collector",
    "minted": "minted ids",
    "pooled": "pooled HTTP, written at the end",
    "kept": "kept ids",
}

Line = tuple[int, bytes]  # moment of writing, text


class Cost(NamedTuple):
    """Of the others' requests."""

    asked: int
    alone: int  # answered without the attacker
    beside: int  # answered with him
    wrong: int  # of both, and of his own requests

    @property
    def lost(self) -> float:
        """Which share of the answers he costs."""
        return 1 - self.beside / self.alone


class _Site:
    """The lines of one site; what is hostile is drawn from dice of its own, so that the others stay as they are."""

    def __init__(self, kind: str, seconds: int, *, hostile: bool, damaged: bool) -> None:
        self.kind, self.hostile, self.damaged = kind, hostile, damaged
        self.counted, self.seconds = seconds, seconds + LONGEST_S + 2  # the logs go on for as long as answers need
        self.edge: list[Line] = []
        self.app: list[Line] = []
        self.events: list[tuple[int, dict[str, object]]] = []
        self.truth: dict[str, str] = {}
        self.dice, self.evil = Random(1), Random(2)
        self.count = 0
        self.port = 0
        self.kept: set[int] = set()
        self.free = [BEGIN] * POOL

    def write(self, folder: Path) -> None:
        """Both logs and the configuration."""
        (self._connections if self.kind in ("begins", "nat") else self._requests)()
        if self.damaged:
            self.edge = self._with_damage()
        (folder / "edge.log").write_bytes(b"".join(line + b"\n" for _, line in sorted(self.edge)))
        (folder / "app.log").write_bytes(b"".join(line + b"\n" for _, line in sorted(self.app)))
        (folder / "clientip.toml").write_text(CONFIGS[self.kind] + APP)

    def _with_damage(self) -> list[Line]:
        broken, since = [], 0
        for at, line in sorted(self.edge):
            is_due = at // SECOND > since
            since = at // SECOND
            broken.append((at, line[: len(line) // 2] if is_due else line))
        return broken

    # Connections that are passed on whole.

    def _connections(self) -> None:
        every = SECOND * PER_CONNECTION // RATE
        begins = [
            (BEGIN + n * every + self.dice.randrange(every), False) for n in range(self.seconds * SECOND // every)
        ]
        if self.hostile:
            begins += [(BEGIN + n * SECOND + self.evil.randrange(SECOND), True) for n in range(self.seconds)]
        for begin, is_hostile in sorted(begins):
            self._connection(begin, is_hostile=is_hostile)
        if self.kind == "nat":
            self._number()

    def _connection(self, begin: int, *, is_hostile: bool) -> None:
        port = self._next_port()
        client = self._client(is_hostile=is_hostile)
        if is_hostile:
            self.kept.add(port)
        at = begin + self.dice.randrange(MS, 5 * MS)
        for _ in range(1 if is_hostile else PER_CONNECTION):
            at = self._served(at, client, port, is_hostile=is_hostile, rid="") + self.dice.randrange(SECOND, 2 * SECOND)
        self.count += 1
        if self.kind == "begins":
            ends = f"{BALANCER}:443 www app/s1 {BALANCER}:{port} {SERVER}:{PORT}"
            text = f"{client} [{_date(begin - MS)}] {ends} 0/1/+1 +512 --"
            self.edge.append((begin, text.encode()))
            return
        ends_of = {
            "proto": "tcp",
            "id": self.count,
            "orig": [*_pair(client), SERVICE, 80],
            "reply": [SERVER, PORT, NODE, port],
            "start": begin,
        }
        self.events.append((begin, {"event": "NEW", **ends_of}))
        if not is_hostile:
            self.events.append((at, {"event": "DESTROY", "end": at, "assured": True, **ends_of}))

    def _next_port(self) -> int:
        self.port += 1
        while 30_000 + self.port % PORTS in self.kept:
            self.port += 1
        return 30_000 + self.port % PORTS

    def _number(self) -> None:
        beats = [(BEGIN + n * SECOND, {"mark": True, "stamps": "kernel"}) for n in range(-1, self.seconds + 20)]
        told = sorted([*self.events, *beats], key=lambda each: each[0])
        for number, (at, event) in enumerate(told, 1):
            row = {"n": number, "session": "8f1c2d34-18eb4f7a", "at": at, **event}
            self.edge.append((at, json.dumps(row, separators=(",", ":")).encode()))

    # Requests of many clients on connections of a pool.

    def _requests(self) -> None:
        every = SECOND // RATE
        begins = [(BEGIN + n * every + self.dice.randrange(every), "") for n in range(self.seconds * RATE)]
        if self.hostile:
            for deed in ("unreadable", "held", "retried"):
                begins += [(BEGIN + n * SECOND + self.evil.randrange(SECOND), deed) for n in range(self.seconds)]
        for begin, deed in sorted(begins):
            self._request(begin, deed)

    def _request(self, begin: int, deed: str) -> None:
        slot = min(range(POOL), key=self.free.__getitem__)
        sent = max(begin, self.free[slot] + MS)
        client, port = self._client(is_hostile=bool(deed)), 30_000 + slot
        rid = f"{self.count:08x}-5b1d" if self.kind == "minted" or not deed else f"{max(self.count - 1, 0):08x}-5b1d"
        self.count += 1
        answered = self._served(sent, client, port, is_hostile=bool(deed), rid=rid)
        tries = 0
        if deed == "retried":
            self.free[slot] = answered
            slot = min(range(POOL), key=self.free.__getitem__)
            port, tries = 30_000 + slot, 1
            answered = self._served(max(answered, self.free[slot]) + MS, client, port, is_hostile=True, rid=rid)
        over = answered + (LONGEST_S - 2) * SECOND if deed == "held" else answered + self.dice.randrange(5 * MS)
        self.free[slot] = over
        timers = (sent - begin, 0, 0, answered - sent, over - begin)
        shown = {"minted": f" {rid}", "kept": f' "{rid}"', "pooled": ""}[self.kind]
        text = (
            f"{client} [{_date(begin)}] {BALANCER}:443 www app/s1 {BALANCER}:{port} {SERVER}:{PORT} "
            f"{'/'.join(str(each // MS) for each in timers)} 200 512 ---- {tries}{shown} "
            f'"GET /{self.count}{"a" * 2000 if deed == "unreadable" else ""} HTTP/1.1"'
        )
        self.edge.append((over, text.encode()[:CUT]))

    # What both have.

    def _client(self, *, is_hostile: bool) -> str:
        if is_hostile:
            return f"{ATTACKER}:{self.evil.randrange(1024, 65_536)}"
        return f"20.{self.dice.randrange(256)}.{self.dice.randrange(256)}.7:{self.dice.randrange(1024, 65_536)}"

    def _served(self, begin: int, client: str, port: int, *, is_hostile: bool, rid: str) -> int:
        """A line of the application; when it had answered."""
        over = begin + self.dice.randrange(MS, 20 * MS)
        is_counted = not is_hostile and begin < BEGIN + self.counted * SECOND
        target = f"/{'of' if is_counted else 'more'}/{len(self.truth)}"
        self.truth[target] = client
        row = {
            "msec": f"{over // MS / 1000:.3f}",
            "rt": f"{(over - begin) // MS / 1000:.3f}",
            "peer": NODE if self.kind == "nat" else BALANCER,
            "peer_port": str(port),
            "local": f"{SERVER}:{PORT}",
            "xrid": rid,
            "conn": str(port),
            "req": f"GET {target} HTTP/1.1",
        }
        self.app.append((over, json.dumps(row, separators=(",", ":")).encode()))
        return over


def _date(at: int) -> str:
    return datetime.fromtimestamp(at // MS / 1000, UTC).strftime("%d/%b/%Y:%H:%M:%S.%f")[:-3]


def _pair(client: str) -> tuple[str, int]:
    address, _, port = client.rpartition(":")
    return address, int(port)


def measure(kind: str, seconds: int, *, damaged: bool = False) -> Cost:
    """Replay the site alone, and with the attacker, or with damaged lines in his place."""
    asked, alone, wrong = _answered(_Site(kind, seconds, hostile=False, damaged=False))
    _, beside, more = _answered(_Site(kind, seconds, hostile=not damaged, damaged=damaged))
    return Cost(asked, alone, beside, wrong + more)


def _answered(site: _Site) -> tuple[int, int, int]:
    """(requests of the others, those with their client, requests with another one)."""
    asked = answered = wrong = 0
    with tempfile.TemporaryDirectory() as name:
        site.write(Path(name))
        for record in clientip.replay(Path(name) / "clientip.toml"):
            if record.observation.setup.system != "app":
                continue
            assert record.observation.http is not None
            target, found = record.observation.http.target or "", record.resolution.named
            text = None if found is None else f"{found.address.text}:{found.port}"
            wrong += text not in (None, site.truth[target])
            if target.startswith("/of/"):
                asked += 1
                answered += text == site.truth[target]
    return asked, answered, wrong


def main(write: Callable[[str], object] = print) -> int:
    """Measure every kind, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="of each site")
    parser.add_argument("--only", choices=KINDS, help="one kind")
    chosen = parser.parse_args()
    write("| licence | requests | answered alone | beside the attacker | lost | wrong |")
    write("|---|---|---|---|---|---|")
    wrong = 0
    for kind in [chosen.only] if chosen.only else KINDS:
        for damaged in (False, True) if kind in ("begins", "nat", "pooled") else (False,):
            cost = measure(kind, chosen.seconds, damaged=damaged)
            title = f"{KINDS[kind]}{', damaged' if damaged else ''}"
            write(f"| {title} | {cost.asked} | {cost.alone} | {cost.beside} | {cost.lost:.2%} | {cost.wrong} |")
            wrong += cost.wrong
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
