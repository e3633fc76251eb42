"""Facts and questions under one join key → answers. No clock, no I/O, no guess.

An answer is *certain*, when one line proves it alone, or *complete*, when the witnesses say that
they have told everything of the moment and one client alone fits.  Everything else is refused
with its reason.  Each function here is one of the sets it is given: order and repetition of
facts and questions change nothing.  The rules are those of ARCHITECTURE.md, "The rules of the join".
"""

from __future__ import annotations

from collections.abc import Sequence

from clientip.joins.bounds import Bounds, Facts, IsCovered
from clientip.joins.connections import of_connection
from clientip.joins.facts import JoinQuestion, kind_of
from clientip.joins.identities import Served, of_id
from clientip.trust.answers import Answer, Awaits, Known


def answers(
    key: str, facts: Facts, questions: Sequence[JoinQuestion], covered: IsCovered, bounds: Bounds
) -> list[Answer | Awaits | None]:
    """One answer per question, in their order; None: nothing yet (only under a `line` key)."""
    kind = kind_of(key)
    if kind == "line":
        return [_of_line(facts) for _ in questions]
    if kind == "conn":
        return list(of_connection(facts, questions, covered, bounds))
    served = Served(facts, bounds)
    return [of_id(kind, served, question, covered, bounds) for question in questions]


def _of_line(facts: Facts) -> Answer | None:
    told = min((fact for fact in facts if fact.ended is not None), key=lambda fact: fact.record, default=None)
    return None if told is None else Known(told.system, told.ended, "", told.record)  # type: ignore[arg-type]
