"""Small worlds with known truth: clients behind a NATing node in front of one server.

Everything a test then breaks (order, loss, repetition, clocks) it breaks on the outcomes of such a world.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from clientip.joins.join import Joining, settle
from clientip.model import Endpoint, Fact, Heartbeat, Http, Line, Numbered, Observation, Outcome, Record, Setup, System
from clientip.settings import Joins
from clientip.syntax.addresses import read_endpoint
from clientip.trust.graph import Graph, draw
from clientip.trust.walk import resolve
from msgspec import Struct
from msgspec.structs import replace

from tests.worlds.walks import system

MS = 1_000_000
SECOND = 1000 * MS
TOLERANCE = 5 * MS
NODE, SERVER, SERVICE = "198.51.100.11", "10.244.2.5:8080", "198.51.100.11:30080"
SESSION = "0f0e-1"


class World(Struct):
    """Outcomes in the order in which logs would show them, and who really sent what."""

    graph: Graph
    outcomes: list[Outcome]
    truth: dict[str, str]  # record id → client "ip:port"


def drawing(*, lossless: bool = False, instances: bool = True) -> list[System]:
    node = (read_endpoint(NODE), read_endpoint("10.244.1.1"))
    nodes = replace(
        system("nodes", NODE, "10.244.1.1", peers="outside"),
        tells=True,
        connects=True,
        translates=True,
        lossless=lossless,
        instances=(("node-a", node),) if instances else (),
    )
    app = replace(system("app", peers="nodes"), tells=True)
    return [nodes, app]


def graph_of(systems: Sequence[System]) -> Graph:
    return draw(systems, [each.name for each in systems])


def joining_of(graph: Graph, tolerance: int = TOLERANCE, horizon: int = 60 * SECOND) -> Joining:
    return Joining(graph, Joins(tolerance, horizon))


def settled(world: World, outcomes: Sequence[Outcome] | None = None) -> dict[str, Record]:
    """Record id → record, after all joins."""
    ended = settle(joining_of(world.graph), world.outcomes if outcomes is None else outcomes)
    return {each.record_id: each for each in ended if isinstance(each, Record)}


def client(record: Record) -> str | None:
    """The client it names, as "ip:port"; None: none."""
    found = record.resolution
    if found.verdict not in ("seen", "vouched", "joined") or found.client is None:
        return None
    return f"{found.client.address.text}:{found.client.port}"


def wrong(world: World, records: dict[str, Record]) -> list[str]:
    """What is named and is not the truth."""
    return [
        f"{key}: {client(record)} is {world.truth[key]}"
        for key, record in records.items()
        if client(record) not in (None, world.truth[key])
    ]


def reasons(records: dict[str, Record]) -> dict[str | None, int]:
    found: dict[str | None, int] = {}
    for record in records.values():
        found[record.resolution.reason] = found.get(record.resolution.reason, 0) + 1
    return found


def line(number: int, file: str) -> Line:
    return Line(b"x", b"x", file, number)


def translation(
    graph: Graph,
    number: int,
    source: str,
    seen_as: str,
    *,
    event: str,
    begin: int | None,
    end: int | None = None,
    at: int = 0,
    assured: bool | None = True,
    to: str = SERVER,
    instance: str = "node-a",
    session: str = SESSION,
    numbered: bool = True,
    transport: str = "tcp",
) -> Fact:
    begun = begin if begin is not None else end
    seen = Observation(
        Setup(system="nodes", format="conntrack_json"),
        "translation",
        begin,
        begun,
        end,
        "own",
        peer=read_endpoint(source),
        local=read_endpoint(SERVICE),
        upstream_local=read_endpoint(seen_as),
        upstream_peer=read_endpoint(to),
        instance=instance,
        connection_serial=f"{transport}/1/{event}",
        transport=transport,
        assured=assured,
        numbered=Numbered(session, number, at, at) if numbered else None,
    )
    return Fact(Record(line(number, "nat"), seen, resolve(graph, seen), f"nat-{number:06}", False))


def mark(number: int, at: int, session: str = SESSION) -> Heartbeat:
    setup = Setup(system="nodes", format="conntrack_json")
    return Heartbeat(replace(line(number, "nat"), instance="node-a"), setup, Numbered(session, number, at, at))


def request(
    graph: Graph,
    name: str,
    peer: str,
    start: int | None,
    latest: int,
    *,
    serial: int | None = None,
    by: str = "app",
    local: str | None = SERVER,
    end: int | None = None,
    **more: object,
) -> Record:
    fields: dict[str, object] = {"http": Http(protocol="HTTP/1.1"), **more}
    seen = Observation(
        Setup(system=by, format="nginx"),
        "request",
        start,
        latest,
        latest if end is None else end,
        "own",
        peer=read_endpoint(peer),
        local=None if local is None else read_endpoint(local),
        connection_serial=None if serial is None else str(serial),
        **fields,  # type: ignore[arg-type]
    )
    return Record(line(0, name), seen, resolve(graph, seen), name, True)


def endpoint(text: str) -> Endpoint:
    return read_endpoint(text)


def nat_world(
    seed: int, *, flows: int = 60, ports: int = 4, error: int = 2 * MS, serials: bool = True, idle: bool = True
) -> World:
    """Clients whose connections take turns on a few source ports; stamps are off by up to `error`.

    `idle`: some connections carry no request, so that they have no line.
    """
    dice = random.Random(seed)
    graph = graph_of(drawing())
    free = [10 * SECOND] * ports
    connections = []
    for _ in range(flows):
        port = dice.randrange(ports)
        begin = free[port] + dice.choice([8_000, MS, 20 * MS, 200 * MS])
        length = dice.choice([300_000, MS, 5 * MS, 80 * MS])
        free[port] = begin + length
        sender = f"203.0.113.{dice.randrange(1, 5)}:{dice.randrange(1024, 65535)}"
        connections.append((begin, begin + length, f"{NODE}:{20000 + port}", sender))
    connections.sort()
    events: list[tuple[int, int, str, str, int]] = []
    records: list[Record] = []
    truth: dict[str, str] = {}
    for serial, (begin, end, seen_as, sender) in enumerate(connections, 1):
        events += [(begin, 0, seen_as, sender, end), (end, 1, seen_as, sender, begin)]
        for k in range(dice.choice([0, 1, 1, 1, 3] if idle else [1, 1, 3])):
            true = dice.randint(begin, end)
            stamp = (true + dice.randint(-error, error)) // MS * MS
            name = f"r{serial:04}-{k}"
            number = serial if serials else None
            records.append(request(graph, name, seen_as, stamp, stamp + MS, serial=number))
            truth[name] = sender
    events.sort()
    outcomes: list[Outcome] = [mark(1, 0)]
    for number, (at, over, seen_as, sender, other) in enumerate(events, 2):
        if over:
            told = translation(graph, number, sender, seen_as, event="DESTROY", begin=other, end=at, at=at)
        else:
            told = translation(graph, number, sender, seen_as, event="NEW", begin=at, at=at, assured=None)
        outcomes.append(told)
    outcomes.append(mark(len(events) + 2, events[-1][0] + SECOND))
    return World(graph, [*outcomes, *records], truth)
