"""Connections in the order in which the asker counted them, held against flows in theirs.

On one tuple the k-th connection cannot be accepted before the one ahead of it, so where the
asker numbers its connections (nginx `$connection`) and the flows are all known, order alone
may leave one flow for each.  Lines may be missing: a flow need not have a line.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from clientip.joins.facts import JoinQuestion
from clientip.joins.flows import Flow
from clientip.trust.answers import Site

MAX_STEP: Final = 10_000  # between neighbours' numbers; more means that the asker began to count anew


def align(questions: Sequence[JoinQuestion], fitting: Sequence[Sequence[Flow]], tolerance: int) -> list[Flow | None]:
    """For each question the one flow that order leaves for it; None: order does not decide.

    `fitting`: the flows each request can have begun in, by begin; all of them must be known.
    `tolerance`: ns by which the asker's own stamps may be out of order.
    """
    groups: dict[tuple[str, str, Site | None], dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for n, question in enumerate(questions):
        if question.serial is not None and fitting[n]:
            groups[question.system, question.instance, question.target][question.serial].append(n)
    found: list[Flow | None] = [None] * len(questions)
    for group in groups.values():
        for serials in _stretches(group, questions, 2 * tolerance):
            _align_stretch(serials, group, fitting, found)
    return found


def _stretches(group: dict[int, list[int]], questions: Sequence[JoinQuestion], spare: int) -> list[list[int]]:
    """Runs of numbers that rise together with the time."""
    stretches: list[list[int]] = []
    latest = 0
    for serial in sorted(group):
        begins = min(questions[n].latest for n in group[serial])
        if stretches and serial - stretches[-1][-1] <= MAX_STEP and begins + spare >= latest:
            stretches[-1].append(serial)
        else:
            stretches.append([serial])
        firsts = [questions[n].earliest for n in group[serial]]
        latest = max((each for each in firsts if each is not None), default=0)
    return stretches


def _align_stretch(
    serials: list[int],
    group: dict[int, list[int]],
    fitting: Sequence[Sequence[Flow]],
    found: list[Flow | None],
) -> None:
    flows = sorted({flow.fact.record: flow for s in serials for n in group[s] for flow in fitting[n]}.values(), key=_by)
    place = {flow.fact.record: index for index, flow in enumerate(flows)}
    if any(later.begin <= flow.begin or later.begin_latest <= flow.begin_latest for flow, later in pairwise(flows)):
        return  # which of them was first cannot be said
    low, high = [], []
    for serial in serials:
        spans = [[place[flow.fact.record] for flow in fitting[n]] for n in group[serial]]
        low.append(max(min(span) for span in spans))
        high.append(min(max(span) for span in spans))
    for k in range(1, len(serials)):
        low[k] = max(low[k], low[k - 1] + 1)
    for k in range(len(serials) - 2, -1, -1):
        high[k] = min(high[k], high[k + 1] - 1)
    if any(first > last for first, last in zip(low, high, strict=True)):
        return  # it cannot be: a count or a clock is not what it seems
    for serial, first, last in zip(serials, low, high, strict=True):
        if first == last:
            for n in group[serial]:
                found[n] = flows[first]


def _by(flow: Flow) -> tuple[int, int, str]:
    return flow.begin, flow.end, flow.fact.record
