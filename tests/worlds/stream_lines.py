"""Live worlds for the stream of any size: log lines that are dated when they are written, made as they are asked for.

    client → nodes (SNAT, numbered events) → app          certain by one event
    client → lb (mints request ids) → api                  certain by the id
    client → cdn (X-Forwarded-For) → web                   says it itself; some lines are none, some peers unlisted

Nothing in them is ambiguous, so that nothing has to wait for its whole time.
"""

from __future__ import annotations

import json
import random
import time
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

MS = 1_000_000
SECOND = 1000 * MS
NODES = {f"node-{number}": f"198.51.100.{number}" for number in (11, 12, 13)}
LB, CDN, SERVICE = "198.51.100.50", "198.51.100.60", "198.51.100.99"
APP, API = "10.244.2.5", "10.244.3.5"
SYSTEMS = ("nodes", "lb", "app", "api", "web")
RECORDS = ("lb", "app", "api", "web")  # systems whose lines are records

CONFIG = """
[systems.nodes]
format = "conntrack_json"
topics = ["{prefix}.raw.nodes"]
instance_by = "key"
arrives_within = "{arrives}"
longest = "2s"
addresses = {addresses}
instances = {{ {instances} }}
peers = ["outside"]

[systems.app]
format = "nginx"
escape = "json"
pattern = '{{"msec":"$msec","rt":"$request_time","peer":"$remote_addr","peer_port":"$remote_port",\
"local":"$server_addr:$server_port","conn":"$connection","req":"$request","st":"$status"}}'
topics = ["{prefix}.raw.app"]
arrives_within = "{arrives}"
longest = "2s"
logs_peer = "socket"
peers = ["nodes"]

[systems.lb]
format = "haproxy"
pattern = '%ci:%cp [%tr] %fi:%fp %ft %b/%s %bi:%bp %si:%sp %TR/%Tw/%Tc/%Tr/%Ta\
 %ST %B %tsc %{{+Q}}[var(txn.rid)] %{{+Q}}r'
timezone = "UTC"
options = {{ "var.txn.rid" = "x-request-id" }}
topics = ["{prefix}.raw.lb"]
arrives_within = "{arrives}"
longest = "2s"
logs_peer = "socket"
addresses = ["{lb}"]
peers = ["outside"]
mints = ["x-request-id"]

[systems.api]
format = "nginx"
escape = "json"
pattern = '{{"msec":"$msec","rt":"$request_time","peer":"$remote_addr","xrid":"$http_x_request_id",\
"tp":"$http_traceparent","req":"$request","st":"$status"}}'
topics = ["{prefix}.raw.api"]
arrives_within = "{arrives}"
longest = "2s"
logs_peer = "socket"
peers = ["lb"]

[systems.cdn]
addresses = ["{cdn}"]
peers = ["outside"]
conveys = [{{ header = "x-forwarded-for", mode = "append" }}]

[systems.web]
format = "nginx"
escape = "json"
pattern = '{{"msec":"$msec","rt":"$request_time","peer":"$remote_addr","xff":"$http_x_forwarded_for",\
"req":"$request","st":"$status"}}'
topics = ["{prefix}.raw.web"]
arrives_within = "{arrives}"
longest = "2s"
logs_peer = "socket"
peers = ["cdn"]

[joins]
tolerance = "5ms"
horizon = "1m"
"""


class Item(NamedTuple):
    """One raw message."""

    system: str
    key: bytes | None
    text: bytes


def config(prefix: str, arrives: str = "10m") -> str:
    """The drawing of a world whose topics begin with `prefix`."""
    instances = ", ".join(f'{name} = ["{address}"]' for name, address in NODES.items())
    addresses = json.dumps(list(NODES.values()))
    return CONFIG.format(prefix=prefix, arrives=arrives, addresses=addresses, instances=instances, lb=LB, cdn=CDN)


class World:
    """Lines without end, of the present; the same seed gives the same clients, not the same times."""

    def __init__(self, seed: int = 1, noise: int = 0) -> None:
        """`noise`: NAT flows beside each one of which a line of the application tells."""
        self._dice = random.Random(seed)
        self._noise = noise
        self._serial = self._ports = self._flows = 0
        self._numbers = dict.fromkeys(NODES, 0)
        self._session = f"5e55-{seed:x}"
        self._ends: dict[str, deque[tuple[int, dict[str, object]]]] = {name: deque() for name in NODES}

    def items(self, count: int) -> Iterator[Item]:
        """About so many messages, a mark of each node before and after them."""
        yield from self.marks(0 if self._flows else -30 * SECOND)  # what is told begins long before
        made, marked_s = len(NODES), time.monotonic()
        while made < count:
            for item in self._some():
                made += 1
                yield item
            if time.monotonic() - marked_s >= 1.0:
                marked_s = time.monotonic()
                yield from self.marks()
        yield from self.marks(SECOND)  # more than anything lasts

    def marks(self, ahead_ns: int = 0) -> Iterator[Item]:
        """What a collector says at least once a second: it has told everything so far."""
        for node in NODES:
            now = time.time_ns() + ahead_ns
            yield from self._over(node, now)
            yield self._nat(node, now, {"mark": True, "stamps": "kernel"})

    def _some(self) -> Iterator[Item]:
        draw = self._dice.random()
        if draw < 0.4:
            yield from self.natted()
            for _ in range(self._noise):
                yield from self.flow(self._dice.choice(list(NODES)), self._client(), time.time_ns())
        elif draw < 0.7:
            yield from self.minted()
        else:
            yield self.plain()

    def natted(self) -> Iterator[Item]:
        """A connection through a node: its events, and one or two requests on it, before or after its first event."""
        node, client, now = self._dice.choice(list(NODES)), self._client(), time.time_ns()
        told = list(self.flow(node, client, now))
        port = 20_000 + self._ports % 40_000
        lines = [self._app(node, port, now + 2 * MS * each, client) for each in range(self._dice.choice((1, 1, 2)))]
        yield from (*lines, *told) if self._dice.random() < 0.5 else (*told, *lines)

    def flow(self, node: str, client: tuple[str, int], now: int) -> Iterator[Item]:
        """Its beginning, after the ends of others that were earlier; its own end comes with a later event."""
        self._flows, self._ports = self._flows + 1, self._ports + 1
        masked = NODES[node], 20_000 + self._ports % 40_000
        ends = {"orig": [*client, SERVICE, 80], "reply": [APP, 8080, *masked]}
        begin, end = now - MS, now + 6 * MS
        new = {"event": "NEW", "proto": "tcp", "id": self._flows, "start": begin}
        yield from self._over(node, begin)
        yield self._nat(node, begin, {**new, **ends})
        self._ends[node].append((end, {**new, "event": "DESTROY", "end": end, "assured": True, **ends}))

    def _over(self, node: str, now: int) -> Iterator[Item]:
        """Flows that have ended by now."""
        ends = self._ends[node]
        while ends and ends[0][0] <= now:
            yield self._nat(node, *ends.popleft())

    def _nat(self, node: str, at: int, event: dict[str, object]) -> Item:
        self._numbers[node] += 1
        row = {"n": self._numbers[node], "session": self._session, "at": at, **event}
        return Item("nodes", node.encode(), json.dumps(row, separators=(",", ":")).encode())

    def _app(self, node: str, port: int, at: int, client: tuple[str, int]) -> Item:
        self._serial += 1
        row = {
            "msec": f"{at // MS / 1000:.3f}",
            "rt": "0.000",
            "peer": NODES[node],
            "peer_port": str(port),
            "local": f"{APP}:8080",
            "conn": str(self._ports),
            "req": f"GET /app/{self._serial}?{client[0]}:{client[1]} HTTP/1.1",
            "st": "200",
        }
        return Item("app", None, json.dumps(row, separators=(",", ":")).encode())

    def minted(self, request: str | None = None) -> Iterator[Item]:
        """A request through the balancer, as both of them log it, in any order."""
        self._serial += 1
        client, now = self._client(), time.time_ns()
        asked = f"id-{self._serial}-{self._dice.randrange(10**9)}" if request is None else request
        target = f"/api/{self._serial}?{client[0]}:{client[1]}"
        stamp = datetime.fromtimestamp(now // MS / 1000, UTC).strftime("%d/%b/%Y:%H:%M:%S.%f")[:-3]
        front = (
            f"{client[0]}:{client[1]} [{stamp}] {LB}:443 www api/a {LB}:{self._dice.randrange(30000, 60000)} {API}:80 "
            f'0/0/1/2/3 200 12 ---- "{asked}" "GET {target} HTTP/1.1"'
        )
        pair = [Item("lb", None, front.encode()), self.api(asked, target, now)]
        if self._dice.random() < 0.5:
            pair.reverse()
        yield from pair

    def api(self, request: str, target: str, now: int, parent: str = "") -> Item:
        """A line that shows the balancer, a request id and perhaps a traceparent."""
        row = {
            "msec": f"{now // MS / 1000:.3f}",
            "rt": "0.001",
            "peer": LB,
            "xrid": request,
            "tp": parent,
            "req": f"GET {target} HTTP/1.1",
            "st": "200",
        }
        return Item("api", None, json.dumps(row, separators=(",", ":")).encode())

    def plain(self) -> Item:
        """A line that asks nobody; one in a hundred cannot be read, one in fifty comes from a peer nobody drew."""
        self._serial += 1
        draw, now = self._dice.random(), time.time_ns()
        if draw < 0.01:
            return Item("web", None, b"\x80 no line %d" % self._serial)
        return self.web(f"/web/{self._serial}", now, "192.0.2.77" if draw < 0.03 else CDN)

    def web(self, target: str, now: int, peer: str = CDN) -> Item:
        """A line that asks nobody."""
        row = {
            "msec": f"{now // MS / 1000:.3f}",
            "rt": "0.001",
            "peer": peer,
            "xff": self._client()[0],
            "req": f"GET {target} HTTP/1.1",
            "st": "200",
        }
        return Item("web", None, json.dumps(row, separators=(",", ":")).encode())

    def _client(self) -> tuple[str, int]:
        return f"203.0.113.{self._dice.randrange(1, 250)}", self._dice.randrange(1024, 65535)
