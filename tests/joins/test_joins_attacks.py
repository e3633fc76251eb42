"""What attackers, losses and moving addresses try to make of the joins: a wrong client, a false origin, or no end."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

import pytest
from clientip.joins.bounds import Bounds
from clientip.joins.coverage import Coverage, Run
from clientip.joins.facts import JoinFact, JoinQuestion, conn_key, kind_of, request_key, trace_key
from clientip.joins.flows import FOREVER, NEVER, Timeline, flows_of
from clientip.joins.matching import answers
from clientip.joins.witnesses import Witnesses
from clientip.model import Fact, Heartbeat, Http, Ids, Outcome, Record, Setup, System
from clientip.syntax.addresses import read_endpoint
from clientip.trust.answers import Answer, Awaits, Ended, Refused, Through
from clientip.trust.graph import Graph
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.worlds.nat_worlds import (
    MS,
    NODE,
    SECOND,
    World,
    client,
    drawing,
    endpoint,
    graph_of,
    mark,
    request,
    settled,
    translation,
    wrong,
)
from tests.worlds.patience import processor_s
from tests.worlds.walks import XFF, claim, system

CLIENT, OTHER, AS = "203.0.113.7:51000", "203.0.113.8:52000", f"{NODE}:40001"
MINUTES = 120 * SECOND
SEEDS = st.integers(0, 10**6)


def one(graph: Graph, outcomes: list[Outcome], record: Record) -> Record:
    return settled(World(graph, [*outcomes, record], {}))[record.record_id]


def verdict(record: Record) -> tuple[str, str | None]:
    return record.resolution.verdict, client(record)


def told_whole(graph: Graph, at: int, until: int, sender: str = CLIENT, *, first: int = 2, **more: object) -> Fact:
    return translation(graph, first, sender, AS, event="DESTROY", begin=at, end=until, at=until, **more)  # type: ignore[arg-type]


def quiet(until: int = 2 * MINUTES) -> list[Outcome]:
    """A NAT log that is complete and shows nothing."""
    return [mark(1, 0), mark(2, until)]


def with_instances(*rows: tuple[str, tuple[str, ...]], **more: object) -> Graph:
    nodes, app = drawing()
    own = tuple((name, tuple(read_endpoint(each) for each in texts)) for name, texts in rows)
    return graph_of([replace(nodes, instances=own, **more), app])


# Silence: the node spoke for itself only where the drawing says whose log must be silent.


@pytest.mark.parametrize("rows", [(), (("node-b", ("198.51.100.12",)),), (("node-a", ("10.244.1.1",)),)])
def test_a_silent_log_says_nothing_of_an_address_that_the_drawing_gives_to_no_instance(
    rows: tuple[tuple[str, tuple[str, ...]], ...],
) -> None:
    graph = with_instances(*rows)
    asked = request(graph, "r", AS, MINUTES, MINUTES)
    assert verdict(one(graph, quiet(), asked)) == ("unknown", None)


def test_a_silent_log_of_one_node_says_nothing_of_another_nodes_address() -> None:
    graph = with_instances(("node-a", ("10.244.1.1",)), ("node-b", (NODE,)))
    asked = request(graph, "r", AS, MINUTES, MINUTES)
    assert verdict(one(graph, quiet(), asked)) == ("unknown", None)


def test_without_a_connection_of_its_own_silence_is_no_origin() -> None:
    """An entry of UDP is forgotten while its client still speaks: the port it is given then is another."""
    graph = graph_of(drawing())
    for more in ({"transport": "udp"}, {"http": Http(protocol="HTTP/3.0")}):
        asked = request(graph, "r", AS, MINUTES, MINUTES, **more)
        assert verdict(one(graph, quiet(), asked)) == ("unknown", None)


def test_silence_about_a_range_that_strangers_share_is_no_origin() -> None:
    nodes, app = drawing()
    graph = graph_of([replace(nodes, shared=True), app])
    assert verdict(one(graph, quiet(), request(graph, "r", AS, MINUTES, MINUTES))) == ("unknown", None)


def forging(owners: int) -> tuple[Graph, Record]:
    """Proxies on the node's own address, and a request that says somebody else's address."""
    nodes, app = drawing()
    edges = [system(f"edge{n}", NODE, peers="outside", conveys=(XFF,)) for n in range(owners)]
    peers = frozenset({"nodes", *(each.name for each in edges)})
    graph = graph_of([nodes, *edges, replace(app, peers=peers)])
    header = claim("x-forwarded-for", "203.0.113.99")
    return graph, request(graph, "r", AS, MINUTES, MINUTES, claims=(header,))


def test_a_flow_that_seems_unanswered_is_still_no_silence() -> None:
    """Data and FIN in the third packet are served, and the kernel never calls that flow assured."""
    graph, asked = forging(1)
    for late in (-10 * MS, 0, 30 * SECOND):
        at = MINUTES - late - SECOND
        evil = told_whole(graph, at, at + SECOND, assured=False)
        told: list[Outcome] = [mark(1, 0), evil, mark(3, 3 * MINUTES)]
        assert verdict(one(graph, told, asked)) == ("unknown", None)
    assert verdict(one(graph, quiet(), asked))[0] == "vouched"


def test_among_several_that_may_have_spoken_silence_chooses_none() -> None:
    graph, asked = forging(2)
    assert verdict(one(graph, quiet(), asked)) == ("unknown", None)


def test_a_connection_onward_that_another_hop_turned_is_no_silence() -> None:
    """A gateway knows the node's port it connected to, and not the pod's that the asker shows."""
    graph = graph_of(drawing())
    told: list[Outcome] = [mark(1, 0), told_whole(graph, SECOND, 3 * MINUTES, to="198.51.100.12:30080")]
    asked = request(graph, "r", AS, MINUTES, MINUTES)
    assert verdict(one(graph, [*told, mark(3, 4 * MINUTES)], asked)) == ("unknown", None)


# Addresses that move, and addresses that are used twice.


def moving() -> Graph:
    return with_instances(("node-a", (NODE,)), ("node-b", (NODE,)))


def numbered_of(instance: str, outcome: Heartbeat) -> Heartbeat:
    return replace(outcome, line=replace(outcome.line, instance=instance))


def test_one_line_about_an_address_that_moves_proves_nothing_alone() -> None:
    graph = moving()
    stale = told_whole(graph, SECOND, 10 * MINUTES)
    asked = request(graph, "r", AS, MINUTES, MINUTES)
    found = one(graph, [stale], asked)
    assert (client(found), found.resolution.reason) == (None, "evidence_incomplete")


def test_both_holders_of_an_address_that_moved_are_candidates() -> None:
    graph = moving()
    stale = told_whole(graph, SECOND, 10 * MINUTES)
    new = told_whole(graph, MINUTES - SECOND, 2 * MINUTES, OTHER, instance="node-b", session="0f0e-2")
    marks = [mark(1, 0), mark(3, 11 * MINUTES)]
    whole = [*marks, *(numbered_of("node-b", replace_session(each)) for each in marks)]
    asked = request(graph, "r", AS, MINUTES, MINUTES)
    found = one(graph, [*whole, stale, new], asked)
    assert (client(found), found.resolution.reason) == (None, "ambiguous")


def replace_session(each: Heartbeat) -> Heartbeat:
    return replace(each, numbered=replace(each.numbered, session="0f0e-2"))


def test_a_flow_that_another_device_began_inside_a_whole_one_contradicts_it() -> None:
    graph = with_instances()
    stale = told_whole(graph, SECOND, 10 * MINUTES)
    begun = translation(
        graph, 2, OTHER, AS, event="NEW", begin=MINUTES - SECOND, at=MINUTES, assured=None, instance="node-b"
    )
    asked = request(graph, "r", AS, MINUTES, MINUTES)
    assert client(one(graph, [stale], asked)) == CLIENT
    found = one(graph, [stale, begun], asked)
    assert (client(found), found.resolution.reason) == (None, "contradiction")


def clusters() -> Graph:
    """Two clusters with the same addresses, each in a network of its own."""
    systems: list[System] = []
    for each in ("east", "west"):
        nodes, app = drawing()
        systems.append(replace(nodes, name=f"nodes-{each}", network=each))
        systems.append(replace(app, name=f"app-{each}", network=each, peers=frozenset({f"nodes-{each}"})))
    return graph_of(systems)


def of(name: str, fact: Fact) -> Fact:
    seen = replace(fact.record.observation, setup=Setup(system=name, format="conntrack_json"))
    return Fact(replace(fact.record, observation=seen, record_id=f"{name}-{fact.record.record_id}"))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=1, max_size=12), st.sets(st.integers(0, 24)))
def test_the_same_addresses_in_two_networks_are_two_connections(flows: list[tuple[bool, int]], lost: set[int]) -> None:
    graph = clusters()
    plain = graph_of(drawing())
    outcomes: list[Outcome] = []
    truth: dict[str, str] = {}
    ends = {"east": 0, "west": 0}
    for number, (east, gap) in enumerate(flows):
        where = "east" if east else "west"
        begin = ends[where] + SECOND + gap * MS
        ends[where] = end = begin + SECOND
        sender = f"203.0.113.{number + 1}:5{number:03}"
        fact = translation(plain, number, sender, AS, event="DESTROY", begin=begin, end=end, numbered=False)
        outcomes.append(of(f"nodes-{where}", fact))
        record = request(graph, f"r{number}", AS, begin + 500 * MS, begin + 500 * MS, by=f"app-{where}")
        outcomes.append(record)
        truth[record.record_id] = sender
    kept = [each for n, each in enumerate(outcomes) if n not in lost or isinstance(each, Record)]
    world = World(graph, kept, truth)
    assert wrong(world, settled(world)) == []


# Ids.


XRID = ("x-request-id",)


def behind(gate: System, *between: System, peers: str) -> Graph:
    app = replace(system("app", peers=peers), tells=True)
    return graph_of([gate, *between, app])


def asked_by_id(graph: Graph, peer: str, **more: object) -> Record:
    ids = Ids(requests=(("x-request-id", "b3f1c2d4"),))
    return request(graph, "r", peer, 10 * SECOND + 5 * MS, 10 * SECOND + 6 * MS, ids=ids, **more)  # type: ignore[arg-type]


def victim(graph: Graph, gate: str) -> Record:
    ids = Ids(requests=(("x-request-id", "b3f1c2d4"),))
    at = 10 * SECOND
    return request(graph, "v", CLIENT, at, at, by=gate, ids=ids, end=at + SECOND, local="192.0.2.9:443")


def test_who_shares_the_minters_range_comes_round_it() -> None:
    """A stranger at the same provider can reach the hop behind and say any id."""
    for shared, expected in ((False, CLIENT), (True, None)):
        gate = replace(system("cdn", "192.0.2.0/24", peers="outside"), tells=True, mints=XRID, passes_ids=XRID)
        middle = system("ingress", "10.244.1.6", peers="cdn")
        graph = behind(replace(gate, shared=shared), middle, peers="ingress")
        assert client(one(graph, [victim(graph, "cdn")], asked_by_id(graph, "10.244.1.6:40001"))) == expected


def test_strangers_between_the_minter_and_the_asker_come_round_it() -> None:
    for shared, expected in ((False, CLIENT), (True, None)):
        gate = replace(system("lb", "192.0.2.9", peers="outside"), tells=True, mints=XRID, passes_ids=XRID)
        side = replace(system("mesh", "192.0.3.0/24", peers="lb"), shared=shared)
        middle = system("ingress", "10.244.1.6", peers="lb mesh")
        graph = behind(gate, side, middle, peers="ingress")
        assert client(one(graph, [victim(graph, "lb")], asked_by_id(graph, "10.244.1.6:40001"))) == expected


def test_an_id_with_a_separator_in_it_is_no_other_key() -> None:
    keys = {
        request_key("x-request-id", "a\x1fb"),
        request_key("x-request-id", "a"),
        request_key("x-request-id", "A"),
        request_key("x-request-id", "\x1f"),
        conn_key("default", "tcp\x1f10.0.0.1", ("10.0.0.1", 1)),
        conn_key("default", "tcp", ("10.0.0.1", 1)),
        trace_key("a" * 32),
    }
    assert len(keys) == 7
    assert sorted(kind_of(key) for key in keys) == ["conn", "conn", *["request"] * 4, "trace"]


@settings(max_examples=80, deadline=None)
@given(SEEDS, st.booleans(), st.floats(0, 0.9))
def test_replayed_ids_name_nobody_else(seed: int, minted: bool, share: float) -> None:
    """Ids are stolen and said again at once; the asker's lines are lost, and the minter's, too, where it mints."""
    dice = random.Random(seed)
    mints = ("x-request-id", "traceparent") if minted else ()
    ingress = replace(system("ingress", "10.244.1.6", peers="outside"), tells=True, mints=mints, lossless=not minted)
    ingress = replace(ingress, passes_ids=("x-request-id", "traceparent"))
    graph = graph_of([ingress, system("app", peers="ingress")])
    outcomes: list[Outcome] = []
    truth: dict[str, str] = {}
    for n in range(30):
        sender = f"203.0.113.{n + 1}:5{n:03}"
        begin = dice.randrange(10 * SECOND, 10 * SECOND + 300 * MS)
        length = dice.choice([MS, 20 * MS, 100 * MS])
        word = f"id-{n if minted else dice.randrange(8)}"
        trace = f"{n + 1 if minted else dice.randrange(1, 5):032x}"
        span = f"{n + 1:016x}"
        ids = Ids(requests=(("x-request-id", word),), trace=trace, scheme="w3c", span=span)
        served = request(
            graph,
            f"i{n}",
            sender,
            begin,
            begin + MS,
            by="ingress",
            ids=ids,
            end=begin + length,
            local="10.244.1.6:8000",
        )
        called = begin + dice.randrange(length)
        stamp = called + dice.randint(-2 * MS, 2 * MS)
        shown = Ids(
            requests=ids.requests if dice.random() < 0.7 else (),
            trace=trace,
            scheme="w3c",
            parent=span if dice.random() < 0.3 else None,
        )
        record = request(graph, f"r{n}", f"10.244.1.6:{40000 + n}", stamp, stamp, ids=shown)
        truth[f"r{n}"] = truth[f"i{n}"] = sender
        if not minted or dice.random() > share:
            outcomes.append(served)
        if dice.random() > share / 2:
            outcomes.append(record)
    world = World(graph, outcomes, truth)
    found = settled(world)
    assert wrong(world, found) == []
    dice.shuffle(outcomes)
    again = settled(World(graph, [*outcomes, *outcomes[::2]], truth))
    assert {key: client(each) for key, each in again.items()} == {key: client(each) for key, each in found.items()}


# Two nodes behind each other.


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.floats(0, 0.6))
def test_two_translations_in_a_row_lead_to_the_first_sender_or_to_nobody(seed: int, share: float) -> None:
    dice = random.Random(seed)
    nodes, app = drawing()
    own = (("node-a", (read_endpoint(NODE),)), ("node-b", (read_endpoint("198.51.100.12"),)))
    both = system("nodes", NODE, "198.51.100.12", peers="outside nodes")
    graph = graph_of([replace(nodes, owns=both.owns, peers=both.peers, instances=own), app])
    at, outcomes, truth = SECOND, list[Outcome](), dict[str, str]()
    for n in range(12):
        at += dice.choice([MS, 20 * MS, SECOND])
        end = at + dice.choice([MS, 40 * MS, SECOND])
        sender = f"203.0.113.{n + 1}:5{n:03}"
        between, seen_as = f"{NODE}:{20000 + dice.randrange(2)}", f"198.51.100.12:{30000 + dice.randrange(2)}"
        first = translation(
            graph, 2 * n, sender, between, event="DESTROY", begin=at, end=end, to="198.51.100.12:30080", numbered=False
        )
        turned = replace(first.record.observation, local=endpoint("198.51.100.11:30080"))
        second = translation(
            graph, 2 * n + 1, between, seen_as, event="DESTROY", begin=at, end=end, instance="node-b", numbered=False
        )
        behind_b = replace(second.record.observation, local=endpoint("198.51.100.12:30080"))
        facts = [
            Fact(replace(first.record, observation=turned)),
            Fact(replace(second.record, observation=behind_b)),
        ]
        outcomes += [fact for fact in facts if dice.random() >= share]
        begun = dice.randrange(at, end)
        outcomes.append(request(graph, f"r{n}", seen_as, begun, begun))
        truth[f"r{n}"] = sender
        at = end
    dice.shuffle(outcomes)
    world = World(graph, outcomes, truth)
    assert wrong(world, settled(world)) == []


# Work that grows with the lines and not with their product.

KEY = conn_key("default", "tcp", ("198.51.100.11", 40001))
TRACE = trace_key("4bf92f3577b34da6a3ce929d0e0e4736")
MANY = 20_000
STEP = 10 * MS


def fact(n: int, event: str, begin: int | None, end: int | None, **more: object) -> JoinFact:
    late = begin if begin is not None else end
    made = JoinFact(KEY, "nodes", "node-a", f"{n:06}{event}", "translation", event, begin, late, end, 0)
    ends = {"target": ("10.244.2.5", 8080), "peer": ("203.0.113.9", 5555), "local": ("198.51.100.11", 30080)}
    return replace(made, **{**ends, **more})


def alike(n: int) -> list[JoinFact]:
    """One client comes again and again from one port."""
    return [fact(n, "NEW", n * STEP, None), fact(n, "DESTROY", n * STEP, n * STEP + 5 * MS)]


def never_ended(n: int) -> list[JoinFact]:
    return [fact(n, "NEW", n * STEP, None, peer=("203.0.113.9", n))]


def all_at_once(n: int) -> list[JoinFact]:
    return [fact(n, "", 0, MANY * STEP, peer=("203.0.113.9", n))]


def listed(n: int) -> list[JoinFact]:
    whole = fact(n, "DESTROY", n * STEP, n * STEP + 5 * MS)
    return [whole, replace(whole, event="LIST", begin=None, begin_latest=n * STEP + MS, end=None, record=f"{n:06}L")]


def of_one_trace(n: int) -> list[JoinFact]:
    ended = Ended("seen", ("203.0.113.9", n), "socket", None, (), None)
    more = {"key": TRACE, "role": "request", "peer": None, "target": None, "local": None, "ended": ended}
    made = fact(n, "", n * STEP, n * STEP + 5 * MS, span=f"{n:016x}", **more)
    return [made, replace(made, role="link", span=f"{n + MANY:016x}", parent=f"{n:016x}", ended=None)]


def questions(key: str) -> list[JoinQuestion]:
    target = ("10.244.2.5", 8080) if key == KEY else None
    return [
        JoinQuestion(
            key,
            n,
            0,
            ("nodes",),
            "app",
            "",
            n,
            n * STEP,
            n * STEP + MS,
            None,
            NODE,
            target,
            parent=f"{n + MANY:016x}",
            passing=("nodes",),
        )
        for n in range(MANY)
    ]


@pytest.mark.parametrize(
    ("told", "answered"),
    [(alike, 1.0), (never_ended, 0.0), (all_at_once, 0.0), (listed, 1.0), (of_one_trace, 1.0)],
)
def test_many_questions_and_many_facts_under_one_key_take_no_product_of_time(
    told: Callable[[int], list[JoinFact]], answered: float
) -> None:
    facts = [each for n in range(MANY) for each in told(n)]
    random.Random(1).shuffle(facts)
    key = facts[0].key
    found: list[object] = []
    ask = partial(answers, key, facts, questions(key), lambda *_: "yes", Bounds(2 * MS, 600 * SECOND))
    assert processor_s(lambda: found.extend(ask())) < 15  # 400 million pairs would take minutes
    named = sum(isinstance(each, Through) or (each is not None and not isinstance(each, Refused)) for each in found)
    assert named >= answered * MANY


def test_a_log_of_many_losses_and_many_nodes_is_looked_up_and_not_searched() -> None:
    rows = tuple((f"n{k}", (read_endpoint(f"10.{k >> 8}.{k & 255}.1"),)) for k in range(3000))
    nodes = replace(drawing()[0], instances=rows)
    runs = [Run("s", 10 * k, 10 * k + 5, 1000 * k, 1000 * k + 500, fresh=k % 2 == 0) for k in range(MANY)]
    of = Coverage({"nodes": nodes}, {("nodes", "n7"): runs})
    address = rows[7][1][0].address
    found: list[str] = []

    def look_up() -> None:
        found.extend(of.of("nodes", address, 1000 * k, 1000 * k + 500, fresh=True) for k in range(MANY))

    assert processor_s(look_up) < 5
    assert found == ["yes", "lost"] * (MANY // 2)


# What is looked up is what a search would find.

TIMES = st.integers(0, 30)
STRETCHES = st.lists(st.tuples(TIMES, TIMES), max_size=12)


@given(STRETCHES, TIMES, TIMES)
def test_a_timeline_holds_what_touches_a_stretch(each: list[tuple[int, int]], low: int, width: int) -> None:
    held = [(begin, begin + length, n) for n, (begin, length) in enumerate(each)]
    line = Timeline(held)
    expected = [n for begin, end, n in sorted(held, key=lambda row: row[0]) if begin <= low + width and end >= low]
    assert list(line.between(low, low + width)) == expected
    assert line.count(low, low + width) == len(expected)


@given(st.lists(st.tuples(TIMES, st.integers(0, 3)), min_size=1, max_size=8))
def test_an_open_flow_lasts_until_the_least_latest_begin_of_those_after_it(begins: list[tuple[int, int]]) -> None:
    facts = [
        fact(n, "NEW", begin, None, begin_latest=begin + late, peer=("203.0.113.9", n))
        for n, (begin, late) in enumerate(begins)
    ]
    for flow in flows_of(facts):
        later = [begin + late for begin, late in begins if begin > flow.begin_latest]
        assert flow.end == min(later, default=FOREVER)


@given(STRETCHES, TIMES, TIMES, st.sets(st.integers(0, 12)), st.booleans())
def test_coverage_is_that_of_one_run(
    each: list[tuple[int, int]], low: int, width: int, fresh: set[int], need: bool
) -> None:
    runs = [Run("s", 10 * n, 10 * n + 1, at, at + length, n in fresh) for n, (at, length) in enumerate(each)]
    of = Coverage({"nodes": drawing()[0]}, {("nodes", "node-a"): runs})
    high = low + width
    inside = any(run.from_ns <= low and high <= run.to_ns and (run.fresh or not need) for run in runs)
    between = bool(runs) and min(run.from_ns for run in runs) <= low and high <= max(run.to_ns for run in runs)
    expected = "yes" if inside else "lost" if between else "no"
    assert of.of("nodes", read_endpoint(NODE).address, low, high, fresh=need) == expected


def test_huge_and_negative_times_are_times() -> None:
    far = [fact(0, "NEW", NEVER, None), fact(1, "DESTROY", 1, FOREVER), fact(2, "DESTROY", None, FOREVER, slack=9)]
    question = JoinQuestion(KEY, 0, 0, ("nodes",), "app", "", None, None, FOREVER, None, NODE, ("10.244.2.5", 8080))
    found: list[Answer | Awaits | None] = answers(KEY, far, [question], lambda *_: "no", Bounds(5, 1000))
    assert isinstance(found[0], Refused)


def test_who_is_asked_by_nobody_tells_nothing() -> None:
    graph = graph_of([drawing()[0]])
    assert list(Witnesses(graph).facts(told_whole(graph, SECOND, MINUTES))) == []
