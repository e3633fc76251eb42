"""Laws of logs that show connections when they begin: they tell no end, so the one before must be known, or be over.

M held the connection before V. His begin may stand in no line that was read; his last request came just before V's.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from clientip.config.evidence import writes_begins
from clientip.joins.facts import JoinFact
from clientip.joins.holes import LineOrder, LogPart, WriteTime, holes_of, written_of
from clientip.trust.answers import Refused, Site, Through
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.joins.test_joins_edges import A, B
from tests.joins.test_written import KEY, LONGEST, balancer, part, question, said, told


def begun(record: str, at: int, peer: Site) -> JoinFact:
    return replace(told(record, at, None, peer), event="NEW")


def order_of(moments: Sequence[int | None]) -> LogPart:
    """None: a line that was not understood."""
    order = LineOrder()
    for moment in moments:
        order.see(None if moment is None else WriteTime(moment, 0))
    return order.part()


def test_what_comes_with_a_begin_may_be_of_the_one_before_whose_begin_no_line_shows() -> None:
    victim, before_the_log = begun("v", 50, A), part([20, 100])
    assert said(balancer(begins=True), [victim], 49, before_the_log) == "evidence_incomplete"
    unread = order_of([5, 19, None, 21, 100])
    assert said(balancer(begins=True), [victim], 49, unread) == "events_lost"


def test_it_is_the_one_that_began_if_all_who_can_still_have_held_on_are_known() -> None:
    victim = begun("v", 50, A)
    assert said(balancer(begins=True), [victim], 49, part([5, 100])) == A
    assert said(balancer(begins=True), [victim], 51, order_of([1, 3, None, 5, 100])) == A
    assert said(balancer(begins=True, longest=None), [victim], 51, part([5, 100])) == "evidence_incomplete"


def test_later_on_it_is_the_one_that_began_whatever_was_before() -> None:
    """The tuple is his from his begin on, and nothing is missing since."""
    for log in (part([45, 100]), order_of([5, 40, None, 45, 100])):
        assert said(balancer(begins=True, longest=None), [begun("v", 50, A)], 60, log) == A


def test_where_the_asker_does_not_show_where_he_listens_another_may_have_gone_on_beside() -> None:
    asked, victim, log = replace(question(60), target=None), begun("v", 50, A), part([5, 100])
    for longest, expected in ((None, False), (LONGEST, True), (LONGEST + 10, False)):
        joining = balancer(begins=True, longest=longest)
        (found,) = joining.answer(KEY, [victim], [asked], joining.coverage({}, [("lb", "", (log,))]))
        assert isinstance(found, Through if expected else Refused)


def test_a_line_of_a_begin_that_was_not_understood_is_a_hole_of_its_own_moment() -> None:
    joining = balancer(begins=True, longest=None)
    assert joining.holes([("lb", "", (order_of([5, 40, None, 45, 100]),))]) == {("lb", ""): ((40, 45),)}


def test_moments_of_begins_leave_open_when_a_line_was_written() -> None:
    """A line read after may have begun long ago: what was written before it may be as late as that."""
    order = LineOrder()
    for moment in (10, None, 12):
        order.see(None if moment is None else WriteTime(moment, 0, is_begin=True))
    assert holes_of([order.part()], 5) == ((5, 17),)
    assert written_of([order.part()], 1) == (11, 11)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("%ci:%cp [%t] %b/%s %bi:%bp %si:%sp %Tw/%Tc/%Tt %B %ts", True),
        ("%ci:%cp [%t] %b/%s %bi:%bp %si:%sp %Tw/%Tc/%(total)Tt %B %ts", True),
        ("%ci:%cp [%t] %b/%s %bi:%bp %si:%sp %Tw/%Tc %B %ts", False),
        (
            "%ci:%cp [%tr] %b/%s %bi:%bp %si:%sp %Tw/%Tc/%Tt %ST %B %ts %rc",
            False,
        ),  # a request, that may be sent on again
    ],
)
def test_only_a_line_that_shows_when_it_was_written_is_one_of_a_begin(pattern: str, expected: bool) -> None:
    keys = {"format": "haproxy", "pattern": pattern, "options": {"logasap": "true"}}
    assert writes_begins(keys) is expected


Turns = st.lists(st.tuples(st.integers(1, 30), st.integers(1, LONGEST), st.booleans()), min_size=1, max_size=8)


@given(Turns, st.sets(st.integers(0, 7)), st.integers(0, 150), st.booleans())
def test_whichever_begins_are_unread_or_before_the_log_nobody_is_taken_for_another(
    turns: list[tuple[int, int, bool]], unread: set[int], since: int, shows_near: bool
) -> None:
    """A turn on the one connection: how long after the last, how long, whose. Lines of others stand between."""
    clock, facts, truth = 10, list[JoinFact](), list[tuple[int, int, Site]]()
    lines: list[tuple[int, int | None]] = [(at, at) for at in range(0, 600, 7)]
    for number, (later, held, is_victim) in enumerate(turns):
        begin, peer = clock + later, A if is_victim else B
        clock = begin + held
        truth.append((begin, clock, peer))
        lines.append((begin, None if number in unread else begin))
        if number not in unread and begin >= since:
            facts.append(begun(f"r{number}", begin, peer))
    log = order_of([moment for at, moment in sorted(lines, key=lambda each: each[0]) if at >= since])
    joining = balancer(begins=True)
    coverage = joining.coverage({}, [("lb", "", (log,))])
    for begin, end, peer in truth:
        for moment in {begin, (begin + end) // 2, end}:
            asked = question(moment) if shows_near else replace(question(moment), target=None)
            (found,) = joining.answer(KEY, facts, [asked], coverage)
            assert isinstance(found, Refused) or (isinstance(found, Through) and found.peer == peer)
