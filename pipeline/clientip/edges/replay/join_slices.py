"""Answers under one key, in time that grows with the number of questions and facts and not with their product.

Questions near each other in time are answered together from the facts of their time.  That is exact where a fact
says something only of its own time; NAT events are read against each other, so theirs stay together.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from clientip.joins.coverage import Coverage
from clientip.joins.facts import JoinFact, JoinQuestion
from clientip.joins.join import Joining
from clientip.trust.answers import Answer, Awaits, Refused

MAX_ITEMS: Final = 100_000  # questions and facts in memory at a time; about 1 kB each
MAX_DIRECT_PAIRS: Final = 4_000_000  # pairs of question and fact that are compared without further thought
MAX_PAIRS: Final = 64_000_000  # pairs under a key with NAT events; more are an attack or a defect
MAX_FACTS_AROUND: Final = 2_048  # facts around one question's moment; the same

CROWDED: Final = Refused("crowded")

Answers = list[Answer | Awaits | None]


class Desk(NamedTuple):
    """What answers questions, and how much of it there may be at a time."""

    joining: Joining
    coverage: Coverage
    items: int = MAX_ITEMS
    direct: int = MAX_DIRECT_PAIRS
    largest: int = MAX_PAIRS
    around: int = MAX_FACTS_AROUND


def answered(desk: Desk, key: str, facts: Sequence[JoinFact], questions: Sequence[JoinQuestion]) -> Answers:
    """One answer per question, as `Joining.answer` gives them; `crowded` where that would be too much work."""
    pairs, joining, coverage = len(facts) * len(questions), desk.joining, desk.coverage
    if pairs <= desk.direct:
        return joining.answer(key, facts, questions, coverage)
    found: Answers = [CROWDED] * len(questions)
    if hang_together(facts):
        return found if pairs > desk.largest else joining.answer(key, facts, questions, coverage)
    for numbers, near in _slices(joining, facts, questions, desk.around):
        said = joining.answer(key, near, [questions[n] for n in numbers], coverage)
        for n, answer in zip(numbers, said, strict=True):
            found[n] = answer
    return found


def hang_together(facts: Iterable[JoinFact]) -> bool:
    """Whether what one fact says depends on others."""
    return any(fact.role == "translation" for fact in facts)


def _slices(
    joining: Joining, facts: Sequence[JoinFact], questions: Sequence[JoinQuestion], around: int
) -> Iterator[tuple[list[int], list[JoinFact]]]:
    """Questions with all facts that may be about them; those with too many are left out."""
    extents = [joining.extent(fact) for fact in facts]
    order = sorted(range(len(facts)), key=lambda n: (extents[n], n))
    lows, highs = [extents[n][0] for n in order], sorted(high for _, high in extents)
    position, active = 0, list[int]()
    for numbers, low, high in _batches(joining, questions, lows, highs, around):
        until = max(position, bisect_right(lows, high))
        active = [n for n in [*active, *order[position:until]] if extents[n][1] >= low]
        position = until
        # In their given order: what a key tells does not depend on how its time was cut.
        yield numbers, [facts[n] for n in sorted(active)]


def _batches(
    joining: Joining, questions: Sequence[JoinQuestion], lows: Sequence[int], highs: Sequence[int], around: int
) -> Iterator[tuple[list[int], int, int]]:
    """Questions that follow each other, with the time they span."""

    def crowd(low: int, high: int) -> int:
        return bisect_right(lows, high) - bisect_left(highs, low)

    windows = [joining.window(question) for question in questions]
    batch: list[int] = []
    begin = end = 0
    for n in sorted(range(len(questions)), key=lambda n: (windows[n], n)):
        low, high = windows[n]
        if crowd(low, high) > around:
            continue
        if batch and crowd(begin, max(end, high)) > 2 * around:
            yield batch, begin, end
            batch = []
        if not batch:
            begin, end = low, high
        batch.append(n)
        end = max(end, high)
    if batch:
        yield batch, begin, end
