"""Timers of open questions: each is due once, in the order of the moments."""

from __future__ import annotations

from clientip.stream.timers import EvidenceTimers, Timers
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.worlds.sizes import EXAMPLES

MOMENTS = st.lists(st.tuples(st.integers(-(2**63), 2**63), st.integers(0, 2**48 - 1)), max_size=40)


def due(timers: Timers, now_ns: int) -> list[int]:
    found = []
    while (number := timers.pop_due(now_ns)) is not None:
        found.append(number)
    return found


@settings(max_examples=EXAMPLES, deadline=None)
@given(MOMENTS, st.integers(-(2**63), 2**63))
def test_what_is_due_comes_in_the_order_of_the_moments_and_the_rest_stays(
    moments: list[tuple[int, int]], now_ns: int
) -> None:
    timers = Timers()
    for moment_ns, number in moments:
        timers.set(moment_ns, number)
    early = sorted(each for each in moments if each[0] <= now_ns)
    assert due(timers, now_ns) == [number for _, number in early]
    assert len(timers) == len(moments) - len(early)
    assert due(timers, 2**63) == [number for _, number in sorted(each for each in moments if each[0] > now_ns)]


def test_a_question_waits_for_its_own_witnesses_and_its_own_address() -> None:
    timers = EvidenceTimers()
    timers.set(("a",), "10.0.0.1", 100, 1)
    timers.set(("a", "b"), "10.0.0.1", 100, 2)
    timers.set(("a",), "10.0.0.2", 100, 3)
    told = {"10.0.0.1": 100, "10.0.0.2": 99}
    assert list(timers.pop_due(lambda witnesses, source: told[source] if witnesses == ("a",) else 0)) == [1]
    assert list(timers.pop_due(lambda _, source: told[source])) == [2]
    assert list(timers.pop_due(lambda _, __: 100)) == [3]
    assert len(timers) == 0


def test_questions_that_the_caller_does_not_take_are_due_again() -> None:
    timers = EvidenceTimers()
    for number in range(5):
        timers.set((f"witness-{number % 2}",), "10.0.0.1", number, number)
    first = next(timers.pop_due(lambda _, __: 10))
    assert sorted([first, *timers.pop_due(lambda _, __: 10)]) == [0, 1, 2, 3, 4]
    assert list(timers.pop_due(lambda _, __: 10)) == []
