"""What a join costs: the same nginx lines joined with the NAT events of their connections, and resolved alone.

Clients → nodes that translate → nginx in a pod.  Each connection is told when it begins and when it ends, by
numbered lines of `clientip collect conntrack`.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from heapq import heappop, heappush
from pathlib import Path
from random import Random
from statistics import median
from typing import Final, NamedTuple

from benchmarks.bench_replay import CLIENTIP, Spent, run

GOAL: Final = 2.0  # times the processor time of a line that is resolved alone
NODE, APP, SERVICE, SESSION = "198.51.100.11", "10.244.2.5", "198.51.100.99", "8f1c2d34-18eb4f7a"
BEGIN: Final = 1_772_442_000_000_000_000
EVERY: Final = 400_000  # ns between two connections

PATTERN: Final = (
    '{"msec":"$msec","rt":"$request_time","peer":"$remote_addr","peer_port":"$remote_port",'
    '"local":"$server_addr:$server_port","xff":"$http_x_forwarded_for","conn":"$connection","req":"$request",'
    '"st":"$status","ua":"$http_user_agent"}'
)
ALONE: Final = f"""
[systems.nodes]
addresses = ["{NODE}"]
peers = ["outside"]

[systems.app]
format = "nginx"
escape = "json"
pattern = '{PATTERN}'
inputs = ["app.log"]
logs_peer = "socket"
peers = ["nodes"]
"""
TOLD: Final = (
    'peers = ["outside"]\nformat = "conntrack_json"\ninputs = ["nat.jsonl"]\n' + f'instances = {{ "" = ["{NODE}"] }}'
)
JOINED: Final = ALONE.replace('peers = ["outside"]', TOLD.replace(f'\ninstances = {{ "" = ["{NODE}"] }}', ""))


class Joined(NamedTuple):
    """Medians of the rounds."""

    requests: int
    events: int
    alone: Spent
    joined: Spent
    events_alone: Spent  # the events read, and nobody asks

    @property
    def ratio(self) -> float:
        """Processor time of a joined request, with its share of the events, per one resolved alone."""
        return self.joined.processor / self.alone.processor

    @property
    def per_line(self) -> float:
        """The same per line that was read, whatever it is."""
        return self.ratio * self.requests / (self.requests + self.events)


def measure(requests: int, rounds: int, per_connection: int = 1) -> Joined:
    """Replay both, `rounds` times in turn."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        events = _write(folder, requests, per_connection)
        (folder / "alone.toml").write_text(ALONE)
        (folder / "joined.toml").write_text(JOINED)
        taken: dict[str, list[Spent]] = {"alone": [], "joined": [], "nat": []}
        for number in range(rounds):
            for kind, spent in taken.items():
                config, inputs = (
                    ("joined", ["--system", "nodes", folder / "nat.jsonl"]) if kind == "nat" else (kind, [])
                )
                out = folder / f"{kind}{number}"
                call = ["-c", CLIENTIP, "replay", "-c", folder / f"{config}.toml", "-o", out, "--workers", "1", *inputs]
                spent.append(run(list(map(str, call))))
                _check(out, kind, requests)
        alone, joined, nat = (_middle(each) for each in taken.values())
        return Joined(requests, events, alone, joined, nat)


def _check(out: Path, kind: str, requests: int) -> None:
    """Nobody is fast with the wrong answer."""
    systems = json.loads((out / "summary.json").read_text())["systems"]
    if kind == "joined":
        assert systems["app"]["verdicts"] == {"joined": requests}, systems
    elif kind == "alone":
        assert systems["app"]["verdicts"] == {"unknown": requests}, systems


def _middle(runs: list[Spent]) -> Spent:
    return Spent(median(each.processor for each in runs), median(each.wall for each in runs))


def _write(folder: Path, requests: int, per_connection: int) -> int:
    """Both logs; how many lines of NAT there are."""
    dice = Random(1)
    count = 0
    with (folder / "app.log").open("w") as app, (folder / "nat.jsonl").open("w") as nat:
        for row in _numbered(_connections(dice, -(-requests // per_connection), per_connection, app, requests)):
            nat.write(json.dumps(row, separators=(",", ":")) + "\n")
            count += 1
    return count


def _numbered(events: Iterator[tuple[int, dict[str, object]]]) -> Iterator[dict[str, object]]:
    yield {"n": 1, "session": SESSION, "at": BEGIN - 10**9, "mark": True, "stamps": "kernel"}
    number, last = 1, 0
    for number, (at, event) in enumerate(events, 2):
        last = at
        yield {"n": number, "session": SESSION, "at": at, **event}
    yield {"n": number + 1, "session": SESSION, "at": last + 10**10, "mark": True, "stamps": "kernel"}


def _connections(
    dice: Random, count: int, per_connection: int, app, requests: int
) -> Iterator[tuple[int, dict[str, object]]]:
    ends: list[tuple[int, int, dict[str, object]]] = []
    written = 0
    for number in range(count):
        begin = BEGIN + number * EVERY
        end = begin + dice.randrange(50, 400) * 1_000_000
        while ends and ends[0][0] <= begin:
            at, _, event = heappop(ends)
            yield at, event
        port = 32768 + number % 28000
        flow: dict[str, object] = {
            "proto": "tcp",
            "id": dice.getrandbits(32),
            "start": begin,
        }
        tuples = {
            "orig": [f"20.{dice.randrange(256)}.{dice.randrange(256)}.7", dice.randrange(1024, 65535), SERVICE, 30080],
            "reply": [APP, 8080, NODE, port],
        }
        yield begin, {"event": "NEW", **flow, **tuples}
        heappush(ends, (end, number, {"event": "DESTROY", **flow, "end": end, "assured": True, **tuples}))
        for k in range(min(per_connection, requests - written)):
            at = begin + 21_000_000 + k * 1_000_000
            row = {
                "msec": f"{(at + 4_000_000) // 1_000_000 / 1000:.3f}",
                "rt": "0.004",
                "peer": NODE,
                "peer_port": str(port),
                "local": f"{APP}:8080",
                "xff": "-",
                "conn": str(number + 1),
                "req": f"GET /shop/{number}?page=2&sort=price HTTP/1.1",
                "st": "200",
                "ua": "Mozilla/5.0 (X11; Linux x86_64; rv:136.0) Gecko/20100101 Firefox/136.0",
            }
            app.write(json.dumps(row, separators=(",", ":")) + "\n")
            written += 1
    while ends:
        at, _, event = heappop(ends)
        yield at, event


if __name__ == "__main__":
    import sys

    done = measure(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    print(done, done.ratio, done.per_line)
