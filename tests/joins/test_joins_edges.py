"""Edges of the joins that mutation testing asked for: each was a change that no other test noticed. Times in ns."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from random import Random
from typing import Any

import pytest
from clientip.joins.alignment import MAX_STEP, align
from clientip.joins.bounds import MAX_FITTING, Bounds, window
from clientip.joins.connections import MAX_ACCEPT_NS
from clientip.joins.coverage import MAX_RUNS, Coverage, Covered, Run, Runs, stitch
from clientip.joins.facts import JoinFact, JoinQuestion, conn_key, line_key, request_key, trace_key
from clientip.joins.flows import FOREVER, NEVER, Flow, Timeline, flows_of, unanswered
from clientip.joins.holders import MAX_CANDIDATES
from clientip.joins.matching import answers
from clientip.model import Address, Candidate, Numbered
from clientip.syntax.addresses import read_endpoint
from clientip.trust.answers import Answer, Awaits, Ended, Known, Refused, Site, Through
from msgspec.structs import replace

from tests.worlds.walks import system

KEY = conn_key("default", "tcp", ("198.51.100.11", 40001))
POD: Site = ("10.244.2.5", 8080)
PORT: Site = ("198.51.100.11", 30080)
A: Site = ("203.0.113.7", 51000)
B: Site = ("203.0.113.8", 52000)
BOUNDS = Bounds(tolerance=5, horizon=1000)


def told(
    record: str, begin: int | None, end: int | None, peer: Site | None = A, *, late: int = 0, **more: Any
) -> JoinFact:
    """A NAT event: whole where it shows an end, else the begin alone; `late`: width of the begin."""
    fact = JoinFact(
        KEY,
        "nodes",
        "node-a",
        record,
        "translation",
        "NEW" if end is None else "DESTROY",
        begin,
        None if begin is None else begin + late,
        end,
        0,
        POD,
        peer,
        PORT,
    )
    return replace(fact, **more)


def line(record: str, begin: int | None, end: int | None, peer: Site | None = A, **more: Any) -> JoinFact:
    """A balancer's line of a connection."""
    return told(record, begin, end, peer, **{"system": "lb", "instance": "", "role": "connection", "event": "", **more})


def asked(earliest: int | None, latest: int, **more: object) -> JoinQuestion:
    question = JoinQuestion(
        KEY, 0, 0, ("nodes",), "app", "", None, earliest, latest, None, "198.51.100.11", POD, True, None, True
    )
    return replace(question, **more)


def whole(_system: str, _source: Address | None, _low: int, _high: int, _fresh: bool) -> Covered:
    return "yes"


def nothing(_system: str, _source: Address | None, _low: int, _high: int, _fresh: bool) -> Covered:
    return "no"


def answer(
    facts: list[JoinFact], question: JoinQuestion, covered: Callable[..., Covered] = whole
) -> Answer | Awaits | None:
    return answers(question.key, facts, [question], covered, BOUNDS)[0]


def who(found: object) -> object:
    """The far end it leads to, or why there is none."""
    if isinstance(found, Through):
        return found.peer
    return found.reason if isinstance(found, Refused) else found


# Coverage: which lines make a run.


def number(count: int, at: int, session: str = "s", *, gap: bool = False) -> Numbered:
    return Numbered(session, count, at, at, gap)


def runs(*lines: Numbered) -> list[Run]:
    found = Runs()
    for each in lines:
        found.add(each)
    return found.all()


def test_nothing_read_is_no_run() -> None:
    assert runs() == []


def test_lines_that_follow_each_other_are_one_run() -> None:
    assert runs(number(1, 10), number(2, 20), number(3, 30)) == [Run("s", 1, 3, 10, 30, True)]
    assert runs(number(7, 10), number(8, 9)) == [Run("s", 7, 8, 10, 10, False)]


@pytest.mark.parametrize(
    "second", [number(2, 20, "t"), number(2, 20, gap=True), number(1, 20), number(3, 20), number(0, 20)]
)
def test_another_session_a_gap_or_any_other_number_ends_a_run(second: Numbered) -> None:
    fresh = second.gap or second.number < 2
    after = Run(second.session, second.number, second.number, 20, 20, fresh)
    assert runs(number(1, 10), second) == [Run("s", 1, 1, 10, 10, True), after]


def test_a_run_is_fresh_from_the_first_line_or_from_a_gap_on() -> None:
    assert [runs(number(count, 5))[0].fresh for count in (0, 1, 2)] == [True, True, False]
    assert runs(number(9, 5, gap=True))[0].fresh


def test_runs_of_two_sessions_or_with_a_number_between_stay_apart() -> None:
    apart = (Run("s", 1, 4, 10, 40, True), Run("s", 6, 9, 50, 90, False), Run("t", 10, 12, 95, 99, False))
    assert stitch(apart) == apart


def test_runs_of_a_later_session_are_stitched_among_themselves() -> None:
    earlier, one, two = Run("s", 1, 4, 10, 40, True), Run("t", 1, 4, 50, 60, True), Run("t", 5, 9, 70, 90, False)
    assert stitch([two, one, earlier]) == (earlier, Run("t", 1, 9, 50, 90, True))


def test_a_run_inside_another_adds_nothing() -> None:
    long, short = Run("s", 1, 9, 10, 90, True), Run("s", 3, 5, 30, 50, False)
    assert stitch([long, short]) == (long,)


def test_of_runs_with_the_same_first_line_the_fresh_one_counts() -> None:
    one, two = Run("s", 3, 9, 10, 90, False), Run("s", 3, 5, 10, 50, True)
    assert stitch([one, two]) == (Run("s", 3, 9, 10, 90, True),)
    assert stitch([two, replace(two, last=7, to_ns=70)]) == (replace(two, last=7, to_ns=70),)


def test_overlapping_runs_are_one_from_the_first_on() -> None:
    assert stitch([Run("s", 2, 6, 20, 60, False), Run("s", 4, 9, 40, 90, False)]) == (Run("s", 2, 9, 20, 90, False),)


NODE_A, NODE_B = read_endpoint("198.51.100.11"), read_endpoint("198.51.100.12")
NODES = replace(
    system("nodes", "198.51.100.0/24"),
    instances=(("node-a", (read_endpoint("10.0.0.1"), NODE_A)), ("node-b", (NODE_B,))),
)


def coverage(*of: Run, other: tuple[Run, ...] = ()) -> Coverage:
    told_of = {("nodes", "node-a"): of, ("nodes", "node-b"): other}
    return Coverage({"nodes": NODES}, {witness: each for witness, each in told_of.items() if each})


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(10, 40, "yes"), (9, 40, "no"), (10, 41, "lost"), (60, 90, "yes"), (60, 91, "no"), (41, 59, "lost")],
)
def test_a_stretch_is_covered_inside_one_run_and_lost_between_two(low: int, high: int, expected: str) -> None:
    of = coverage(Run("s", 1, 4, 10, 40, True), Run("s", 6, 9, 60, 90, False))
    assert of.of("nodes", NODE_A.address, low, high) == expected


def test_what_had_begun_earlier_is_known_only_in_a_run_that_began_with_a_list() -> None:
    of = coverage(Run("s", 1, 4, 10, 40, True), Run("s", 6, 9, 60, 90, False))
    assert of.of("nodes", NODE_A.address, 10, 40, fresh=True) == "yes"
    assert of.of("nodes", NODE_A.address, 60, 90, fresh=True) == "lost"


def test_an_address_asks_its_own_instance_and_no_address_asks_all() -> None:
    of = coverage(Run("s", 1, 4, 10, 40, True), other=(Run("t", 1, 4, 20, 40, True),))
    assert of.of("nodes", NODE_A.address, 10, 40) == "yes"
    assert of.of("nodes", NODE_B.address, 10, 40) == "no"
    assert of.of("nodes", None, 10, 40) == "no"
    assert of.of("nodes", None, 20, 40) == "yes"
    assert of.of("nodes", read_endpoint("198.51.100.99").address, 10, 40) == "no"
    assert of.of("nodes", read_endpoint("198.51.100.99").address, 20, 40) == "yes"


def test_one_instance_that_lost_lines_is_said_although_others_say_nothing() -> None:
    between = (Run("t", 1, 4, 10, 20, True), Run("t", 6, 9, 30, 50, True))
    assert coverage(Run("s", 1, 4, 25, 40, True), other=between).of("nodes", None, 22, 28) == "lost"


def test_who_has_no_numbered_line_covers_nothing() -> None:
    assert coverage().of("nodes", NODE_A.address, 10, 40) == "no"
    assert coverage().of("nodes", None, 10, 40) == "no"
    assert coverage(other=(Run("t", 1, 4, 10, 40, True),)).of("nodes", NODE_A.address, 10, 40) == "no"


def test_the_operators_word_covers_all_time() -> None:
    of = Coverage({"nodes": replace(NODES, lossless=True)}, {})
    assert of.of("nodes", None, NEVER, FOREVER, fresh=True) == "word"


# Flows: who held the connection from when to when.


def span(each: Flow) -> tuple[str, int, int, int, int, bool]:
    return each.fact.record, each.begin, each.begin_latest, each.end_earliest, each.end, each.solid


def spans(*facts: JoinFact) -> list[tuple[str, int, int, int, int, bool]]:
    """The flows, which are the same for every order of the facts."""
    found = {tuple(span(each) for each in flows_of(some)) for some in permutations(facts)}
    assert len(found) == 1
    return list(found.pop())


def test_the_ends_of_time_are_those_of_64_bits() -> None:
    assert (NEVER, FOREVER) == (-(1 << 63), (1 << 63) - 1)


def test_a_connection_line_is_a_flow_that_is_never_solid() -> None:
    assert spans(line("c", 10, 30, late=2, slack=3)) == [("c", 10, 12, 27, 33, False)]
    assert spans(line("c", 10, None)) == [("c", 10, 10, 10, FOREVER, False)]
    assert spans(line("c", None, 30)) == [("c", NEVER, 30, 30, 30, False)]
    assert spans(line("c", None, 30, begin_latest=20)) == [("c", NEVER, 20, 30, 30, False)]
    assert spans(line("c", None, None)) == [("c", NEVER, FOREVER, NEVER, FOREVER, False)]


def test_a_whole_event_is_solid_and_supersedes_its_begin() -> None:
    over = told("b", 10, 30, late=2, slack=1)
    assert spans(over) == [("b", 10, 12, 29, 31, True)]
    for begin in (8, 10, 12):
        assert spans(told("a", begin, None, late=2, assured=None), over) == [("b", 10, 12, 29, 31, True)]


@pytest.mark.parametrize("more", [{"begin": 7}, {"begin": 13}, {"peer": B}, {"local": POD}])
def test_a_begin_at_another_time_or_of_another_holder_is_another_flow(more: dict[str, Any]) -> None:
    begun = replace(told("a", 10, None, late=2), **more)
    begun = replace(begun, begin_latest=(begun.begin or 0) + 2)
    found = spans(begun, told("b", 10, 30, late=2))
    assert [each[0] for each in found] in (["a", "b"], ["b", "a"])


def test_a_listed_flow_is_a_whole_one_that_was_alive_then() -> None:
    over = told("b", 10, 30, slack=1)
    for alive in (10, 20, 31):
        listed = told("a", None, None, event="LIST", begin_latest=alive)
        assert spans(listed, over) == [("b", 10, 10, 29, 31, True)]
    for elsewhere in (9, 32):
        listed = told("a", None, None, event="LIST", begin_latest=elsewhere)
        assert len(spans(listed, over)) == 2


def test_of_several_whole_flows_the_one_that_was_alive_counts() -> None:
    whole_ones = told("b", 10, 20), told("c", 40, 50)
    for alive, count in ((9, 3), (15, 2), (30, 3), (45, 2), (51, 3)):
        assert len(spans(told("a", None, None, event="LIST", begin_latest=alive), *whole_ones)) == count


def test_the_end_of_a_whole_flow_once_more_is_nothing_new() -> None:
    over = told("b", 10, 30, slack=1)
    for end in (10, 30, 33):
        assert len(spans(told("c", None, end, slack=2), over)) == 1
    for end in (9, 34):
        assert len(spans(told("c", None, end, slack=2), over)) == 2
    assert len(spans(told("c", None, 30, B), over)) == 2


def test_only_the_kernels_destroy_shows_a_flow_whole() -> None:
    for event in ("UPDATE", "LIST"):
        assert [each[-1] for each in spans(told("b", 10, 30, event=event))] == [False]


def test_a_flow_that_no_side_answered_is_none_but_ends_the_one_before() -> None:
    silent = told("b", 50, 60, B, assured=False)
    assert spans(told("a", 10, None), silent) == [("a", 10, 10, 10, 50, False)]
    assert spans(told("a", 50, None, B), silent) == []
    assert spans(told("a", 50, 40, B, assured=False)) == []
    assert [each[-1] for each in spans(told("b", 50, 60, B, assured=None))] == [True]


def test_a_begin_and_an_end_of_one_holder_are_a_flow_but_not_solid() -> None:
    assert spans(told("a", 10, None, late=2), told("b", None, 30, slack=1)) == [("a", 10, 12, 12, 31, False)]
    assert spans(told("a", 10, None), told("b", None, 10)) == [("a", 10, 10, 10, 10, False)]


def test_an_end_closes_every_begin_of_its_holder_before_it_and_none_after() -> None:
    found = spans(told("a", 10, None), told("b", 20, None), told("c", None, 25), told("d", 30, None))
    assert found == [
        ("a", 10, 10, 10, 25, False),
        ("b", 20, 20, 20, 25, False),
        ("d", 30, 30, 30, FOREVER, False),
    ]
    two = spans(told("a", 10, None), told("b", None, 20), told("c", 30, None), told("d", None, 40))
    assert two == [("a", 10, 10, 10, 20, False), ("c", 30, 30, 30, 40, False)]
    again = spans(told("a", 10, None), told("b", None, 20), told("d", None, 40))
    assert again == [("d", NEVER, 40, 40, 40, False), ("a", 10, 10, 10, 20, False)]


def test_whole_flows_neither_close_others_nor_are_closed() -> None:
    assert spans(told("a", 10, None), told("b", 20, 30)) == [("a", 10, 10, 10, 20, False), ("b", 20, 20, 30, 30, True)]
    assert spans(told("a", 10, 30), told("b", None, 50)) == [
        ("b", NEVER, 50, 50, 50, False),
        ("a", 10, 10, 30, 30, True),
    ]


def test_a_listed_flow_is_closed_by_its_end() -> None:
    listed = told("a", None, None, event="LIST", begin_latest=20)
    assert spans(listed, told("b", None, 30)) == [("a", NEVER, 20, 20, 30, False)]


def test_a_destroy_that_shows_no_end_is_a_begin() -> None:
    for assured in (True, False):
        open_ended = told("a", 10, None, event="DESTROY", assured=assured)
        assert spans(open_ended) == [("a", 10, 10, 10, FOREVER, False)]


def test_an_end_of_another_holder_closes_nothing() -> None:
    assert spans(told("a", 10, None), told("b", None, 30, B)) == [
        ("b", NEVER, 30, 30, 30, False),
        ("a", 10, 10, 10, FOREVER, False),
    ]


def test_an_open_flow_lasts_until_the_latest_begin_of_the_next() -> None:
    first, same = told("a", 10, None, late=2), told("b", 12, None, B, late=9)
    later = told("c", 13, None, B, late=4)
    assert spans(first, later)[0] == ("a", 10, 12, 12, 17, False)
    assert spans(first, same)[0] == ("a", 10, 12, 12, FOREVER, False)
    assert spans(first, told("d", None, 40, B))[1] == ("a", 10, 12, 12, FOREVER, False)
    assert spans(first, told("c", 13, 90, B, late=4))[0] == ("a", 10, 12, 12, 17, False)


@pytest.mark.parametrize("more", [{"system": "others"}, {"instance": "node-b"}, {"target": ("10.244.2.6", 8080)}])
def test_flows_of_other_tellers_or_near_ends_do_not_touch_each_other(more: dict[str, Any]) -> None:
    assert spans(told("a", 10, None), told("b", 20, None, B, **more))[0] == ("a", 10, 10, 10, FOREVER, False)


def test_a_translation_without_event_shows_its_flow_as_it_is() -> None:
    assert spans(told("a", 10, 30, event=""), told("b", 20, 40, B, event="")) == [
        ("a", 10, 10, 30, 30, False),
        ("b", 20, 20, 40, 40, False),
    ]


def test_only_events_bound_each_other() -> None:
    for make in (line, told):
        assert spans(make("a", 10, None, event=""), make("b", 20, None, B, event="")) == [
            ("a", 10, 10, 10, FOREVER, False),
            ("b", 20, 20, 20, FOREVER, False),
        ]


def test_equal_flows_are_one_the_solid_one_or_that_with_the_smaller_record() -> None:
    assert [each[0] for each in spans(told("b", 10, 30), told("a", 10, 30))] == ["a"]
    assert spans(told("b", 10, 30), told("a", 10, 30, event="")) == [("b", 10, 10, 30, 30, True)]
    requests = (told("a", 10, 30, role="request", event=""), told("b", 10, 30, role="request", event=""))
    assert [each[0] for each in spans(*requests)] == ["a", "b"]


def test_flows_without_an_answer_are_those_that_say_so_and_ended() -> None:
    facts = [
        told(f"{assured}-{end}", 10, end, assured=assured) for assured in (True, False, None) for end in (30, None)
    ]
    assert [span(each) for each in unanswered(facts)] == [("False-30", 10, 10, 30, 30, False)]


def test_a_timeline_finds_what_looking_at_all_would_find() -> None:
    dice = Random(1)
    for size in (0, 1, 2, 3, 4, 5, 8, 9, 17):
        held = [(dice.randrange(20), dice.randrange(20), n) for n in range(size)]
        timeline = Timeline(held)
        for low in range(-1, 21):
            for high in range(low, 21):
                rising = sorted(held, key=lambda each: each[0])
                expected = [n for begin, end, n in rising if begin <= high and max(begin, end) >= low]
                assert list(timeline.between(low, high)) == expected
                assert timeline.count(low, high) == len(expected)


# Order: the asker's numbers against the flows.


def flow(record: str, begin: int, end: int, late: int = 0, peer: Site = A) -> Flow:
    return Flow(told(record, begin, end, peer), begin, begin + late, end, end, True)


def ordered(*of: tuple[int | None, int | None, int, list[Flow]], tolerance: int = 5) -> list[str | None]:
    """(serial, earliest, latest, fitting flows) of each question → the record found for it."""
    questions = [asked(earliest, latest, serial=serial) for serial, earliest, latest, _ in of]
    found = align(questions, [fits for *_, fits in of], tolerance)
    return [None if each is None else each.fact.record for each in found]


F, G, H = flow("f", 10, 19), flow("g", 20, 29), flow("h", 30, 39)


def test_each_number_takes_the_flow_that_order_leaves() -> None:
    assert ordered((1, 15, 15, [F, G]), (2, 16, 16, [F, G])) == ["f", "g"]
    assert ordered((2, 16, 16, [F, G]), (1, 15, 15, [F, G])) == ["g", "f"]
    assert ordered((1, 15, 15, [F, G, H]), (2, 25, 25, [F, G, H]), (3, 35, 35, [F, G, H])) == ["f", "g", "h"]


def test_one_more_flow_than_numbers_leaves_it_open() -> None:
    assert ordered((1, 15, 15, [F, G]), (2, 25, 25, [F, G, H])) == [None, None]
    assert ordered((1, 15, 15, [F, G]), (2, 25, 25, [G, H]), (3, 26, 26, [G, H])) == ["f", "g", "h"]


def test_all_requests_of_one_number_are_on_one_flow() -> None:
    assert ordered((1, 15, 15, [F, G]), (1, 25, 25, [G, H])) == ["g", "g"]


def test_numbers_that_cannot_be_laid_over_the_flows_are_not() -> None:
    assert ordered((1, 15, 15, [F]), (2, 16, 16, [F])) == [None, None]
    assert ordered((1, 15, 15, [F, G]), (2, 16, 16, [F, G]), (3, 17, 17, [F, G])) == [None, None, None]
    assert ordered((1, 15, 15, [F, G]), (2, 16, 16, [F]), (3, 35, 35, [H])) == [None, None, None]


def test_without_a_number_or_without_a_flow_order_says_nothing() -> None:
    assert ordered((None, 15, 15, [F])) == [None]
    assert ordered((1, 15, 15, [])) == [None]
    assert ordered((1, 15, 15, [F]), (2, 16, 16, []), (3, 17, 17, [G])) == ["f", None, "g"]


@pytest.mark.parametrize(
    "second", [flow("g", 10, 29), flow("g", 10, 29, late=5), flow("g", 11, 29), flow("g", 9, 29, late=4)]
)
def test_flows_of_which_the_first_cannot_be_said_have_no_order(second: Flow) -> None:
    first = flow("f", 10, 19, late=1)
    assert ordered((1, 15, 15, [first, second]), (2, 16, 16, [first, second])) == [None, None]


@pytest.mark.parametrize(("step", "found"), [(MAX_STEP, ["f", "g"]), (MAX_STEP + 1, [None, None])])
def test_numbers_too_far_apart_were_not_counted_together(step: int, found: list[str | None]) -> None:
    assert MAX_STEP == 10_000
    assert ordered((1, 15, 15, [F, G]), (1 + step, 16, 16, [F, G])) == found


def test_how_far_numbers_are_apart_counts_from_one_to_the_next() -> None:
    many, two = [F, G, H], [F, G]
    steps = (1, 1 + MAX_STEP, 1 + 2 * MAX_STEP)
    assert ordered(*((step, 15, 15, many) for step in steps)) == ["f", "g", "h"]
    assert ordered((1, 15, 15, [H]), (20_000, 15, 15, two), (20_001, 16, 16, two)) == ["h", "f", "g"]


@pytest.mark.parametrize(("second", "found"), [(90, ["f", "g"]), (89, [None, None])])
def test_a_higher_number_at_an_earlier_time_was_counted_anew(second: int, found: list[str | None]) -> None:
    assert ordered((1, 100, 105, [F, G]), (2, 80, second, [F, G])) == found


def test_the_last_request_on_a_number_is_before_the_first_on_the_next() -> None:
    fits = [F, G]
    assert ordered((1, 70, 75, fits), (1, 100, 105, fits), (2, 110, 115, fits), (2, 80, 89, fits)) == [None] * 4


def test_a_request_of_unknown_begin_counts_no_number_anew() -> None:
    assert ordered((1, None, 105, [F, G]), (2, 0, 0, [F, G]), tolerance=0) == ["f", "g"]
    assert ordered((1, None, 105, [F, G]), (1, 100, 105, [F, G]), (2, 80, 89, [F, G])) == [None] * 3


@pytest.mark.parametrize("more", [{"system": "b"}, {"instance": "b"}, {"target": PORT}])
def test_numbers_of_other_counters_are_not_compared(more: dict[str, Any]) -> None:
    questions = [asked(15, 15, serial=1), asked(16, 16, serial=2, **more)]
    assert align(questions, [[F, G], [F, G]], 5) == [None, None]


# Which flows a question fits.


def test_the_window_holds_the_tolerance_and_for_an_unknown_begin_the_horizon() -> None:
    assert window(asked(100, 200), BOUNDS) == (95, 205)
    assert window(asked(None, 2000), BOUNDS) == (995, 2005)


@pytest.mark.parametrize(
    ("begin", "end", "fits"), [(105, 150, True), (106, 150, False), (50, 95, True), (50, 94, False)]
)
def test_a_flow_fits_that_touches_the_window(begin: int, end: int, fits: bool) -> None:
    found = answer([told("a", begin, end)], asked(100, 100))
    missing = "contradiction" if begin > 100 else "evidence_missing"  # just before the connection that carried it
    assert who(found) == (A if fits else missing)


def test_flows_of_a_system_that_was_not_asked_do_not_fit() -> None:
    assert who(answer([told("a", 50, 150, system="others")], asked(100, 100, nat=False))) == "evidence_missing"


@pytest.mark.parametrize(
    ("target", "of", "fits"),
    [
        (POD, POD, True),
        (None, POD, True),
        (POD, None, True),
        (("10.244.2.5", None), POD, True),
        (POD, ("10.244.2.5", None), True),
        (("10.244.2.6", None), POD, False),
        (("10.244.2.5", 8081), POD, False),
        (("10.244.2.6", 8080), POD, False),
    ],
)
def test_ends_that_are_not_said_agree_with_all(target: Site | None, of: Site | None, fits: bool) -> None:
    found = answer([told("a", 50, 150, target=of)], asked(100, 100, target=target, nat=False))
    assert who(found) == (A if fits else "evidence_missing")


def test_what_a_balancer_says_of_another_near_end_is_about_another_server() -> None:
    """Somebody may hold the connection to this one open, so that no line of it exists yet."""
    other, this = line("a", 50, 150, B, target=PORT), line("b", 50, 150)
    question = asked(100, 100, witnesses=("lb",), nat=False)
    assert who(answer([other], question)) == "evidence_missing"
    assert who(answer([other, this], question)) == A


@pytest.mark.parametrize("front", [PORT, (PORT[0], None)])
def test_what_a_balancer_says_of_an_address_that_leads_here_counts(front: Site) -> None:
    question = asked(100, 100, witnesses=("lb",), nat=False, fronts=(("198.51.100.99", 1), front))
    assert who(answer([line("a", 50, 150, B, target=PORT)], question)) == B
    assert who(answer([line("a", 50, 150, B, target=(PORT[0], 1 + (PORT[1] or 0)))], question)) == (
        B if front[1] is None else "evidence_missing"
    )


def test_two_connections_that_may_both_lead_here_name_nobody() -> None:
    question = asked(100, 100, witnesses=("lb",), nat=False, fronts=(PORT,))
    assert who(answer([line("a", 50, 150, B, target=PORT), line("b", 50, 150)], question)) == "ambiguous"


def test_a_node_shows_both_sides_of_a_translation_so_fronts_say_nothing_of_it() -> None:
    question = asked(100, 100, nat=False, fronts=(PORT,))
    assert who(answer([told("a", 50, 150, target=PORT)], question)) == "evidence_missing"


def test_what_a_node_says_of_another_near_end_never_counts() -> None:
    assert who(answer([told("a", 50, 150, target=PORT)], asked(100, 100, nat=False))) == "evidence_missing"


# Certain.


@pytest.mark.parametrize(
    ("earliest", "latest", "certain"), [(57, 145, True), (56, 100, False), (100, 146, False), (None, 100, False)]
)
def test_a_request_is_certain_inside_a_whole_flow_by_the_tolerance(
    earliest: int | None, latest: int, certain: bool
) -> None:
    found = answer([told("a", 50, 151, late=2, slack=1)], asked(earliest, latest), nothing)
    assert who(found) == (A if certain else "evidence_incomplete")


@pytest.mark.parametrize("target", [None, ("10.244.2.5", None)])
def test_without_the_near_end_of_its_connection_no_request_is_certain(target: Site | None) -> None:
    assert who(answer([told("a", 50, 150)], asked(100, 100, target=target), nothing)) == "evidence_incomplete"
    assert who(answer([told("a", 50, 150, target=target)], asked(100, 100, target=target), nothing)) == (
        "evidence_incomplete"
    )


def test_two_certain_holders_contradict_each_other_whatever_the_order_of_connections() -> None:
    facts = [told("a", 50, 150), told("b", 51, 151, B)]
    first, second = asked(100, 100, serial=1), asked(100, 100, serial=2)
    found = answers(KEY, facts, [first, second], whole, BOUNDS)
    assert [who(each) for each in found] == ["contradiction", "contradiction"]
    assert isinstance(found[0], Refused)
    assert [each.record for each in found[0].candidates] == ["a", "b"]


def test_a_certain_answer_needs_no_other_flow_to_be_away() -> None:
    facts = [told("a", 50, 150), *(told(f"b{n:03}", 96 + n, None, B, event="LIST") for n in range(9))]
    assert who(answer(facts, asked(100, 100), nothing)) == A


# Complete.


@pytest.mark.parametrize(("count", "reason"), [(MAX_FITTING, "ambiguous"), (MAX_FITTING + 1, "crowded")])
def test_too_many_flows_in_one_moment_are_crowded(count: int, reason: str) -> None:
    assert MAX_FITTING == 256
    facts = [line(f"{n:04}", 50, 150, ("203.0.113.9", n)) for n in range(count)]
    assert who(answer(facts, asked(100, 100, witnesses=("lb",)))) == reason


def test_one_connection_of_many_requests_at_a_time_names_nobody_by_a_request_line() -> None:
    request = line("a", 50, 150, None, role="request", ended=ENDED)
    question = asked(100, 100, witnesses=("lb",), http1=False)
    assert who(answer([request], question)) == "multiplexed"
    assert who(answer([line("a", 50, 150)], question)) == A
    assert who(answer([line("b", 50, 150), request], question)) == "multiplexed"


@pytest.mark.parametrize(
    ("states", "reason"),
    [
        ("yes yes", None),
        ("word word", None),
        ("yes word", None),
        ("yes lost", "events_lost"),
        ("no lost", "events_lost"),
        ("yes no", "evidence_incomplete"),
        ("word no", "evidence_incomplete"),
    ],
)
def test_every_teller_must_have_told_everything(states: str, reason: str | None) -> None:
    of = dict(zip(("lb", "other"), states.split(), strict=True))

    def covered(system: str, *_: object) -> Covered:
        return of[system]  # type: ignore[return-value]

    found = answer([line("a", 50, 150)], asked(100, 100, witnesses=("lb", "other")), covered)
    assert who(found) == (reason or A)
    if reason:
        assert isinstance(found, Refused)
        assert found.candidates == (Candidate(*A, "connection_log", "a"),)


@pytest.mark.parametrize(
    ("facts", "target", "expected"),
    [
        ([told("a", 50, 101)], POD, (95, 105, False)),
        ([told("a", 50, None)], POD, (50, 105, False)),
        ([told("a", 99, None)], POD, (95, 105, False)),
        ([told("a", None, 101)], POD, (95, 105, True)),
        ([told("a", 50, 101)], None, (95, 105, True)),
        ([told("a", 50, 101), told("b", 60, 110, B, target=("10.244.2.5", None))], POD, (95, 105, True)),
        ([told("a", 60, None, B), told("b", 50, 101, instance="node-b")], POD, (60, 105, False)),
        ([], POD, (95, 105, True)),
    ],
)
def test_what_must_have_been_told_whole(
    facts: list[JoinFact], target: Site | None, expected: tuple[int, int, bool]
) -> None:
    """From where on; and whether also what began earlier, because it could have gone on beside."""
    met = []

    def covered(system: str, source: Address | None, low: int, high: int, fresh: bool) -> Covered:
        assert source is not None
        met.append((system, source.text, low, high, fresh))
        return "no"

    answer(facts, asked(100, 100, target=target), covered)
    assert met == [("nodes", "198.51.100.11", *expected)]


def test_flows_of_one_holder_are_one_answer_with_the_smallest_record() -> None:
    found = answer([told("b", 50, 98), told("a", 99, 150)], asked(100, 100))
    assert found == Through("nodes", A, PORT, "conntrack", "a")


@pytest.mark.parametrize("more", [{"peer": B}, {"local": POD}, {"own": True}, {"system": "lb"}])
def test_holders_differ_in_either_end_the_teller_or_that_it_spoke_for_itself(more: dict[str, Any]) -> None:
    facts = [told("a", 50, None), told("b", 99, None, **{"instance": "node-b", **more})]
    assert who(answer(facts, asked(100, 100, witnesses=("nodes", "lb")))) == "ambiguous"


def test_what_a_line_proves_is_named_after_its_log() -> None:
    """And whether the end it shows was stated, or is the teller's own."""
    for fact, method in (
        (told("a", 50, 150), "conntrack"),
        (told("a", 50, 150, event=""), "flow_record"),
        (line("a", 50, 150, system="nodes"), "connection_log"),
    ):
        assert answer([fact], asked(100, 100)) == Through("nodes", A, PORT, method, "a")
        found = answer([replace(fact, stated=True, own=True)], asked(100, 100))
        assert found == Through("nodes", A, PORT, method, "a", True, True)


def test_candidates_are_named_after_the_log_that_shows_them() -> None:
    for fact, method in ((told("a", 50, 150), "conntrack"), (line("a", 50, 150, system="nodes"), "connection_log")):
        found = answer([fact], asked(None, 100), nothing)
        assert found == Refused("evidence_incomplete", (Candidate(*A, method, "a"),))


def test_a_line_that_does_not_show_its_own_peer_ends_the_walk() -> None:
    assert answer([told("a", 50, 150, None)], asked(100, 100)) == Refused("peer_not_logged")


# Silence.


@pytest.mark.parametrize(
    ("begin", "end", "reason"),
    [
        (MAX_ACCEPT_NS + 105, MAX_ACCEPT_NS + 106, "evidence_missing"),
        (MAX_ACCEPT_NS + 106, MAX_ACCEPT_NS + 107, None),
        (-2 * MAX_ACCEPT_NS, 95 - MAX_ACCEPT_NS, "evidence_missing"),
        (-2 * MAX_ACCEPT_NS, 94 - MAX_ACCEPT_NS, "evidence_missing"),
    ],
)
def test_silence_of_nat_is_its_own_request_unless_the_port_was_ever_translated_before_or_soon_after(
    begin: int, end: int, reason: str | None
) -> None:
    assert MAX_ACCEPT_NS == 60_000_000_000
    found = answer([told("a", begin, end)], asked(100, 100, witnesses=("nodes", "lb")))
    own = Through("nodes", ("198.51.100.11", 40001), None, "conntrack", "", own=True)
    assert found == (Refused(reason) if reason else own)


def test_silence_of_others_or_by_the_operators_word_is_nobody() -> None:
    assert who(answer([], asked(100, 100, nat=False))) == "evidence_missing"
    assert who(answer([], asked(100, 100), lambda *_: "word")) == "evidence_missing"


# Order where times leave several.


def test_order_decides_only_where_several_fit_and_all_that_fits_is_known() -> None:
    facts = [told("a", 50, 99), told("b", 100, 150, B)]
    first, second = asked(99, 99, serial=1), asked(100, 100, serial=2)
    assert [who(each) for each in answers(KEY, facts, [first, second], whole, BOUNDS)] == [A, B]
    assert [who(each) for each in answers(KEY, facts, [first, second], nothing, BOUNDS)] == ["evidence_incomplete"] * 2
    assert [who(each) for each in answers(KEY, facts, [first], whole, BOUNDS)] == ["ambiguous"]
    assert [who(each) for each in answers(KEY, facts, [first, second, asked(100, 100)], whole, BOUNDS)] == [
        A,
        B,
        "ambiguous",
    ]


def test_order_does_not_take_the_place_of_an_answer() -> None:
    facts = [told("b", 50, 98), told("a", 99, 102), told("c", 103, 150, B)]
    questions = [asked(96, 96, serial=1), asked(97, 97, serial=2), asked(99, 99, serial=3)]
    found = answers(KEY, facts, questions, whole, BOUNDS)
    assert [each.record for each in found if isinstance(each, Through)] == ["a", "a", "c"]


@pytest.mark.parametrize("more", [{"role": "connection", "event": ""}, {"target": ("10.244.2.5", None)}])
def test_order_counts_only_translations_with_all_four_ends(more: dict[str, Any]) -> None:
    facts = [told("a", 50, 99), told("b", 100, 150, B, **more)]
    questions = [asked(99, 99, serial=1), asked(100, 100, serial=2)]
    assert [who(each) for each in answers(KEY, facts, questions, whole, BOUNDS)] == ["ambiguous"] * 2


def test_a_request_about_which_not_all_is_known_takes_no_place_in_the_order() -> None:
    """It may have come over a flow that nobody told, and then the next one is not on the second."""
    facts = [told("a", 50, 99), told("b", 100, 150, B)]
    questions = [asked(52, 52, serial=1), asked(99, 99, serial=2)]

    def covered(_system: str, _source: Address | None, low: int, _high: int, _fresh: bool) -> Covered:
        return "yes" if low > 90 else "no"

    found = answers(KEY, facts, questions, covered, BOUNDS)
    assert [who(each) for each in found] == ["evidence_incomplete", "ambiguous"]


def test_one_question_that_cannot_be_ordered_does_not_keep_others_from_it() -> None:
    facts = [told("a", 50, 99), told("b", 100, 150, B)]
    other = asked(100, 100, serial=3, witnesses=("lb",))
    questions = [other, asked(99, 99, serial=1), asked(100, 100, serial=2)]
    assert [who(each) for each in answers(KEY, facts, questions, whole, BOUNDS)][1:] == [A, B]


# Candidates.


def test_candidates_are_few_each_once_and_in_a_fixed_order() -> None:
    assert MAX_CANDIDATES == 4
    facts = [told(f"{n}", 50 + n, 150, ("203.0.113.9", n or None)) for n in range(6)]
    facts += [told("own", 57, 150, B, own=True), told("none", 57, 150, None)]
    found = answer(facts, asked(52, 140), nothing)
    assert isinstance(found, Refused)
    assert [(each.port, each.record, each.method) for each in found.candidates] == [
        (None, "0", "conntrack"),
        (1, "1", "conntrack"),
        (2, "2", "conntrack"),
        (3, "3", "conntrack"),
    ]


def test_of_a_request_line_the_candidate_is_its_client() -> None:
    facts = [
        line("a", 50, 150, B, role="request", ended=ENDED),
        line("b", 50, 150, B, role="request", ended=None),
        line("c", 50, 150, B, role="request", ended=replace(ENDED, client=None)),
    ]
    found = answer(facts, asked(100, 100, witnesses=("lb",)), nothing)
    assert isinstance(found, Refused)
    assert found.candidates == (Candidate(*A, "connection_log", "a"),)


# Request lines, ids and traces.

ENDED = Ended("seen", A, "socket", None, (), None)
NOBODY = Ended("unknown", None, None, "header_missing", (), "lb")
ID, TRACE = request_key("x-request-id", "b3f1"), trace_key("4bf92f3577b34da6a3ce929d0e0e4736")


def served(record: str, begin: int | None, end: int | None, ended: Ended | None = ENDED, **more: object) -> JoinFact:
    """A request line that tells an id."""
    fact = JoinFact(ID, "ingress", "", record, "request", "", begin, begin, end, 0, minted=True, ended=ended)
    return replace(fact, **more)


def called(latest: int, **more: object) -> JoinQuestion:
    """A question to witnesses that pass on no id but those that they log."""
    question = replace(JoinQuestion(ID, 0, 0, ("ingress",), "app", "", None, latest, latest, None), **more)
    return replace(question, passing=question.witnesses)


def known(record: str, ended: Ended = ENDED, method: str = "request_id", system: str = "ingress") -> Known:
    return Known(system, ended, method, record)


def test_a_request_line_answers_a_connection_with_its_own_end() -> None:
    fact = line("a", 50, 150, None, role="request", ended=ENDED)
    question = asked(100, 100, witnesses=("lb",))
    assert answer([fact], question) == known("a", method="connection_log", system="lb")
    assert answer([replace(fact, ended=None)], question) == Awaits("lb", "connection_log", "a")


def test_request_lines_of_one_client_are_one_answer_unless_they_are_of_unknown_end() -> None:
    question = asked(100, 100, witnesses=("lb",))

    def both(one: Ended | None, other: Ended | None) -> object:
        facts = [line(name, 50, 150, None, role="request", ended=each) for name, each in (("b", one), ("a", other))]
        return who(answer(facts, question))

    assert both(ENDED, ENDED) == known("a", method="connection_log", system="lb")
    for other in (replace(ENDED, client=B), replace(ENDED, verdict="internal"), None, NOBODY):
        assert both(ENDED, other) == "ambiguous"
    assert both(None, None) == both(NOBODY, NOBODY) == "ambiguous"


def test_a_line_that_is_awaited_answers_with_its_end() -> None:
    key = line_key("a")
    facts = [served("b", 1, 2, NOBODY), served("a", 1, 2), served("A", 1, 2, None)]
    assert answers(key, facts, [called(9, key=key)] * 2, nothing, BOUNDS) == [known("a", method="")] * 2
    assert answers(key, facts[2:], [called(9, key=key)], nothing, BOUNDS) == [None]
    assert answers(key, [], [called(9, key=key)], nothing, BOUNDS) == [None]


@pytest.mark.parametrize(
    ("begin", "end", "at", "within"),
    [
        (2105, 2200, 2100, True),
        (2106, 2200, 2100, False),
        (2000, 2092, 2100, True),
        (2000, 2091, 2100, False),
        (None, 3105, 2100, True),
        (None, 3106, 2100, False),
        (1000, None, 2008, True),
        (1000, None, 2009, False),
    ],
)
def test_an_id_answers_while_its_request_was_served(begin: int | None, end: int | None, at: int, within: bool) -> None:
    found = answer([served("a", begin, end, slack=3)], called(at))
    assert found == (known("a") if within else Refused("evidence_missing"))


def test_a_line_without_any_time_was_served_about_the_beginning_of_time() -> None:
    fact = served("a", None, None, begin_latest=None)
    assert answer([fact], called(1005)) == known("a")
    assert answer([fact], called(1006)) == Refused("evidence_missing")


def test_ids_and_traces_are_named_as_such() -> None:
    trace = replace(served("a", 50, 150), key=TRACE)
    assert answer([trace], called(100, key=TRACE)) == known("a", method="trace")
    assert answer([replace(trace, ended=None)], called(100, key=TRACE)) == Awaits("ingress", "trace", "a")
    for key, method in ((ID, "request_id"), (TRACE, "trace")):
        kept = replace(served("a", 50, 150), key=key, minted=False)
        found = answer([kept], called(100, key=key), nothing)
        assert found == Refused("evidence_incomplete", (Candidate(*A, method, "a"),))


@pytest.mark.parametrize(
    ("fact", "more", "expected"),
    [
        (served("a", 50, 150, slack=2, minted=False), {}, (50, 152)),
        (served("a", 99, 101, slack=2, minted=False), {}, (95, 105)),
        (served("a", None, 101, minted=False), {}, (95, 105)),
        (served("a", 99, None, minted=False, slack=7), {}, (95, 112)),
        (served("a", 99, 101, minted=False), {"end": 300}, (95, 300)),
    ],
)
def test_a_kept_id_needs_all_that_was_told_of_the_time_of_both(
    fact: JoinFact, more: dict[str, Any], expected: tuple[int, int]
) -> None:
    met = []

    def covered(system: str, source: Address | None, low: int, high: int, fresh: bool) -> Covered:
        met.append((system, source, low, high, fresh))
        return "word"

    assert answer([fact], called(100, **more), covered) == known("a")
    assert met == [("ingress", None, *expected, True)]


def test_one_kept_id_among_minted_ones_is_kept() -> None:
    facts = [served("a", 50, 150), served("b", 50, 150, minted=False)]
    assert answer(facts[:1], called(100), nothing) == known("a")
    assert who(answer(facts, called(100), nothing)) == "evidence_incomplete"


@pytest.mark.parametrize(("count", "reason"), [(MAX_FITTING, "ambiguous"), (MAX_FITTING + 1, "crowded")])
def test_too_many_requests_under_one_id_are_crowded(count: int, reason: str) -> None:
    facts = [served(f"{n:04}", 50, 150, replace(ENDED, client=("203.0.113.9", n))) for n in range(count)]
    assert who(answer(facts, called(100))) == reason


def test_several_clients_of_one_id_are_candidates() -> None:
    facts = [served("a", 50, 150), served("b", 50, 150, replace(ENDED, client=B))]
    found = answer(facts, called(100))
    assert found == Refused("ambiguous", (Candidate(*A, "request_id", "a"), Candidate(*B, "request_id", "b")))


# Spans.


def traced(record: str, span: str, ended: Ended | None = ENDED, **more: object) -> JoinFact:
    return served(record, 50, 150, ended, key=TRACE, span=span, minted=False, **more)


def inner(span: str, parent: str) -> JoinFact:
    return JoinFact(TRACE, "ingress", "", f"l-{span}", "link", "", 0, 0, 0, 0, span=span, parent=parent)


def by_span(facts: list[JoinFact], parent: str | None) -> object:
    return who(answer(facts, called(100, key=TRACE, parent=parent), nothing))


def test_the_calling_span_is_followed_outward_seven_times() -> None:
    facts = [traced("a", "s0"), traced("b", "t", replace(ENDED, client=B))]
    facts += [inner(f"s{n}", f"s{n - 1}") for n in range(1, 9)]
    for n in range(8):
        assert by_span(facts, f"s{n}") == known("a", method="trace")
    assert by_span(facts, "s8") == "ambiguous"
    assert by_span(facts, None) == by_span(facts, "x") == "ambiguous"
    assert by_span(facts, "t") == known("b", replace(ENDED, client=B), method="trace")


def test_two_clients_under_one_span_are_nobody() -> None:
    facts = [traced("b", "s"), traced("a", "s")]
    assert by_span(facts, "s") == known("a", method="trace")
    assert by_span([*facts, traced("c", "s", replace(ENDED, client=B))], "s") == "ambiguous"


def test_a_span_of_another_time_or_of_another_system_calls_nobody() -> None:
    later = replace(traced("a", "s"), begin=500, end=600)
    assert by_span([later], "s") == "evidence_missing"
    other = replace(traced("a", "s"), system="other")
    assert by_span([other], "s") == "evidence_missing"


def test_a_span_that_two_links_lead_to_different_callers_leads_nowhere() -> None:
    facts = [traced("a", "s"), traced("b", "t", replace(ENDED, client=B)), inner("u", "s"), inner("u", "t")]
    assert by_span(facts, "u") == by_span(facts[::-1], "u") == "ambiguous"


# What several tellers say together.


def together(*ends: Ended | str | None) -> object:
    """The answer where each teller in turn ended so; a word: it says no more than that."""
    names = tuple(f"t{n}" for n in range(len(ends)))
    facts = []
    for name, each in zip(names, ends, strict=True):
        if each == "ambiguous":
            facts += [
                served(f"{name}-{n}", 50, 150, replace(ENDED, client=("203.0.113.9", n)), system=name) for n in (1, 2)
            ]
        elif each == "evidence_incomplete":
            facts.append(served(f"{name}", 50, 150, system=name, minted=False))
        elif not isinstance(each, str):
            facts.append(served(name, 50, 150, each, system=name))
    return who(answer(facts, called(100, witnesses=names), nothing))


def test_tellers_that_know_must_agree_and_the_nearest_is_named() -> None:
    assert together(ENDED, ENDED) == known("t0", system="t0")
    assert together(ENDED, replace(ENDED, client=(A[0], 9))) == known("t0", system="t0")
    assert together(ENDED, replace(ENDED, client=B)) == "contradiction"
    for verdict in ("seen", "vouched", "joined", "internal"):
        assert together(ENDED, replace(ENDED, verdict=verdict, client=B)) == "contradiction"


def test_who_does_not_know_leaves_it_to_the_others() -> None:
    assert together(NOBODY, ENDED) == known("t1", system="t1")
    assert together("evidence_missing", ENDED) == known("t1", system="t1")
    assert together("ambiguous", ENDED) == known("t1", system="t1")
    assert together("ambiguous", NOBODY, NOBODY) == known("t1", NOBODY, system="t1")
    assert together(ENDED, None, None) == Awaits("t1", "request_id", "t1")


def test_of_refusals_the_one_that_shows_most_is_told() -> None:
    assert together("evidence_missing", "evidence_incomplete") == "evidence_incomplete"
    assert together("evidence_incomplete", "ambiguous") == "ambiguous"
    assert together("ambiguous", "evidence_incomplete") == "ambiguous"
    assert together("evidence_missing", "evidence_missing") == "evidence_missing"


def test_a_log_in_more_disorder_than_bounds_allow_covers_nothing() -> None:
    assert MAX_RUNS == 100_000
    pieces = [Run("s", 2 * n, 2 * n, n, n + 1, True) for n in range(MAX_RUNS + 1)]
    assert coverage(*pieces[:-1]).of("nodes", NODE_A.address, 5, 6) == "yes"
    assert coverage(*pieces).of("nodes", NODE_A.address, 5, 6) == "no"
