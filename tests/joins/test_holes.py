"""Laws of holes: what was not understood may be about anything that was logged then, and about nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from clientip.joins.coverage import Coverage
from clientip.joins.flows import FOREVER, NEVER
from clientip.joins.holes import MAX_HOLES, Hole, LineOrder, LogPart, WriteTime, fewer, holes_of, merged
from clientip.model import Endpoint, System
from clientip.syntax.addresses import parse_address
from hypothesis import given
from hypothesis import strategies as st

LINES = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 5), st.booleans()), max_size=30)
Lines = Sequence[tuple[int, int, bool]]  # moment, slack, whether it was understood


def part_of(lines: Lines) -> LogPart:
    order = LineOrder()
    for moment, slack, understood in lines:
        order.see(WriteTime(moment, slack) if understood else None)
    return order.part()


def holds(holes: Sequence[Hole], moment: int) -> bool:
    return any(low <= moment <= high for low, high in holes)


@given(LINES, st.lists(st.integers(0, 30), max_size=4), st.integers(0, 50))
def test_a_log_cut_into_parts_has_the_holes_of_the_whole(lines: Lines, cuts: list[int], longest: int) -> None:
    edges = [0, *sorted(cuts), len(lines)]
    parts = [part_of(lines[low:high]) for low, high in pairwise(edges)]
    whole, cut = holes_of([part_of(lines)], longest), holes_of(parts, longest)
    if sorted(lines, key=lambda each: each[0]) == list(lines):
        assert cut == whole
    else:  # a part does not know the latest moment before it
        assert all(any(low <= a and b <= high for low, high in cut) for a, b in whole)


@given(LINES.map(sorted), st.integers(0, 50))
def test_every_request_of_a_line_that_was_not_understood_lies_in_a_hole(lines: Lines, longest: int) -> None:
    """Written in the order of time: its request can have begun `longest` before, and its stamp be off by the slack."""
    holes = holes_of([part_of(lines)], longest)
    for moment, _, understood in lines:
        if not understood:
            assert holds(holes, moment)
            assert holds(holes, moment - longest)


@given(LINES, st.integers(0, 50))
def test_a_log_of_which_everything_was_understood_has_no_hole(lines: Lines, longest: int) -> None:
    assert holes_of([part_of([(moment, slack, True) for moment, slack, _ in lines])], longest) == ()


def test_a_hole_is_open_to_the_side_where_no_line_is() -> None:
    assert holes_of([part_of([(0, 0, False), (100, 0, True)])], 10) == ((NEVER, 100),)
    assert holes_of([part_of([(100, 0, True), (0, 0, False)])], 10) == ((90, FOREVER),)
    assert holes_of([part_of([(0, 0, False)])], 10) == ((NEVER, FOREVER),)
    assert holes_of([part_of([(0, 0, False)]), part_of([(7, 0, True)])], 10) == ((NEVER, 7),)


def test_a_hole_is_widened_by_the_disorder_and_the_slack_that_the_log_shows() -> None:
    lines = [(100, 2, True), (97, 0, True), (0, 0, False), (200, 1, True)]
    assert holes_of([part_of(lines)], 10) == ((100 - 3 - 2 - 10, 200 + 3 + 2),)


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500))))
def test_merging_keeps_every_moment_and_adds_none(stretches: list[Hole]) -> None:
    found = merged(stretches)
    assert all(high < low for (_, high), (low, _) in pairwise(found))
    for moment in {each for stretch in stretches for each in stretch} | {0, 250, 500}:
        assert holds(found, moment) == any(min(each) <= moment <= max(each) for each in stretches)


def test_very_many_holes_become_fewer_that_hold_them_all() -> None:
    many = [(10 * n, 10 * n + 1) for n in range(2 * MAX_HOLES + 1)]
    found = fewer(many)
    assert len(found) <= MAX_HOLES
    assert all(holds(found, low) and holds(found, high) for low, high in many)


def test_the_word_of_a_log_ends_at_its_holes() -> None:
    instances = (
        ("a", (Endpoint(parse_address("10.0.0.1"), None),)),
        ("b", (Endpoint(parse_address("10.0.0.2"), None),)),
    )
    systems = {"lb": System(name="lb", lossless=True, instances=instances)}
    coverage = Coverage(systems, {}, {("lb", "a"): ((100, 200),)})
    assert coverage.of("lb", None, 0, 99) == "word"
    assert coverage.of("lb", None, 0, 100) == "lost"
    assert coverage.of("lb", None, 200, 300) == "lost"
    assert coverage.of("lb", parse_address("10.0.0.1"), 150, 160) == "lost"
    assert coverage.of("lb", parse_address("10.0.0.2"), 150, 160) == "word"
    whole = Coverage(systems, {}, {("lb", ""): ((100, 200),)})  # which process wrote the line is not known
    assert whole.of("lb", parse_address("10.0.0.2"), 150, 160) == "lost"
