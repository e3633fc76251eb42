"""Which request had this id: facts and questions under one `request` or `trace` key → answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import islice

from clientip.joins.bounds import COMPLETE, MAX_FITTING, Bounds, Facts, IsCovered, life, window
from clientip.joins.facts import JoinFact, JoinQuestion
from clientip.joins.flows import Timeline
from clientip.joins.holders import candidates, known, name_of
from clientip.trust.answers import Answer, Awaits, Known, Refused


class Served:
    """What the witnesses served under one id, by witness."""

    def __init__(self, facts: Facts, bounds: Bounds) -> None:
        self.requests: dict[str, Timeline[JoinFact]] = {}
        self._named: dict[tuple[str, str | None], list[JoinFact]] = defaultdict(list)
        self._callers: dict[tuple[str, str | None], set[str | None]] = defaultdict(set)
        served: dict[str, list[tuple[int, int, JoinFact]]] = defaultdict(list)
        for fact in facts:
            if fact.role == "link":
                self._callers[fact.system, fact.span].add(fact.parent)
            elif fact.role == "request":
                served[fact.system].append((*life(fact, bounds), fact))
                self._named[fact.system, fact.span].append(fact)
        for system, each in served.items():
            self.requests[system] = Timeline(each)

    def within(self, system: str, low: int, high: int) -> list[JoinFact]:
        """Requests that `system` served then; one more than are too many is enough."""
        requests = self.requests.get(system)
        return [] if requests is None else list(islice(requests.between(low, high), MAX_FITTING + 1))

    def named(self, system: str, span: str) -> Sequence[JoinFact]:
        """Requests whose own span that is; none where they are too many to be looked at."""
        named = self._named.get((system, span), ())
        return named if len(named) <= MAX_FITTING else ()

    def callers(self, system: str, span: str) -> set[str | None]:
        """Which spans the inner span of that id names as its caller."""
        return self._callers.get((system, span), set())


def of_id(kind: str, served: Served, question: JoinQuestion, covered: IsCovered, bounds: Bounds) -> Answer | Awaits:
    """What the witnesses say, nearest first: all that know must agree."""
    method = "trace" if kind == "trace" else "request_id"
    return _together([_of_witness(method, system, served, question, covered, bounds) for system in question.witnesses])


def _of_witness(
    method: str, system: str, served: Served, question: JoinQuestion, covered: IsCovered, bounds: Bounds
) -> Answer | Awaits:
    low, high = window(question, bounds)
    linked = _parent(system, served, question, bounds)
    if linked is not None:
        return (
            known(linked, method) if _is_vouched(question, [linked]) else Refused("id_unproved", candidates([linked]))
        )
    requests = served.within(system, low, high)
    if not requests:
        return Refused("evidence_missing")
    if len(requests) > MAX_FITTING:
        return Refused("crowded")
    if len({name_of(fact) for fact in requests}) > 1:
        return Refused("ambiguous", candidates(requests))
    if not _is_vouched(question, requests):
        return Refused("id_unproved", candidates(requests))
    fact = min(requests, key=lambda each: each.record)
    if not all(each.minted for each in requests):
        low, high = min(low, fact.begin or low), max(high, question.end or high, (fact.end or high) + fact.slack)
        if covered(fact.system, None, low, high, True) not in COMPLETE:
            return Refused("evidence_incomplete", candidates(requests))
    return known(fact, method)


def _is_vouched(question: JoinQuestion, requests: Sequence[JoinFact]) -> bool:
    """Whether the word of the system that told these says that no client sent their id in what the asker read."""
    if requests[0].system in question.passing:
        return True
    return requests[0].system in question.minting and all(each.minted for each in requests)


def _parent(system: str, served: Served, question: JoinQuestion, bounds: Bounds) -> JoinFact | None:
    """The request whose span, or a span inside it, called the asker: the span id is the caller's own."""
    low, high = window(question, bounds)
    span = question.parent
    for _ in range(8):
        if span is None:
            return None
        lives = ((*life(fact, bounds), fact) for fact in served.named(system, span))
        named = [fact for begin, end, fact in lives if begin <= high and low <= end]
        if named:
            return min(named, key=lambda each: each.record) if len({name_of(fact) for fact in named}) == 1 else None
        callers = served.callers(system, span)
        if len(callers) != 1:  # of two spans of one id nobody can say which is meant
            return None
        (span,) = callers
    return None


def _together(said: Sequence[Answer | Awaits]) -> Answer | Awaits:
    """Those that know must not contradict each other; whoever does not know leaves it to the others."""
    awaited = [each for each in said if isinstance(each, Awaits)]
    if awaited:
        return awaited[0]
    known = [each for each in said if isinstance(each, Known)]
    strong = [each for each in known if each.ended.verdict in ("seen", "vouched", "joined", "internal")]
    if strong:
        clients = {each.ended.client[0] for each in strong if each.ended.client is not None}
        return strong[0] if len(clients) == 1 else Refused("contradiction")
    if known:
        return known[0]
    refused = [each for each in said if isinstance(each, Refused)]
    return min(refused, key=_weight)


def _weight(refused: Refused) -> tuple[bool, int]:
    return refused.reason == "evidence_missing", -len(refused.candidates)
