"""Small worlds as log files: clients, perhaps behind a balancer, NATing nodes, one application; drawn at random.

    client → [outer NAT] → [balancer] → nodes → application

Each world says by itself what its logs show (ports, near ends, ids, running numbers) and what went missing.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

MS = 1_000_000
BEGIN = 1_714_557_600_000 * MS
NODE, OUTER, BALANCER, APP, SERVICE = "198.51.100.11", "198.51.100.21", "198.51.100.50", "10.244.2.5", "198.51.100.99"
APP_PORT = 8080
LONGEST = 'longest = "1s"\n'

NGINX = (
    '{"msec":"$msec","rt":"$request_time","peer":"$remote_addr","peer_port":"$remote_port",'
    '"local":"$server_addr:$server_port","xrid":"$http_x_request_id","tp":"$http_traceparent","conn":"$connection",'
    '"req":"$request","st":"$status"}'
)
HAPROXY = "%ci:%cp [%tr] %fi:%fp %ft %b/%s %bi:%bp %si:%sp %TR/%Tw/%Tc/%Tr/%Ta %ST %B %tsc %{+Q}[var(txn.rid)] %{+Q}r"


class Shape(Struct, frozen=True):
    """What a world is like."""

    seed: int = 1
    flows: int = 30
    ports: int = 3  # of the node; the fewer, the more connections share a tuple
    balancer: bool = False
    outer: bool = False  # NAT in front of the balancer: its lines ask too
    mints: bool = False  # the balancer makes each request id itself
    lossless: bool = True  # the logs of balancer and application
    shows_port: bool = True
    shows_id: bool = True
    shows_near: bool = True
    one_id: bool = False  # every request shows the same id
    marks: bool = True
    lost: float = 0.0  # share of lines that went missing
    error: int = MS  # of the application's clock
    keepalive: int = 2  # requests on one connection, at most
    stretch: int = 1  # how much longer everything lasts; the collectors then write marks meanwhile
    ipv6: bool = False  # clients of a balancer that faces them


class Files(Struct):
    """The files of a world by name, lines in the order of their time."""

    config: str
    logs: dict[str, list[bytes]]
    truth: dict[str, str]  # target of the request → client


class _Flow(Struct):
    begin: int
    end: int
    source: tuple[str, int]
    seen_as: tuple[str, int]


def config_of(shape: Shape) -> str:
    """The drawing."""
    lossless = "true" if shape.lossless else "false"
    front = "outer" if shape.outer else "outside"
    behind = "lb" if shape.balancer else "outside"
    parts = [
        f"""
[systems.nodes]
format = "conntrack_json"
inputs = ["nat/{{instance}}.jsonl"]
addresses = ["{NODE}"]
instances = {{ node = ["{NODE}"] }}
peers = ["{behind}"]

[systems.app]
format = "nginx"
escape = "json"
pattern = '{_pattern(shape)}'
inputs = ["app/{{instance}}.log*"]
logs_peer = "socket"
peers = ["nodes"]
lossless = {lossless}
{LONGEST}
[joins]
tolerance = "5ms"
horizon = "1m"
"""
    ]
    if shape.balancer:
        parts.append(
            f"""
[systems.lb]
format = "haproxy"
pattern = '{HAPROXY}'
timezone = "UTC"
options = {{ "var.txn.rid" = "x-request-id" }}
inputs = ["lb/{{instance}}.log"]
logs_peer = "socket"
addresses = ["{BALANCER}"]
peers = ["{front}"]
lossless = {lossless}
{LONGEST}retries = false
passes_ids = ["x-request-id"]
{'mints = ["x-request-id"]' if shape.mints else ""}
"""
        )
    if shape.outer:
        parts.append(
            f"""
[systems.outer]
format = "conntrack_json"
inputs = ["outer/{{instance}}.jsonl"]
addresses = ["{OUTER}"]
instances = {{ edge = ["{OUTER}"] }}
peers = ["outside"]
"""
        )
    return "".join(parts)


def _pattern(shape: Shape) -> str:
    pattern = NGINX if shape.shows_port else NGINX.replace('"peer_port":"$remote_port",', "")
    return pattern if shape.shows_near else pattern.replace('"local":"$server_addr:$server_port",', "")


def world(shape: Shape) -> Files:
    """The logs of one random world."""
    dice = random.Random(shape.seed)
    found = Files(config_of(shape), {"nat/node.jsonl": [], "app/app.log": []}, {})
    free: dict[tuple[str, int], int] = {}
    outer: list[_Flow] = []
    nodes: list[_Flow] = []
    requests: list[tuple[int, bytes]] = []
    lb_lines: list[tuple[int, bytes]] = []
    for number in range(shape.flows):
        client = (f"203.0.113.{dice.randrange(1, 250)}", dice.randrange(1024, 65535))
        if shape.ipv6 and shape.balancer and not shape.outer:
            client = (client[0].replace("203.0.113.", "2001:db8::"), client[1])
        met = client
        begin = BEGIN + number * 3 * MS * shape.stretch + dice.randrange(MS)
        length = dice.choice([2, 5, 40, 200]) * MS * shape.stretch
        near = client
        if shape.balancer:
            near = (BALANCER, dice.randrange(30000, 30000 + 4 * shape.ports))
            if shape.outer:
                met = _masked(OUTER, shape, dice)
                begin = max(begin, free.get(met, 0))
        seen_as = _masked(NODE, shape, dice)
        inner = max(begin + 2 * MS, free.get(seen_as, 0), free.get(near, 0))
        nodes.append(_Flow(inner, inner + length, near, seen_as))
        free[seen_as] = free[near] = nodes[-1].end + MS
        if met != client:
            outer.append(_Flow(begin, nodes[-1].end + 3 * MS, client, met))
            free[met] = outer[-1].end + MS
        for k in range(dice.randint(1, shape.keepalive)):
            at = dice.randint(inner, inner + length)
            target = f"/{number}/{k}"
            rid = "one" if shape.one_id else f"id-{number}-{k}"
            found.truth[target] = f"{client[0]}:{client[1]}"
            stamp = at + dice.randint(-shape.error, shape.error)
            requests.append((at, _nginx(stamp, seen_as, number, rid, target, shape)))
            if shape.balancer:
                lb_lines.append((at, _haproxy(at - MS, met, near, rid, target)))
    found.logs["app/app.log"] = _kept(dice, shape, [line for _, line in sorted(requests)])
    found.logs["nat/node.jsonl"] = _kept(dice, shape, _conntrack(nodes, (APP, APP_PORT), shape))
    if shape.balancer:
        # Requests from before and after, so that the log can say what did not come through it.
        first, last = BEGIN - 10_000 * MS, max(flow.end for flow in nodes) + 10_000 * MS
        lb_lines += [
            (at, _haproxy(at, ("203.0.113.254", 1024), (BALANCER, 29_999), "-", "/frame")) for at in (first, last)
        ]
        found.logs["lb/lb.log"] = _kept(dice, shape, [line for _, line in sorted(lb_lines)])
    if shape.outer and shape.balancer:
        found.logs["outer/edge.jsonl"] = _kept(dice, shape, _conntrack(outer, (BALANCER, 443), shape))
    return found


def _masked(address: str, shape: Shape, dice: random.Random) -> tuple[str, int]:
    return address, 20000 + dice.randrange(shape.ports)


def _kept(dice: random.Random, shape: Shape, lines: Iterable[bytes]) -> list[bytes]:
    return [line for line in lines if dice.random() >= shape.lost]


def _nginx(at: int, peer: tuple[str, int], serial: int, rid: str, target: str, shape: Shape) -> bytes:
    row = {
        "msec": f"{at // MS / 1000:.3f}",
        "rt": "0.000",
        "peer": peer[0],
        "peer_port": str(peer[1]),
        "local": f"{APP}:{APP_PORT}",
        "xrid": rid if shape.shows_id and shape.balancer else "",
        "tp": "",
        "conn": str(serial + 1),
        "req": f"GET {target} HTTP/1.1",
        "st": "200",
    }
    if not shape.shows_port:
        del row["peer_port"]
    if not shape.shows_near:
        del row["local"]
    return json.dumps(row, separators=(",", ":")).encode()


def _haproxy(at: int, met: tuple[str, int], near: tuple[str, int], rid: str, target: str) -> bytes:
    stamp = datetime.fromtimestamp(at // MS / 1000, UTC).strftime("%d/%b/%Y:%H:%M:%S.%f")[:-3]
    return (
        f"{met[0]}:{met[1]} [{stamp}] {BALANCER}:443 www app/a {near[0]}:{near[1]} {SERVICE}:80 0/0/1/2/3 200 12 ---- "
        f'"{rid}" "GET {target} HTTP/1.1"'
    ).encode()


def _conntrack(flows: list[_Flow], to: tuple[str, int], shape: Shape) -> list[bytes]:
    """NEW and DESTROY of each flow, numbered, between two marks."""
    events = []
    for ident, flow in enumerate(flows):
        ends = {
            "orig": [*flow.source, SERVICE, 80],
            "reply": [*to, *flow.seen_as],
        }
        events.append((flow.begin, {"event": "NEW", "proto": "tcp", "id": ident, "start": flow.begin, **ends}))
        over = {"event": "DESTROY", "proto": "tcp", "id": ident, "start": flow.begin, "end": flow.end, "assured": True}
        events.append((flow.end, {**over, **ends}))
    events.sort(key=lambda event: event[0])
    told = [(BEGIN - 1000 * MS, {"mark": True, "stamps": "kernel"})] if shape.marks else []
    told += events
    if shape.marks and shape.stretch > 1:
        until = max((at for at, _ in events), default=BEGIN) + 600_000 * MS
        told += [(at, {"mark": True, "stamps": "kernel"}) for at in range(BEGIN, until, 10_000 * MS)]
        told.sort(key=lambda event: event[0])
    elif shape.marks:
        told += [(BEGIN + 3_600_000 * MS, {"mark": True, "stamps": "kernel"})]
    rows = [{"n": n, "session": "0f0e-1", "at": at, **event} for n, (at, event) in enumerate(told, 1)]
    return [json.dumps(row, separators=(",", ":")).encode() for row in rows]


def write(files: Files, home: Path) -> None:
    """The files of a world below a folder."""
    (home / "c.toml").write_text(files.config)
    for name, lines in files.logs.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(line + b"\n" for line in lines))
