"""Laws of licences: whatever makes the attacker's line missing, the neighbour's line does not answer for him.

The neighbour V left a line under the key of the attacker's request, and M's own line is not there. SECURITY.md lists
the ways, and what each licence makes of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
from clientip.joins.facts import JoinFact, JoinQuestion
from clientip.joins.flows import FOREVER
from clientip.joins.holes import LineOrder, LogPart, WriteTime, tried_in, written_at
from clientip.joins.join import Joining
from clientip.joins.witnesses import Witnesses
from clientip.settings import Joins
from clientip.stream.holes import HoleStore, LogWatch
from clientip.trust.answers import Known, Refused, Through
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.joins.test_joins_edges import A, called, line, served
from tests.joins.test_written import BOUNDS, KEY, LONGEST, SERVER, balancer, question, told
from tests.worlds.nat_worlds import graph_of, request
from tests.worlds.walks import system

FRONT = ("10.1.0.11", 30080)
MOMENT = 200  # of M's request; V's line is about the same moment
Moments = list[int | tuple[int, int] | None]  # None: not understood; a pair: while a request may have been elsewhere


class Licence(NamedTuple):
    """One that lets V's line answer M's question if nothing is missing."""

    joining: Joining
    fact: JoinFact
    asked: JoinQuestion


def _pooled() -> Licence:
    return Licence(balancer(), told("v", MOMENT - 1, MOMENT + 1, A), question(MOMENT))


def _begun() -> Licence:
    fact = replace(told("v", MOMENT, None, A), event="NEW")
    return Licence(balancer(begins=True), fact, question(MOMENT))


def _fronted() -> Licence:
    fact = line("v", MOMENT - 1, MOMENT + 1, A, target=FRONT, key=KEY)
    return Licence(balancer(), fact, replace(question(MOMENT), fronts=(FRONT,)))


def _kept() -> Licence:
    edge = replace(system("ingress", "10.244.1.6", peers="outside"), tells=True, lossless=True, longest_ns=LONGEST)
    edge = replace(edge, passes_ids=("x-request-id",))
    joining = Joining(graph_of([edge, system("app", peers="ingress")]), Joins(BOUNDS.tolerance, BOUNDS.horizon))
    return Licence(joining, served("v", MOMENT - 1, MOMENT + 1, minted=False), called(MOMENT))


LICENCES: dict[str, Callable[[], Licence]] = {"pooled": _pooled, "begun": _begun, "fronted": _fronted, "kept": _kept}
WHOLE = [*range(100, 400, 10)]
WAYS: dict[str, Moments] = {
    "unread": [*range(100, 200, 10), None, *range(210, 400, 10)],
    "retried": [*range(100, 200, 10), (MOMENT - 5, MOMENT + 5), *range(210, 400, 10)],
    "unwritten": [*range(100, MOMENT + 1, 10)],
    "rotated": [*range(MOMENT, 400, 10)],
}


def log_of(moments: Moments) -> LogPart:
    order = LineOrder()
    for each in moments:
        if isinstance(each, tuple):
            order.see(WriteTime(each[1], 0), each)
        else:
            order.see(None if each is None else WriteTime(each, 0))
    return order.part()


def answered(licence: Licence, log: LogPart) -> object:
    """The reason; None: V is named."""
    name = licence.asked.witnesses[0]
    coverage = licence.joining.coverage({}, [(name, "", (log,))])
    (found,) = licence.joining.answer(licence.asked.key, [licence.fact], [licence.asked], coverage)
    assert isinstance(found, Through | Known | Refused)
    return found.reason if isinstance(found, Refused) else None


@pytest.mark.parametrize("kind", LICENCES)
def test_where_nothing_is_missing_it_answers(kind: str) -> None:
    assert answered(LICENCES[kind](), log_of([*WHOLE])) is None


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", LICENCES)
def test_whatever_makes_the_attackers_line_missing_nobody_answers_for_him(kind: str, way: str) -> None:
    is_told = way in ("unread", "retried") and kind != "kept"  # of ids it is not told why not all is known
    expected = "events_lost" if is_told else "evidence_incomplete"
    assert answered(LICENCES[kind](), log_of(WAYS[way])) == expected


@pytest.mark.parametrize("kind", LICENCES)
def test_without_the_operators_word_no_log_without_numbers_is_complete(kind: str) -> None:
    licence = LICENCES[kind]()
    systems = [replace(each, lossless=False) for each in licence.joining.graph.systems.values()]
    worthless = Joining(graph_of(systems), Joins(BOUNDS.tolerance, BOUNDS.horizon))
    assert answered(licence._replace(joining=worthless), log_of([*WHOLE])) == "evidence_incomplete"


@given(st.integers(0, 400), st.integers(0, 400))
def test_no_licence_reaches_over_a_hole_of_any_width(begin: int, end: int) -> None:
    low, high = min(begin, end), max(begin, end)
    lines = [each for each in WHOLE if each <= low or each >= high]
    after = [each for each in lines if each >= high]
    log = log_of([*(each for each in lines if each < high), None, *after])
    for kind, make in LICENCES.items():
        if low <= MOMENT <= high:
            assert answered(make(), log) in ("events_lost", "evidence_incomplete"), kind


def test_an_id_that_was_minted_for_him_is_in_nobody_elses_line() -> None:
    """Without his line nothing fits, whatever is missing: the neighbour's line has another id."""
    licence = _kept()
    edge = replace(licence.joining.graph.systems["ingress"], lossless=False, passes_ids=(), mints=("x-request-id",))
    joining = Joining(graph_of([edge, system("app", peers="ingress")]), Joins(BOUNDS.tolerance, BOUNDS.horizon))
    asked = replace(licence.asked, passing=(), minting=("ingress",))
    theirs = licence._replace(joining=joining, fact=replace(licence.fact, minted=True), asked=asked)
    for log in (log_of(moments) for moments in WAYS.values()):
        assert answered(theirs, log) is None
        coverage = joining.coverage({}, [("ingress", "", (log,))])
        assert joining.answer(asked.key, [], [asked], coverage) == [Refused("evidence_missing")]


def test_a_line_without_a_time_of_its_own_tells_nothing_and_is_a_hole() -> None:
    graph = graph_of(
        [
            replace(system("lb", "10.0.0.10", peers="outside"), tells=True, connects=True, lossless=True),
            system("app", peers="lb"),
        ]
    )
    record = request(graph, "r", "203.0.113.7:51000", MOMENT, MOMENT, by="lb")
    ends = {"upstream_local": record.observation.peer, "upstream_peer": record.observation.local}
    shown = replace(record, observation=replace(record.observation, **ends))
    assert list(Witnesses(graph).facts(shown)) != []
    assert written_at(shown) is not None
    for missing in ({"time_by": "arrival"}, {"time_by": None}):
        timeless = replace(shown, observation=replace(shown.observation, **missing))
        assert list(Witnesses(graph).facts(timeless)) == []
        assert written_at(timeless) is None


def test_a_request_that_was_sent_on_twice_tells_no_connection_and_is_a_hole_in_a_stream_too() -> None:
    graph = graph_of(
        [
            replace(system("lb", "10.0.0.10", peers="outside"), tells=True, connects=True, lossless=True),
            system("app", peers="lb"),
        ]
    )
    record = request(graph, "r", "203.0.113.7:51000", MOMENT, MOMENT, by="lb")
    ends = {"upstream_local": record.observation.peer, "retried_until_ns": MOMENT + 9}
    retried = replace(record, observation=replace(record.observation, **ends))
    assert list(Witnesses(graph).facts(retried)) == []
    watch, store = LogWatch("lb", "", "raw/0", LONGEST), HoleStore()
    watch.see(written_at(retried), tried_in(retried))
    for news in watch.news():
        store.note(news)
    assert store.state("lb", None, MOMENT + 5, MOMENT + 5) == "lost"
    assert store.state("lb", None, MOMENT + LONGEST, FOREVER) is None


def test_the_server_of_a_fact_that_an_address_leads_to_is_the_one_listed() -> None:
    licence = _fronted()
    for front, expected in ((FRONT, None), (SERVER, None), (("10.1.0.12", 30080), "evidence_missing")):
        fact = replace(licence.fact, target=front)
        assert answered(licence._replace(fact=fact), log_of([*WHOLE])) == expected
