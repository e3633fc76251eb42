"""What a log cannot say yet, or hides: connections that are held open, and requests that were sent on twice."""

from __future__ import annotations

from collections.abc import Sequence

from clientip.joins.bounds import Bounds
from clientip.joins.coverage import Coverage
from clientip.joins.facts import JoinFact, JoinQuestion, conn_key
from clientip.joins.flows import FOREVER
from clientip.joins.holes import LineOrder, LogPart, WriteTime, holes_of, written_of
from clientip.joins.join import Joining
from clientip.joins.matching import answers
from clientip.settings import Joins
from clientip.trust.answers import Refused, Site, Through
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.joins.test_joins_edges import PORT, A, B, line
from tests.worlds.nat_worlds import graph_of
from tests.worlds.walks import system

SERVER: Site = ("10.244.2.5", 8080)
KEY = conn_key("default", "tcp", PORT)
BOUNDS = Bounds(tolerance=2, horizon=1000)
LONGEST = 40


def balancer(*, longest: int | None = LONGEST, begins: bool = False) -> Joining:
    drawn = replace(
        system("lb", PORT[0], peers="outside"),
        tells=True,
        connects=True,
        lossless=True,
        longest_ns=longest,
        writes_begins=begins,
    )
    asker = system("app", "10.244.2.5", peers="lb")
    return Joining(graph_of([drawn, asker]), Joins(BOUNDS.tolerance, BOUNDS.horizon))


def question(moment: int, begun: int | None = None) -> JoinQuestion:
    asked = JoinQuestion(KEY, 0, 0, ("lb",), "app", "", None, moment, moment, None, PORT[0], SERVER)
    return asked if begun is None else replace(asked, earliest=begun)


def part(moments: Sequence[int]) -> LogPart:
    order = LineOrder()
    for moment in moments:
        order.see(WriteTime(moment, 0))
    return order.part()


def said(joining: Joining, facts: Sequence[JoinFact], moment: int, log: LogPart) -> object:
    coverage = joining.coverage({}, [("lb", "", (log,))])
    (found,) = joining.answer(KEY, facts, [question(moment)], coverage)
    return found.peer if isinstance(found, Through) else found.reason if isinstance(found, Refused) else found


def told(record: str, begin: int, end: int | None, peer: Site) -> JoinFact:
    return line(record, begin, end, peer, target=SERVER, key=KEY)


def test_a_log_that_is_written_at_the_end_vouches_from_its_first_line_to_longest_before_its_last() -> None:
    log, victim = part([10, 100]), told("v", 49, 51, A)
    assert said(balancer(), [victim], 50, log) == A
    assert said(balancer(), [told("v", 61, 63, A)], 62, log) == "evidence_incomplete"
    assert said(balancer(), [told("v", 10, 12, A)], 11, log) == "evidence_incomplete"


def test_without_longest_it_vouches_for_nothing() -> None:
    assert said(balancer(longest=None), [told("v", 49, 51, A)], 50, part([10, 100])) == "evidence_incomplete"


def test_a_log_of_begins_vouches_up_to_its_last_line() -> None:
    log, begun = part([10, 100]), replace(told("v", 49, None, A), event="NEW")
    assert said(balancer(begins=True), [begun], 97, log) == A
    assert said(balancer(begins=True), [begun], 99, log) == "evidence_incomplete"


def test_a_begin_ends_where_the_next_one_on_its_ends_begins() -> None:
    log = part([10, 100])
    first, second = (
        replace(told(record, at, None, peer), event="NEW") for record, at, peer in (("v", 30, A), ("m", 50, B))
    )
    for moment, peer in ((40, A), (60, B), (90, B)):
        assert said(balancer(begins=True), [first, second], moment, log) == peer
    assert said(balancer(begins=True), [first, second], 51, log) == "ambiguous"


def test_an_instance_without_a_log_vouches_for_nothing() -> None:
    drawn = balancer().graph.systems
    coverage = Coverage(drawn, {}, {}, {("lb", "a"): (0, 100)})
    assert coverage.of("lb", None, 10, 20) == "word"
    assert Coverage(drawn, {}, {}, {}).of("lb", None, 10, 20) == "no"


Turns = st.lists(st.tuples(st.integers(1, 30), st.integers(1, LONGEST), st.booleans()), min_size=1, max_size=12)


@given(Turns, st.integers(0, 200), st.booleans())
def test_whoever_holds_a_connection_on_is_never_taken_for_the_one_before(
    turns: list[tuple[int, int, bool]], cut: int, begins: bool
) -> None:
    """A turn on the one upstream connection: how long after the last, how long, whose. The log ends at `cut`."""
    clock, facts, truth = 10, list[JoinFact](), list[tuple[int, int, Site]]()
    for number, (later, held, is_victim) in enumerate(turns):
        begin, peer = clock + later, A if is_victim else B
        clock = begin + held
        truth.append((begin, clock, peer))
        if begins and begin <= cut:
            facts.append(replace(told(f"r{number}", begin, None, peer), event="NEW"))
        elif not begins and clock <= cut:
            facts.append(told(f"r{number}", begin, clock, peer))
    written = sorted((fact.begin if begins else fact.end) or 0 for fact in facts)
    log, joining = part([5, *written, cut]), balancer(begins=begins)
    for begin, end, peer in truth:
        for moment in {begin, (begin + end) // 2, end}:
            assert said(joining, facts, moment, log) in (peer, "ambiguous", "evidence_incomplete", "contradiction")


# Tries that a line does not show.


def test_a_request_that_was_sent_on_twice_is_a_hole_of_its_own_width() -> None:
    order = LineOrder()
    order.see(WriteTime(10, 0))
    order.see(WriteTime(60, 0), (40, 50))
    order.see(WriteTime(100, 0))
    assert order.part().tries == ((40, 50),)
    assert holes_of([order.part()], LONGEST) == ((40, 50),)
    assert written_of([order.part()], LONGEST) == (10, 60)
    victim = told("v", 37, 39, A)
    joining = balancer()
    assert said(joining, [victim], 38, order.part()) == "events_lost"
    assert said(joining, [told("v", 33, 35, A)], 34, order.part()) == A


def test_tries_whose_end_is_not_known_are_open() -> None:
    order = LineOrder()
    order.see(WriteTime(60, 0), (40, FOREVER))
    assert holes_of([order.part()], LONGEST) == ((40, FOREVER),)


def test_without_facts_the_answer_is_the_same_in_any_order() -> None:
    facts = [told("v", 30, 35, A), told("m", 50, 55, B)]
    one = answers(KEY, facts, [question(33)], lambda *_: "word", BOUNDS)
    other = answers(KEY, facts[::-1], [question(33)], lambda *_: "word", BOUNDS)
    assert one == other
