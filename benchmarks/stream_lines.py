"""Raw messages for the benchmarks of the stream: lines that resolve alone, and requests behind one or two NAT devices.

Each request line has a running number (`n=17`), by which its record is found again.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from random import Random
from typing import Any, Final, NamedTuple

from benchmarks.cases import CASES
from benchmarks.joins import PATTERN
from benchmarks.lines import requests

MS: Final = 1_000_000
SECOND: Final = 1000 * MS
PORTS: Final = 28_000  # of a device, taken in turn
SERVICE: Final = "198.51.100.99"
NUMBER: Final = re.compile(rb"[?&]n=(\d+)")
FEED: Final = 'topics = ["{topic}"]\ninstance_by = "key"\n'
LATER_NS: Final = SECOND  # a shipper's: request lines come so long after the request, when the evidence has come

_EACH_NS: Final = 60 * MS  # from one request of a connection to the next
_SESSION: Final = "8f1c2d34-18eb4f7a"
_Event = tuple[int, dict[str, Any]]

JOINED: Final = f"""
[joins]
tolerance = "5ms"
horizon = "1m"

[systems.app]
format = "nginx"
escape = "json"
pattern = '{PATTERN}'
topics = ["TOPIC.app"]
instance_by = "key"
logs_peer = "socket"
peers = ["nodes"]

[systems.nodes]
format = "conntrack_json"
topics = ["TOPIC.nodes"]
instance_by = "key"
arrives_within = "20s"
longest = "5s"
addresses = ["198.51.100.0/28"]
"""
OUTER: Final = """
[systems.outer]
format = "conntrack_json"
topics = ["TOPIC.outer"]
instance_by = "key"
arrives_within = "20s"
longest = "5s"
addresses = ["198.51.100.16/28"]
peers = ["outside"]
"""


class Message(NamedTuple):
    """One raw message."""

    at_ns: int  # when it is due, ns after the begin
    topic: str
    partition: int
    key: bytes
    value: bytes


def config_alone(name: str, topic: str) -> str:
    """The drawing of a case of `cases`, its log in a topic."""
    case = next(case for case in CASES if case.name == name)
    return case.config + FEED.format(topic=topic)


def config_joined(topic: str, steps: int, partitions: int) -> str:
    """Application behind a node that translates, with another device in front for two steps."""
    behind = "outer" if steps > 1 else "outside"
    text = JOINED + f'peers = ["{behind}"]\n' + _instances("node", partitions)
    if steps > 1:
        text += OUTER + _instances("edge", partitions)
    return text.replace("TOPIC", topic)


def _instances(word: str, partitions: int) -> str:
    each = (f'{word}-{number} = ["{_address(word, number)}"]' for number in range(partitions))
    return f"instances = {{ {', '.join(each)} }}\n"


def _address(word: str, number: int) -> str:
    return f"198.51.100.{number + (1 if word == 'node' else 17)}"


def alone(name: str, topic: str, count: int, partitions: int, per_second: float) -> Iterator[Message]:
    """Lines of a case, one per message, over all partitions in turn."""
    write = next(case for case in CASES if case.name == name).write
    for number, request in enumerate(requests(1, count)):
        value = write(request._replace(path=f"/shop?n={number}")).encode()
        yield Message(round(number * SECOND / per_second), topic, number % partitions, b"web", value)


def joined(topic: str, begin_ns: int, count: int, steps: int, partitions: int, per_second: float) -> list[Message]:
    """`count` raw lines, about, by the time they are due: half of the connections carry two requests.

    Each partition has its own devices and its own application.  Stamps are real: the first connection is opened at
    `begin_ns`, Unix time.
    """
    dice, found = Random(1), list[Message]()
    per_connection = 1.5 + 2 * steps
    every = round(per_connection / per_second * SECOND)
    devices: dict[tuple[str, int], list[_Event]] = defaultdict(list)
    number = 0
    for connection in range(round(count / per_connection)):
        at, own, carries = connection * every, connection % partitions, 1 + connection % 2
        end = at + (30 + 60 * carries) * MS + dice.randrange(30) * MS
        met = (f"20.{dice.randrange(256)}.{dice.randrange(256)}.7", dice.randrange(1024, 65536))
        for word in ("edge", "node")[2 - steps :]:
            near = _address(word, own), 32768 + connection // partitions % PORTS
            back = (f"10.244.2.{5 + own}", 8080) if word == "node" else (SERVICE, 80)
            ends = {"orig": [*met, SERVICE, 80], "reply": [*back, *near]}
            devices[word, own] += _flow(begin_ns, at, end, {"proto": "tcp", "id": dice.getrandbits(32)}, ends)
            met = near
        for turn in range(carries):
            ended = at + 25 * MS + turn * _EACH_NS
            row = _request(begin_ns + ended, met, own, connection, number)
            found.append(Message(ended + LATER_NS, f"{topic}.app", own, b"app-%d" % own, _packed(row)))
            number += 1
    for (word, own), told in devices.items():
        name = f"{topic}.{'nodes' if word == 'node' else 'outer'}"
        found += _device(told, begin_ns, name, own, f"{word}-{own}".encode())
    return sorted(found, key=lambda message: message.at_ns)


def _flow(
    begin_ns: int, at: int, end: int, ident: dict[str, Any], ends: dict[str, list[str | int]]
) -> tuple[_Event, _Event]:
    """Begin and end of one connection."""
    flow = {**ident, "start": begin_ns + at}
    over = {"event": "DESTROY", **flow, "end": begin_ns + end, "assured": True, **ends}
    return (at, {"event": "NEW", **flow, **ends}), (end, over)


def _request(at: int, peer: tuple[str, int], own: int, connection: int, number: int) -> dict[str, Any]:
    return {
        "msec": f"{at // MS / 1000:.3f}",
        "rt": "0.004",
        "peer": peer[0],
        "peer_port": str(peer[1]),
        "local": f"10.244.2.{5 + own}:8080",
        "xff": "-",
        "conn": str(connection + 1),
        "req": f"GET /shop?n={number}&page=2&sort=price HTTP/1.1",
        "st": "200",
        "ua": "Mozilla/5.0 (X11; Linux x86_64; rv:136.0) Gecko/20100101 Firefox/136.0",
    }


def _device(events: list[_Event], begin_ns: int, topic: str, own: int, key: bytes) -> Iterator[Message]:
    """The events of one device as its collector numbers them, with a mark every second."""
    last = max(at for at, _ in events)
    told = [*events, *((at, {"mark": True, "stamps": "kernel"}) for at in range(0, last + 2 * SECOND, SECOND))]
    told.append((-SECOND, {"mark": True, "stamps": "kernel"}))
    told.sort(key=lambda each: each[0])
    for number, (at, event) in enumerate(told, 1):
        row = {"n": number, "session": _SESSION, "at": begin_ns + at, **event}
        yield Message(max(0, at), topic, own, key, _packed(row))


def _packed(row: dict[str, Any]) -> bytes:
    return json.dumps(row, separators=(",", ":")).encode()


def is_request(message: Message) -> bool:
    """Whether a record comes of it."""
    return NUMBER.search(message.value) is not None
