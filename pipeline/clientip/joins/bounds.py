"""How far times may lie apart: the windows in which facts and questions are about the same request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from clientip.joins.coverage import Covered
from clientip.joins.facts import JoinFact, JoinQuestion
from clientip.model import Address

MAX_FITTING: Final = 256  # facts that fit one question's moment; more are an attack or a defect
COMPLETE: Final = frozenset({"yes", "word"})  # `Covered` that says everything was told

Facts = Sequence[JoinFact]
IsCovered = Callable[[str, "Address | None", int, int, bool], Covered]
"""(system, source address, from, to, also what began earlier) → whether everything was told."""


class Bounds(Struct, frozen=True):
    """`[joins]`: what the operator says of clocks and long requests; ns."""

    tolerance: int
    horizon: int


def window(question: JoinQuestion, bounds: Bounds) -> tuple[int, int]:
    """Between which moments, by the witness's clock, the request must have begun."""
    earliest = question.latest - bounds.horizon if question.earliest is None else question.earliest
    return earliest - bounds.tolerance, question.latest + bounds.tolerance


def life(fact: JoinFact, bounds: Bounds) -> tuple[int, int]:
    """From when to when the witness can have served this request."""
    end = fact.end if fact.end is not None else (fact.begin_latest or 0) + bounds.horizon
    begin = fact.begin if fact.begin is not None else end - bounds.horizon
    return begin, end + fact.slack
