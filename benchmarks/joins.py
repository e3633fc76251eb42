"""What a join costs: nginx lines joined with the NAT events of their connections, and the same lines resolved alone.

Clients → a node that translates → nginx in a pod.  Each connection carries one request, and is told when it begins
and when it ends, by numbered lines as `clientip collect conntrack` writes them.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from heapq import heappop, heappush
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, Final, NamedTuple

from benchmarks.bench_replay import CLIENTIP, Spent, run

GOAL: Final = 2.0  # processor time of a line of a joined replay, in lines of the plain one
NODE, APP, SERVICE, SESSION = "198.51.100.11", "10.244.2.5", "198.51.100.99", "8f1c2d34-18eb4f7a"
BEGIN: Final = 1_772_442_000_000_000_000
EVERY: Final = 400_000  # ns between two connections
PORTS: Final = 28_000  # of the node, taken in turn

PATTERN: Final = (
    '{"msec":"$msec","rt":"$request_time","peer":"$remote_addr","peer_port":"$remote_port",'
    '"local":"$server_addr:$server_port","xff":"$http_x_forwarded_for","conn":"$connection","req":"$request",'
    '"st":"$status","ua":"$http_user_agent"}'
)
CONFIG: Final = f"""
[systems.nodes]
format = "conntrack_json"
inputs = ["nat.jsonl"]
addresses = ["{NODE}"]
peers = ["outside"]
tells = TELLS

[systems.app]
format = "nginx"
escape = "json"
pattern = '{PATTERN}'
inputs = ["app.log"]
logs_peer = "socket"
peers = ["nodes"]
"""

Event = tuple[int, dict[str, Any]]


class Joined(NamedTuple):
    """Medians of the rounds."""

    requests: int
    events: int
    plain: Spent  # the requests, resolved alone
    events_alone: Spent  # the events, with no line that asks
    joined: Spent  # both, joined

    @property
    def per_line(self) -> float:
        """What a line of the joined replay costs, in lines of the plain one."""
        return self.joined.processor / (self.requests + self.events) / (self.plain.processor / self.requests)

    @property
    def per_request(self) -> float:
        """What a request costs beyond the reading of the events, in requests resolved alone."""
        return (self.joined.processor - self.events_alone.processor) / self.plain.processor

    @property
    def together(self) -> float:
        """The joined replay, in replays of both logs without joins."""
        return self.joined.processor / (self.plain.processor + self.events_alone.processor)


def measure(requests: int, rounds: int) -> Joined:
    """Replay all three, `rounds` times in turn, with one worker."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        events = write(folder, requests)
        for word in ("true", "false"):
            (folder / f"{word}.toml").write_text(CONFIG.replace("TELLS", word))
        calls = {"plain": ("false", "app.log"), "nat": ("false", "nat.jsonl"), "joined": ("true", "")}
        taken: dict[str, list[Spent]] = {kind: [] for kind in calls}
        for number in range(rounds):
            for kind, (config, only) in calls.items():
                out = folder / f"{kind}{number}"
                call = ["replay", "-c", str(folder / f"{config}.toml"), "-o", str(out), "--workers", "1"]
                taken[kind].append(run(["-c", CLIENTIP, *call, *([str(folder / only)] if only else [])]))
                _check(out, kind, requests)
        return Joined(requests, events, *(_middle(each) for each in taken.values()))


def _check(out: Path, kind: str, requests: int) -> None:
    """A wrong answer has no speed."""
    verdicts = json.loads((out / "summary.json").read_text())["systems"].get("app", {}).get("verdicts")
    assert verdicts == {"plain": {"unknown": requests}, "nat": None, "joined": {"joined": requests}}[kind], verdicts


def _middle(runs: list[Spent]) -> Spent:
    return Spent(median(each.processor for each in runs), median(each.wall for each in runs))


def write(folder: Path, requests: int) -> int:
    """Both logs; how many lines of NAT there are."""
    dice, count = Random(1), 0
    with (folder / "app.log").open("w") as app:
        for number in range(requests):
            app.write(_text(_request(number)))
    with (folder / "nat.jsonl").open("w") as nat:
        for row in _numbered(_events(dice, requests)):
            nat.write(_text(row))
            count += 1
    return count


def _text(row: dict[str, Any]) -> str:
    return json.dumps(row, separators=(",", ":")) + "\n"


def _request(number: int) -> dict[str, Any]:
    ended = BEGIN + number * EVERY + 25_000_000
    return {
        "msec": f"{ended // 1_000_000 / 1000:.3f}",
        "rt": "0.004",
        "peer": NODE,
        "peer_port": str(32768 + number % PORTS),
        "local": f"{APP}:8080",
        "xff": "-",
        "conn": str(number + 1),
        "req": f"GET /shop/{number}?page=2&sort=price HTTP/1.1",
        "st": "200",
        "ua": "Mozilla/5.0 (X11; Linux x86_64; rv:136.0) Gecko/20100101 Firefox/136.0",
    }


def _events(dice: Random, connections: int) -> Iterator[Event]:
    """Begin and end of each connection, in the order of their time."""
    open_: list[tuple[int, int, dict[str, Any]]] = []
    for number in range(connections):
        begin = BEGIN + number * EVERY
        while open_ and open_[0][0] <= begin:
            yield _over(heappop(open_))
        client = [f"20.{dice.randrange(256)}.{dice.randrange(256)}.7", dice.randrange(1024, 65536)]
        ends = {"orig": [*client, SERVICE, 30080], "reply": [APP, 8080, NODE, 32768 + number % PORTS]}
        flow = {"proto": "tcp", "id": dice.getrandbits(32), "start": begin}
        yield begin, {"event": "NEW", **flow, **ends}
        end = begin + dice.randrange(50, 400) * 1_000_000
        heappush(open_, (end, number, {"event": "DESTROY", **flow, "end": end, "assured": True, **ends}))
    while open_:
        yield _over(heappop(open_))


def _over(event: tuple[int, int, dict[str, Any]]) -> Event:
    return event[0], event[2]


def _numbered(events: Iterator[Event]) -> Iterator[dict[str, Any]]:
    """The events between two marks, numbered."""
    number, last = 1, BEGIN
    yield {"n": number, "session": SESSION, "at": BEGIN - 10**9, "mark": True, "stamps": "kernel"}
    for number, (last, event) in enumerate(events, 2):
        yield {"n": number, "session": SESSION, "at": last, **event}
    yield {"n": number + 1, "session": SESSION, "at": last + 10**10, "mark": True, "stamps": "kernel"}
