"""Laws of holes in a stream: nothing that is missing counts as told, whenever batches end and readers change."""

from __future__ import annotations

from collections.abc import Sequence

from clientip.joins.flows import FOREVER, NEVER
from clientip.joins.holes import LineOrder, WriteTime, holes_of
from clientip.stream.holes import MAX_HOLES, HoleNews, HoleStore, LogWatch
from hypothesis import given
from hypothesis import strategies as st

LONGEST = 7
Lines = Sequence["int | None"]  # moments written; None: not understood
LINES = st.lists(st.one_of(st.none(), st.integers(0, 200)), max_size=30).map(
    lambda lines: [None if each is None else each for each in lines]
)


def rising(lines: Lines) -> list[int | None]:
    """The same lines, written in the order of time."""
    moments = iter(sorted(each for each in lines if each is not None))
    return [None if each is None else next(moments) for each in lines]


def told(lines: Lines, ends: set[int], changes: set[int]) -> HoleStore:
    """What an answerer knows at the end; batches end and readers change before the lines with these numbers."""
    store, watch = HoleStore(), LogWatch("lb", "a", "raw/0", LONGEST)
    for number, line in enumerate(lines):
        if number in ends | changes:
            for each in watch.news():
                store.note(each)
        if number in changes:
            watch = LogWatch("lb", "a", "raw/0", LONGEST)
        watch.see(None if line is None else WriteTime(line, 0))
    for each in watch.news():
        store.note(each)
    return store


def holes(lines: Lines) -> Sequence[tuple[int, int]]:
    """What a replay of the whole log finds."""
    order = LineOrder()
    for line in lines:
        order.see(None if line is None else WriteTime(line, 0))
    return holes_of([order.part()], LONGEST)


@given(LINES, st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30), max_size=2))
def test_every_moment_that_a_replay_finds_in_a_hole_is_in_one(lines: Lines, ends: set[int], changes: set[int]) -> None:
    store = told(rising(lines), ends, changes)
    for low, high in holes(rising(lines)):
        for moment in (max(low, -50), (max(low, -50) + min(high, 250)) // 2, min(high, 250)):
            assert store.state("lb", None, moment, moment) is not None


@given(LINES, st.sets(st.integers(0, 30)))
def test_without_a_change_of_readers_no_other_moment_is(lines: Lines, ends: set[int]) -> None:
    store, wanted = told(rising(lines), ends, set()), holes(rising(lines))
    for moment in range(-20, 220, 3):
        inside = any(low <= moment <= high for low, high in wanted)
        assert (store.state("lb", None, moment, moment) is not None) == inside


def test_a_hole_is_open_until_a_line_is_understood_again() -> None:
    assert told([10, None], set(), set()).state("lb", None, 500, 501) == "no"
    assert told([10, None, 20], {2}, set()).state("lb", None, 500, 501) is None
    assert told([10, None, 20], {2}, set()).state("lb", None, 15, 16) == "lost"


def test_a_successor_ends_what_its_predecessor_left_open() -> None:
    assert told([10, None, 20], set(), {2}).state("lb", None, 500, 501) is None
    assert told([10, None, None], set(), {2}).state("lb", None, 500, 501) == "no"


def test_what_is_open_towards_the_past_is_so_for_all_of_it() -> None:
    assert told([None, 20], set(), set()).state("lb", None, NEVER, NEVER + 1) == "lost"


def test_a_hole_concerns_the_instances_whose_log_it_is_in() -> None:
    store = HoleStore([HoleNews("lb", "a", "raw/0", 10, 20), HoleNews("web", "", "raw/1", 10, 20)])
    assert store.state("lb", ("b",), 10, 20) is None
    assert store.state("lb", ("a", "b"), 10, 20) == "lost"
    assert store.state("web", ("b",), 10, 20) == "lost"
    assert store.state("other", None, 10, 20) is None


def test_what_is_listed_says_the_same_to_a_successor() -> None:
    store = told([10, None, 20, None], {2}, set())
    again = HoleStore(store.listed())
    assert all(
        store.state("lb", None, moment, moment) == again.state("lb", None, moment, moment) for moment in range(0, 60, 2)
    )


def test_very_many_holes_become_fewer_that_hold_them_all_and_open_ones_stay_open() -> None:
    many = [HoleNews("lb", "a", "raw/0", 10 * n, 10 * n + 1) for n in range(3 * MAX_HOLES)]
    store = HoleStore([HoleNews("lb", "a", "raw/1", 10**6, FOREVER), *many])
    assert len(store.listed()) <= MAX_HOLES + 1
    assert all(store.state("lb", None, 10 * n, 10 * n) == "lost" for n in range(3 * MAX_HOLES))
    assert store.state("lb", None, 10**7, 10**7) == "no"
