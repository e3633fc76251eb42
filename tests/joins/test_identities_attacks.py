"""Law: whatever headers and ids a client sends, in however many lines, nobody else is named for his requests.

An edge hands on what came, as far as it does not promise otherwise; its log shows one line of one header.  The next hop
reads the header that it reads.  Both logs are whole: what misleads is never a missing line.
"""

from __future__ import annotations

import random

import pytest
from clientip.joins.join import Joining
from clientip.model import Ids, Outcome, Promise, Record
from clientip.reasons import UNKNOWN, WAITING
from clientip.settings import Joins
from clientip.syntax.headers import read_ids
from clientip.trust.graph import Graph, draw
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.joins.test_joins import MS, SECOND, World, client, one, request, settled, wrong
from tests.worlds.walks import system

HEADERS = ("traceparent", "b3", "x-request-id", "x-correlation-id")
TRACES = ("traceparent", "b3")
AT = 10 * SECOND
SEEDS = st.integers(0, 2**32)


def written(header: str, number: int) -> str:
    if header == "traceparent":
        return f"00-{number + 1:032x}-{number + 1:016x}-01"
    return f"{number + 1:032x}-{number + 1:016x}-1" if header == "b3" else f"id-{number}"


def ids_of(headers: dict[str, list[str]], shown: tuple[str, ...]) -> Ids:
    """What a log with these columns shows: the first line of each header."""
    return read_ids([(name, tuple(headers[name][:1])) for name in shown if headers.get(name)])


def edge_of(mints: tuple[str, ...], passes: tuple[str, ...], *middle: str) -> Graph:
    edge = replace(system("edge", "10.0.0.5", peers="outside"), tells=True, lossless=True)
    edge = replace(edge, mints=mints, passes_ids=passes)
    hops = [system(name, "10.0.0.6", peers="edge") for name in middle]
    app = system("app", peers=middle[0] if middle else "edge")
    return draw([edge, *hops, app], ["edge", "app"])


def passed_on(
    said: dict[str, list[str]], mints: tuple[str, ...], passes: tuple[str, ...], own: int, dice: random.Random
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """(what goes on, what the edge logs) of a request with these headers."""
    onward = {name: list(lines) for name, lines in said.items()}
    for name in mints:
        onward[name] = [written(name, own)]
    if passes:
        onward = {name: onward[name][:1] for name in passes if onward.get(name)}
    logged = {name: onward[name] if name in (*mints, *passes) else lines for name, lines in said.items()}
    if passes:  # the reader drops what did not go on
        logged = {name: lines for name, lines in logged.items() if name in passes}
    if not passes:
        for lines in onward.values():  # of several lines, no rule says which the next hop reads
            dice.shuffle(lines)
    return onward, {**logged, **{name: onward[name] for name in mints if name in onward}}


@settings(max_examples=300, deadline=None)
@given(SEEDS, st.sampled_from([(), ("traceparent",), ("x-request-id",), ("b3", "x-request-id")]), st.booleans())
def test_any_headers_in_any_number_of_lines_name_nobody_else(seed: int, mints: tuple[str, ...], promised: bool) -> None:
    dice = random.Random(seed)
    passes = tuple(dict.fromkeys((*mints, dice.choice(HEADERS)))) if promised else ()
    graph = edge_of(mints, passes)
    columns, read = tuple(dice.sample(HEADERS, 2)), dice.choice(HEADERS)
    unknown_header = read in TRACES and dice.random() < 0.3
    outcomes: list[Outcome] = []
    truth: dict[str, str] = {}
    for n in range(8):
        said = {
            name: [written(name, dice.randrange(4)) for _ in range(dice.randint(1, 3))]
            for name in HEADERS
            if dice.random() < 0.6
        }
        onward, logged = passed_on(said, mints, passes, 100 + n, dice)
        sender, begin = f"203.0.113.{n + 1}:5{n:03}", AT + dice.randrange(300) * MS
        ids = ids_of(logged, (*columns, *mints, *passes))
        more = {"ids": ids, "end": begin + 200 * MS, "local": "10.0.0.5:80"}
        outcomes.append(request(graph, f"e{n}", sender, begin, begin, by="edge", **more))
        met = ids_of(onward, (read,))
        if unknown_header:
            met = replace(met, header=None)  # a span: its tracer read some header
        outcomes.append(request(graph, f"r{n}", f"10.0.0.5:{40000 + n}", begin + MS, begin + MS, ids=met))
        truth[f"e{n}"] = truth[f"r{n}"] = sender
    world = World(graph, outcomes, truth)
    assert wrong(world, settled(world)) == []


def asked(graph: Graph, told: dict[str, list[str]], met: dict[str, list[str]]) -> Record:
    """The application's line, after one of the victim's at the edge."""
    more = {"ids": ids_of(told, HEADERS), "end": AT + SECOND, "local": "10.0.0.5:80"}
    victim = request(graph, "v", "203.0.113.9:51000", AT, AT, by="edge", **more)
    peer = "10.0.0.6:40001" if "middle" in graph.systems else "10.0.0.5:40001"
    record = request(graph, "r", peer, AT + MS, AT + MS, ids=ids_of(met, HEADERS))
    return one([victim], record, graph)


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize(
    ("mints", "passes", "named"), [(False, False, False), (True, False, True), (False, True, True), (True, True, True)]
)
def test_an_id_answers_by_the_word_of_the_system_that_shows_it(
    header: str, mints: bool, passes: bool, named: bool
) -> None:
    graph = edge_of((header,) if mints else (), (header,) if passes else ())
    said = {header: [written(header, 7)]}
    found = asked(graph, said, said)
    assert client(found) == ("203.0.113.9:51000" if named else None)
    assert found.resolution.reason == (None if named else "id_unproved")
    assert [each.address for each in found.resolution.candidates] == ([] if named else ["203.0.113.9"])


def test_a_trace_that_is_minted_in_one_header_is_anybodys_in_another() -> None:
    told, met = {"traceparent": [written("traceparent", 7)]}, {"b3": [written("b3", 7)]}
    for mints, passes in ((("traceparent",), ()), ((), ("traceparent",))):
        found = asked(edge_of(mints, passes), told, met)
        assert (client(found), found.resolution.reason) == (None, "id_unproved")


def test_a_span_of_a_tracer_that_reads_any_header_needs_the_word_that_no_other_passes() -> None:
    said = {"traceparent": [written("traceparent", 7)]}
    for passes, named in (((), None), (("traceparent",), "203.0.113.9:51000")):
        graph = edge_of(("traceparent",), passes)
        more = {"ids": ids_of(said, HEADERS), "end": AT + SECOND, "local": "10.0.0.5:80"}
        victim = request(graph, "v", "203.0.113.9:51000", AT, AT, by="edge", **more)
        span = replace(ids_of(said, HEADERS), header=None)
        record = request(graph, "r", "10.0.0.5:40001", AT + MS, AT + MS, ids=span)
        assert client(one([victim], record, graph)) == named


def test_a_hop_between_that_writes_headers_may_have_read_another_one() -> None:
    """It may copy a client's b3 into the traceparent that it sends; where none but the minted one passes, it cannot."""
    said = {"traceparent": [written("traceparent", 7)]}
    for conveys, passes, named in (((), (), True), ((Promise("x-real-ip", "overwrite"),), (), False),
                                   ((Promise("x-real-ip", "overwrite"),), ("traceparent",), True)):  # fmt: skip
        graph = edge_of(("traceparent",), passes, "middle")
        middle = replace(graph.systems["middle"], conveys=conveys)
        graph = draw([*(each for each in graph.systems.values() if each.name != "middle"), middle], ["edge", "app"])
        found = asked(graph, said, said)
        assert (client(found) is not None) == named


def test_the_parent_span_is_a_clients_too_where_the_header_passes_as_it_came() -> None:
    said = {"traceparent": [written("traceparent", 7)]}
    for passes, named in (((), None), (("traceparent",), "203.0.113.9:51000")):
        graph = edge_of((), passes)
        own = Ids(trace=f"{8:032x}", span=f"{8:016x}")
        more = {"ids": own, "end": AT + SECOND, "local": "10.0.0.5:80"}
        victim = request(graph, "v", "203.0.113.9:51000", AT, AT, by="edge", **more)
        record = request(graph, "r", "10.0.0.5:40001", AT + MS, AT + MS, ids=ids_of(said, HEADERS))
        assert client(one([victim], record, graph)) == named


def test_the_word_of_a_refused_id_is_one_that_records_may_carry() -> None:
    assert "id_unproved" in UNKNOWN
    assert "id_unproved" in WAITING
    assert Joining(edge_of((), ()), Joins(20 * MS, SECOND)).active
