"""The laws of the joins: never wrong, whatever is lost, repeated or late; recovered, where the tellers are complete."""

from __future__ import annotations

import random

import pytest
from clientip.joins.coverage import Run, Runs, stitch
from clientip.model import Http, Ids, Numbered, Outcome, Record
from clientip.trust.graph import Graph
from clientip.trust.walk import resolve
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.worlds.nat_worlds import (
    MS,
    NODE,
    SECOND,
    SERVER,
    World,
    client,
    drawing,
    endpoint,
    graph_of,
    mark,
    nat_world,
    reasons,
    request,
    settled,
    translation,
    wrong,
)
from tests.worlds.walks import PROXY, XFF, claim, system

SEEDS = st.integers(0, 10**6)
CLIENT, OTHER, AS = "203.0.113.7:51000", "203.0.113.8:52000", f"{NODE}:40001"


def flow(at: int, until: int, sender: str = CLIENT, first: int = 2, *, graph: Graph | None = None) -> list[Outcome]:
    """A flow's two lines, numbered from `first`."""
    of = graph or graph_of(drawing())
    return [
        translation(of, first, sender, AS, event="NEW", begin=at, at=at, assured=None),
        translation(of, first + 1, sender, AS, event="DESTROY", begin=at, end=until, at=until),
    ]


def one(outcomes: list[Outcome], record: Record, graph: Graph | None = None) -> Record:
    world = World(graph or graph_of(drawing()), [*outcomes, record], {})
    return settled(world)[record.record_id]


def asked(at: int, **more: object) -> Record:
    return request(graph_of(drawing()), "r", AS, at, at + MS, **more)


# The laws of sets.


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_nobody_wrong_is_ever_named(seed: int) -> None:
    world = nat_world(seed)
    assert wrong(world, settled(world)) == []


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.sampled_from([0.02, 0.1, 0.5]))
def test_lost_lines_never_name_somebody_else(seed: int, share: float) -> None:
    world, chance = nat_world(seed), random.Random(seed)
    left = [each for each in world.outcomes if chance.random() >= share]
    assert wrong(world, settled(world, left)) == []


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_order_and_repetition_change_nothing(seed: int) -> None:
    world, chance = nat_world(seed, flows=30), random.Random(seed)
    shuffled = [*world.outcomes, *chance.choices(world.outcomes, k=20)]
    chance.shuffle(shuffled)
    before, after = settled(world), settled(world, shuffled)
    assert {key: record.resolution for key, record in before.items()} == {
        key: record.resolution for key, record in after.items()
    }


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_numbered_connections_are_recovered_however_dense(seed: int) -> None:
    world = nat_world(seed, flows=120, ports=2, idle=False)
    assert reasons(settled(world)) == {None: len(world.truth)}


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_with_fewer_lines_of_the_asker_the_others_keep_their_client_or_none(seed: int) -> None:
    world, chance = nat_world(seed, flows=60, idle=False), random.Random(seed)
    left = [each for each in world.outcomes if not isinstance(each, Record) or chance.random() >= 0.3]
    assert wrong(world, settled(world, left)) == []


# Certain, complete, or refused.


def test_a_whole_line_proves_alone_what_lies_safely_inside_it() -> None:
    found = one(flow(10 * SECOND, 20 * SECOND)[1:], asked(15 * SECOND))
    assert (client(found), found.resolution.verdict, found.resolution.method) == (CLIENT, "joined", "conntrack")
    assert found.resolution.path[-1].record == "nat-000003"


@pytest.mark.parametrize("at", [10 * SECOND + MS, 20 * SECOND - MS, 20 * SECOND + 2 * MS])
def test_at_the_edges_of_a_flow_nothing_is_said_without_completeness(at: int) -> None:
    found = one(flow(10 * SECOND, 20 * SECOND)[1:], asked(at))
    assert (client(found), found.resolution.reason) == (None, "evidence_incomplete")
    assert [each.address for each in found.resolution.candidates] == ["203.0.113.7"]


def test_at_the_edges_completeness_decides() -> None:
    told = [mark(1, 0), *flow(10 * SECOND, 20 * SECOND), mark(4, 30 * SECOND)]
    assert client(one(told, asked(20 * SECOND + 2 * MS))) == CLIENT


def test_a_missing_number_voids_the_moment() -> None:
    told = [mark(1, 0), *flow(10 * SECOND, 20 * SECOND, first=3), mark(5, 30 * SECOND)]
    found = one(told, asked(10 * SECOND + MS))
    assert (client(found), found.resolution.reason) == (None, "events_lost")


def test_a_number_missing_elsewhere_does_not() -> None:
    told = [mark(1, 0), mark(2, 5 * SECOND), *flow(10 * SECOND, 20 * SECOND, first=3), mark(6, 30 * SECOND)]
    assert client(one(told, asked(10 * SECOND + MS))) == CLIENT


def test_a_flow_that_was_never_answered_carried_no_request() -> None:
    graph = graph_of(drawing())
    at = 10 * SECOND
    refused = translation(graph, 2, OTHER, AS, event="DESTROY", begin=at, end=at + MS, at=at + MS, assured=False)
    told = [mark(1, 0), refused, *flow(at + 2 * MS, 20 * SECOND, first=3), mark(5, 30 * SECOND)]
    assert client(one(told, asked(at + 3 * MS))) == CLIENT


def test_an_open_flow_ends_where_the_next_one_on_its_tuple_begins() -> None:
    first, second = flow(10 * SECOND, 0)[:1], flow(20 * SECOND, 0, OTHER, 3)[:1]
    told = [mark(1, 0), *first, *second, mark(4, 40 * SECOND)]
    assert client(one(told, asked(15 * SECOND))) == CLIENT
    assert client(one(told, asked(25 * SECOND))) == OTHER


def test_two_clients_that_fit_are_candidates() -> None:
    told = [mark(1, 0), *flow(10 * SECOND, 11 * SECOND), *flow(11 * SECOND + MS, 12 * SECOND, OTHER, 4)]
    found = one([*told, mark(6, 30 * SECOND)], asked(11 * SECOND))
    assert found.resolution.reason == "ambiguous"
    assert {each.address for each in found.resolution.candidates} == {"203.0.113.7", "203.0.113.8"}


def test_another_transport_another_port_or_another_near_end_is_another_connection() -> None:
    told = [mark(1, 0), *flow(10 * SECOND, 20 * SECOND), mark(4, 30 * SECOND)]
    for record in (
        request(graph_of(drawing()), "r", f"{NODE}:40002", 15 * SECOND, 15 * SECOND),
        request(graph_of(drawing()), "r", AS, 15 * SECOND, 15 * SECOND, local="10.244.2.6:8080"),
        request(graph_of(drawing()), "r", AS, 15 * SECOND, 15 * SECOND, transport="udp"),
    ):
        assert client(one(told, record)) is None


def test_what_a_complete_translator_did_not_translate_it_opened_itself() -> None:
    found = one([mark(1, 0), mark(2, 30 * SECOND)], asked(15 * SECOND))
    assert (found.resolution.verdict, client(found)) == ("internal", None)


def test_a_proxy_on_the_nodes_own_network_is_told_apart_from_what_the_node_translates() -> None:
    nodes, app = drawing()
    edge = system("edge", NODE, peers="outside", conveys=(XFF,))
    graph = graph_of([nodes, edge, replace(app, peers=frozenset({"nodes", "edge"}))])
    header = claim("x-forwarded-for", "8.8.8.8, 203.0.113.9")
    record = request(graph, "r", AS, 15 * SECOND, 15 * SECOND, claims=(header,))
    translated = [mark(1, 0), *flow(10 * SECOND, 20 * SECOND, graph=graph), mark(4, 30 * SECOND)]
    assert client(one(translated, record, graph)) == CLIENT
    own = one([mark(1, 0), mark(2, 30 * SECOND)], record, graph)
    assert (client(own), own.resolution.verdict) == ("203.0.113.9:None", "vouched")
    assert [step.system for step in own.resolution.path] == ["edge", None]
    assert client(one([], record, graph)) is None


def test_a_probe_path_behind_a_node_that_translates_is_no_probe() -> None:
    nodes, app = drawing()
    graph = graph_of([nodes, replace(app, probes=("/ping",))])
    told = [mark(1, 0), *flow(10 * SECOND, 20 * SECOND, graph=graph), mark(4, 30 * SECOND)]
    record = request(graph, "r", AS, 15 * SECOND, 15 * SECOND, http=Http(target="/ping", protocol="HTTP/1.1"))
    assert client(one(told, record, graph)) == CLIENT


def test_a_request_read_long_after_its_connection_was_no_origin_of_the_node() -> None:
    told = [mark(1, 0), *flow(10 * SECOND, 11 * SECOND), mark(4, 30 * SECOND)]
    found = one(told, asked(12 * SECOND))
    assert found.resolution.reason == "evidence_missing"


def test_the_operators_word_does_not_turn_silence_into_an_origin() -> None:
    graph = graph_of(drawing(lossless=True))
    found = one([], request(graph, "r", AS, 15 * SECOND, 15 * SECOND), graph)
    assert found.resolution.reason == "evidence_missing"


def test_a_line_without_time_of_its_own_joins_nothing() -> None:
    told = [mark(1, 0), *flow(10 * SECOND, 20 * SECOND), mark(4, 30 * SECOND)]
    record = asked(15 * SECOND)
    late = replace(record, observation=replace(record.observation, time_by="arrival"))
    assert one(told, late).resolution.reason == "no_time"


def test_a_peer_without_port_says_what_is_missing() -> None:
    record = request(graph_of(drawing()), "r", NODE, 15 * SECOND, 15 * SECOND)
    assert one([], record).resolution.reason == "port_not_logged"


def test_without_the_near_end_only_completeness_from_the_beginning_decides() -> None:
    told = [mark(1, 0), *flow(10 * SECOND, 20 * SECOND), mark(4, 30 * SECOND)]
    record = asked(15 * SECOND, local=None)
    assert client(one(told, record)) == CLIENT
    assert client(one(told[1:], record)) is None


# The walk goes on with each answer.


def chain() -> Graph:
    nodes, app = drawing()
    balancer = system("lb", "10.0.0.10", peers="outside", conveys=())
    return graph_of(
        [
            replace(nodes, peers=frozenset({"lb"})),
            replace(app, peers=frozenset({"nodes"})),
            replace(balancer, tells=True, connects=True, lossless=True),
        ]
    )


def connection(sender: str, seen_as: str, begin: int, end: int) -> Outcome:
    """A balancer's line about a connection it passed to the node port."""
    told = translation(graph_of(drawing()), 900, sender, seen_as, event="NEW", begin=begin, end=end, to=f"{NODE}:30080")
    seen = told.record.observation
    setup = replace(seen.setup, system="lb", format="haproxy")
    line = replace(seen, setup=setup, kind="connection", numbered=None, instance=None, connection_serial=None)
    return replace(told, record=replace(told.record, observation=line, record_id="lb-1"))


def test_translation_then_balancer_then_client_is_one_path() -> None:
    graph = chain()
    middle = "10.0.0.10:47898"
    told = [mark(1, 0), *flow(10 * SECOND, 20 * SECOND, middle, graph=graph), mark(4, 30 * SECOND)]
    told.append(connection(CLIENT, middle, 10 * SECOND - MS, 21 * SECOND))
    record = request(graph, "r", AS, 15 * SECOND, 15 * SECOND + MS)
    found = one(told, record, graph)
    assert client(found) == CLIENT
    assert [(step.system, step.by) for step in found.resolution.path] == [
        ("nodes", "socket"),
        ("lb", "conntrack"),
        (None, "connection_log"),
    ]


def carrying() -> Graph:
    nodes, app = drawing()
    balancer = system("lb", "10.0.0.10", peers="outside", conveys=(PROXY,))
    return graph_of([replace(nodes, peers=frozenset({"lb"}), carries=("lb",)), app, balancer])


def test_what_a_node_carries_is_held_against_its_own_log() -> None:
    graph = carrying()
    around = [mark(1, 0), *flow(10 * SECOND, 20 * SECOND, OTHER, graph=graph), mark(4, 30 * SECOND)]
    through = [mark(1, 0), *flow(10 * SECOND, 20 * SECOND, "10.0.0.10:47898", graph=graph), mark(4, 30 * SECOND)]
    record = request(graph, "r", AS, 15 * SECOND, 15 * SECOND, proxied=endpoint(CLIENT), proxied_by="proxy_v2")
    passed = one(through, record, graph)
    assert (client(passed), passed.resolution.findings) == (CLIENT, ())
    forged = one(around, record, graph)
    assert (client(forged), forged.resolution.reason) == (None, "peer_unlisted")
    assert "reached_around" in forged.resolution.findings
    assert client(one([], record, graph)) is None


# Request ids and traces.


PASSES = ("x-request-id", "traceparent")


def ids_graph(*, lossless: bool = False, mints: tuple[str, ...] = (), passes: tuple[str, ...] = PASSES) -> Graph:
    ingress = system("ingress", "10.244.1.6", peers="outside")
    told = replace(ingress, tells=True, lossless=lossless, mints=mints, passes_ids=passes)
    return graph_of([told, replace(system("app", peers="ingress"), tells=True)])


def served(graph: Graph, name: str, sender: str, at: int, **ids: object) -> Record:
    more = {"ids": Ids(**ids), "end": at + SECOND, "local": "10.244.1.6:8000"}
    return request(graph, name, sender, at, at + MS, by="ingress", **more)


def called(graph: Graph, at: int, **ids: object) -> Record:
    return request(graph, "r", "10.244.1.6:40001", at, at + MS, ids=Ids(**ids))


ID = {"requests": (("x-request-id", "b3f1c2d4"),)}
TRACE = {"trace": "4bf92f3577b34da6a3ce929d0e0e4736", "scheme": "w3c", "bits": 128, "header": "traceparent"}


def test_a_minted_id_answers_inside_the_minting_request() -> None:
    graph = ids_graph(mints=("x-request-id",))
    told: list[Outcome] = [served(graph, "i", CLIENT, 10 * SECOND, **ID)]
    found = one(told, called(graph, 10 * SECOND + 5 * MS, **ID), graph)
    assert (client(found), found.resolution.method) == (CLIENT, "request_id")
    assert client(one(told, called(graph, 13 * SECOND, **ID), graph)) is None


@pytest.mark.parametrize("ids", [ID, TRACE])
def test_a_kept_id_needs_a_log_without_losses(ids: dict[str, object]) -> None:
    for lossless, expected in ((True, CLIENT), (False, None)):
        graph = ids_graph(lossless=lossless)
        told: list[Outcome] = [served(graph, "i", CLIENT, 10 * SECOND, **ids)]
        found = one(told, called(graph, 10 * SECOND + 5 * MS, **ids), graph)
        assert client(found) == expected
        assert found.resolution.reason == (None if lossless else "evidence_incomplete")
        assert [each.address for each in found.resolution.candidates] == ([] if lossless else ["203.0.113.7"])


def test_an_application_that_logs_no_peer_is_told_by_its_trace() -> None:
    graph = ids_graph(lossless=True)
    record = called(graph, 10 * SECOND + 5 * MS, **TRACE)
    seen = replace(record.observation, peer=None)
    record = replace(record, observation=seen, resolution=resolve(graph, seen))
    assert client(one([served(graph, "i", CLIENT, 10 * SECOND, **TRACE)], record, graph)) == CLIENT


def test_a_stolen_id_at_the_same_moment_names_nobody() -> None:
    graph = ids_graph(lossless=True)
    told: list[Outcome] = [
        served(graph, "i", CLIENT, 10 * SECOND, **TRACE),
        served(graph, "j", OTHER, 10 * SECOND + 100 * MS, **TRACE),
    ]
    found = one(told, called(graph, 10 * SECOND + 200 * MS, **TRACE), graph)
    assert (client(found), found.resolution.reason) == (None, "ambiguous")


def test_the_callers_own_span_tells_requests_of_one_trace_apart() -> None:
    graph = ids_graph()
    told: list[Outcome] = [
        served(graph, "i", CLIENT, 10 * SECOND, span="00f067aa0ba902b7", **TRACE),
        served(graph, "j", OTHER, 10 * SECOND, span="00f067aa0ba902b8", **TRACE),
    ]
    for span, expected in (("00f067aa0ba902b7", CLIENT), ("00f067aa0ba902b8", OTHER), ("00f067aa0ba902b9", None)):
        assert client(one(told, called(graph, 10 * SECOND + MS, parent=span, **TRACE), graph)) == expected


@pytest.mark.parametrize("peers", ["ingress outside", "ingress internal"])
def test_an_id_is_no_proof_where_the_hop_can_be_reached_around_its_minter(peers: str) -> None:
    ingress = replace(system("ingress", "10.244.1.6", peers="outside"), tells=True, mints=("x-request-id",))
    side = system("side", "10.244.1.9", peers=peers)
    graph = graph_of([ingress, side, system("app", peers="side")])
    told: list[Outcome] = [served(graph, "i", CLIENT, 10 * SECOND, **ID)]
    record = request(graph, "r", "10.244.1.9:40001", 10 * SECOND + MS, 10 * SECOND + MS, ids=Ids(**ID))
    assert client(one(told, record, graph)) is None


def test_who_awaits_a_line_that_asks_itself_is_told_its_end() -> None:
    """The app's line waits for the ingress's, whose own peer only the node knows."""
    nodes, _ = drawing()
    ingress = replace(system("ingress", "10.244.1.6", peers="nodes"), tells=True, lossless=True)
    ingress = replace(ingress, passes_ids=PASSES)
    graph = graph_of([nodes, ingress, system("app", peers="ingress")])
    at = 10 * SECOND
    told: list[Outcome] = [
        mark(1, 0),
        translation(
            graph, 2, CLIENT, AS, event="DESTROY", begin=at, end=20 * SECOND, at=20 * SECOND, to="10.244.1.6:8000"
        ),
        mark(3, 30 * SECOND),
        served(graph, "i", AS, 15 * SECOND, **TRACE),
    ]
    found = one(told, called(graph, 15 * SECOND + MS, **TRACE), graph)
    assert (client(found), found.resolution.method) == (CLIENT, "trace")


# Coverage.


@given(st.permutations(range(1, 12)), st.integers(0, 3))
def test_runs_are_stitched_in_any_order(order: list[int], repeated: int) -> None:
    runs = [Run("s", n, n, n * 10, n * 10, n == 1) for n in order]
    assert stitch([*runs, *runs[:repeated]]) == (Run("s", 1, 11, 10, 110, True),)


def test_a_stretch_after_a_loss_is_another_one_although_its_number_follows() -> None:
    before, after = Run("s", 1, 4, 10, 40, True), Run("s", 5, 9, 50, 90, True)
    assert stitch([before, after]) == (before, after)


def test_after_a_missing_number_only_what_came_a_grace_later_is_covered() -> None:
    runs = Runs()
    for line in (Numbered("s", 1, 1000, 1000), Numbered("s", 3, 1500, 1700), Numbered("s", 4, 1900, 2100)):
        runs.add(line)
    assert [(run.from_ns, run.to_ns) for run in runs.all()] == [(1000, 1000), (1700, 1900)]


def test_the_far_end_may_be_a_balancer_that_a_node_translated() -> None:
    """Policy Local: the balancer connected to the node port, the pod sees the balancer and itself."""
    balancer = replace(system("lb", "10.0.0.10", peers="outside"), tells=True, connects=True, lossless=True)
    middle = "10.0.0.10:47898"
    told = [connection(CLIENT, middle, 10 * SECOND, 20 * SECOND)]
    for fronts, expected in ((), None), ((told[0].record.observation.upstream_peer,), CLIENT):
        graph = graph_of([balancer, replace(system("app", peers="lb"), fronts=fronts)])
        record = request(graph, "r", middle, 15 * SECOND, 15 * SECOND, local=SERVER)
        assert client(one(told, record, graph)) == expected
