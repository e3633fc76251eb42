"""Facts and questions under one join key → answers. No clock, no I/O, no guess.

An answer is *certain*, when one line proves it alone, or *complete*, when the witnesses say that
they have told everything of the moment and one client alone fits.  Everything else is refused
with its reason.  Each function here is one of the sets it is given: order and repetition of
facts and questions change nothing.  The rules are those of ARCHITECTURE.md, "The rules of the join".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Final

from msgspec import Struct

from clientip.joins.alignment import align
from clientip.joins.coverage import Covered
from clientip.joins.facts import SEPARATOR, JoinFact, JoinQuestion, kind_of
from clientip.joins.flows import NEVER, Flow, Timeline, flows_of, unanswered
from clientip.model import Address, Candidate
from clientip.syntax.addresses import parse_address
from clientip.trust.answers import Answer, Awaits, Known, Refused, Site, Through

MAX_FITTING: Final = 256  # facts that fit one question's moment; more are an attack or a defect
MAX_FACTS_AROUND: Final = 4 * MAX_FITTING  # the same, before near ends are compared: what is looked at for one question
MAX_COMPARED: Final = 16  # facts of which it is worth to see whether they are one and the same
RETAKEN_NS: Final = 1_000_000_000  # no ports are so few that nobody holds one for a second between two others
MAX_ACCEPT_NS: Final = 60_000_000_000  # ns; no server takes longer to accept what has arrived
NAT_SILENT: Final = Refused("evidence_missing")  # of a NAT device whose every translation is known
COMPLETE: Final = frozenset({"yes", "word"})  # `Covered` that says everything was told
MAX_CANDIDATES: Final = 4  # shown of those that fit

Facts = Sequence[JoinFact]
IsCovered = Callable[[str, "Address | None", int, int, bool], Covered]
"""(system, source address, from, to, also what began earlier) → whether everything was told."""


class Bounds(Struct, frozen=True):
    """`[joins]`: what the operator says of clocks and long requests; ns."""

    tolerance: int
    horizon: int


def answers(
    key: str, facts: Facts, questions: Sequence[JoinQuestion], covered: IsCovered, bounds: Bounds
) -> list[Answer | Awaits | None]:
    """One answer per question, in their order; None: nothing yet (only under a `line` key)."""
    kind = kind_of(key)
    if kind == "line":
        return [_of_line(facts) for _ in questions]
    if kind == "conn":
        return list(_of_connection(facts, questions, covered, bounds))
    known = _Served(facts, bounds)
    return [_of_id(kind, known, question, covered, bounds) for question in questions]


def _of_line(facts: Facts) -> Answer | None:
    told = min((fact for fact in facts if fact.ended is not None), key=lambda fact: fact.record, default=None)
    return None if told is None else Known(told.system, told.ended, "", told.record)  # type: ignore[arg-type]


# Connections.


def _of_connection(
    facts: Facts, questions: Sequence[JoinQuestion], covered: IsCovered, bounds: Bounds
) -> Iterable[Answer | Awaits]:
    if len(facts) <= MAX_COMPARED:
        proved = [_proved(question, facts, bounds) for question in questions]
        if all(each is not None for each in proved):
            return [each for each in proved if each is not None]
    flows = Timeline((flow.begin, flow.end, flow) for flow in flows_of(facts))
    found: list[Answer | Awaits] = []
    fitting: list[list[Flow]] = []
    for question in questions:
        fits = _fitting(flows, question, bounds)
        answer = Refused("crowded") if fits is None else _one_connection(flows, fits, question, covered, bounds)
        fitting.append(fits or [])
        found.append(_origin(flows, facts, question, bounds) if answer is NAT_SILENT else answer)
    unsure = {n for n, answer in enumerate(found) if isinstance(answer, Refused) and answer.reason == "ambiguous"}
    if unsure:
        complete = [n for n, question in enumerate(questions) if _is_complete(question, fitting[n], covered, bounds)]
        aligned = align([questions[n] for n in complete], [fitting[n] for n in complete], bounds.tolerance)
        for n, flow in zip(complete, aligned, strict=True):
            if n in unsure and flow is not None:
                found[n] = _through(flow.fact)
    return found


def _proved(question: JoinQuestion, facts: Facts, bounds: Bounds) -> Answer | Awaits | None:
    """The answer where one holder alone is told of and a line proves it; None: all of them have to be looked at.

    What is below comes to the same, in four times the time.
    """
    if question.earliest is None or question.target is None or question.target[1] is None:
        return None
    if len({(fact.system, fact.peer, fact.local, fact.own) for fact in facts}) != 1:
        return None
    early, late = question.earliest - bounds.tolerance, question.latest + bounds.tolerance
    lines = [
        fact
        for fact in facts
        if fact.role == "translation"
        and fact.event == "DESTROY"
        and fact.assured is not False
        and fact.target == question.target
        and fact.system in question.witnesses
        and fact.begin is not None
        and fact.begin_latest is not None
        and fact.end is not None
        and fact.begin_latest <= early
        and late <= fact.end - fact.slack
    ]
    return _through(min(lines, key=lambda fact: fact.record)) if lines else None


def window(question: JoinQuestion, bounds: Bounds) -> tuple[int, int]:
    """Between which moments, by the witness's clock, the request must have begun."""
    earliest = question.latest - bounds.horizon if question.earliest is None else question.earliest
    return earliest - bounds.tolerance, question.latest + bounds.tolerance


def _fitting(flows: Timeline[Flow], question: JoinQuestion, bounds: Bounds) -> list[Flow] | None:
    """The flows in which the request can have begun; None: more than can be looked at."""
    low, high = window(question, bounds)
    if flows.count(low, high) > MAX_FACTS_AROUND:
        return None
    between = (flow for flow in flows.between(low, high) if flow.fact.system in question.witnesses)
    return [flow for flow in between if _leads_here(question, flow.fact)]


def _leads_here(question: JoinQuestion, fact: JoinFact) -> bool:
    """Whether the fact can be about a connection to where the asker listens.

    A balancer knows the address it connected to. A node behind it may have translated that address only if the
    topology says so (`fronts`); a NAT event shows both sides of the translation itself.
    """
    if question.target is None or fact.target is None or _is_at(fact.target, question.target):
        return True
    return fact.role != "translation" and any(_is_at(fact.target, front) for front in question.fronts)


def _is_at(one: Site, other: Site) -> bool:
    """Whether two ends can be one; a port that was not logged may be any."""
    return one[0] == other[0] and (one[1] is None or other[1] in (None, one[1]))


def _is_exact(question: JoinQuestion, flow: Flow) -> bool:
    """Whether all four ends are known and equal."""
    return question.target is not None and question.target[1] is not None and flow.fact.target == question.target


def _one_connection(
    flows: Timeline[Flow], fits: list[Flow], question: JoinQuestion, covered: IsCovered, bounds: Bounds
) -> Answer | Awaits:
    certain = [flow for flow in fits if _is_certain(flow, question, bounds)]
    if certain:
        return _agreed([*certain, *_inside(certain, fits)], "contradiction")
    if len(fits) > MAX_FITTING:
        return Refused("crowded")
    if not question.http1 and any(flow.fact.role == "request" for flow in fits):
        return Refused("multiplexed")
    state = _covered(question, fits, covered, bounds)
    if state not in COMPLETE:
        reason = "events_lost" if state == "lost" else "evidence_incomplete"
        return Refused(reason, _candidates(flow.fact for flow in fits))
    if fits:
        return _agreed(fits, "ambiguous")
    if _is_bound_broken(flows, question, bounds):
        return Refused("contradiction", finding="bound_broken")
    return NAT_SILENT if question.nat and state == "yes" else Refused("evidence_missing")


def _is_bound_broken(flows: Timeline[Flow], question: JoinQuestion, bounds: Bounds) -> bool:
    """Whether a request that nothing carried came just before a connection on the very same four ends.

    It came on that one: a clock, or the delay of a stamp, is larger than the configuration says.
    """
    high = window(question, bounds)[1]
    return any(
        flow.begin > high and flow.fact.system in question.witnesses and _is_exact(question, flow)
        for flow in islice(flows.between(high, high + RETAKEN_NS), MAX_FITTING)
    )


def _inside(certain: list[Flow], fits: list[Flow]) -> Iterable[Flow]:
    """Flows that another device began on the tuple while the first still held it: an address that moved."""
    whole = [(flow.fact.system, flow.fact.instance, flow.begin_latest, flow.end_earliest) for flow in certain]
    for flow in fits:
        fact = flow.fact
        if fact.role == "translation" and any(
            begin < flow.begin and flow.begin_latest < end and (fact.system, fact.instance) != (system, instance)
            for system, instance, begin, end in whole
        ):
            yield flow


def _origin(flows: Timeline[Flow], facts: Facts, question: JoinQuestion, bounds: Bounds) -> Answer:
    """Everything the device translated is known, and this is nothing of it: it spoke for itself.

    Unless it translated something from the same port at any time before, or soon after: forged packets can make
    it believe that a connection is over which goes on, and a server that was slow to accept stamps a request later
    than its connection lived.  A flow counts here even if the log says that its two sides never spoke.
    """
    until = window(question, bounds)[1] + MAX_ACCEPT_NS
    if flows.count(NEVER, until) or any(flow.begin <= until for flow in unanswered(facts)):
        return Refused("evidence_missing")
    return Through(question.witnesses[0], _source(question), None, "conntrack", "", own=True)


def _source(question: JoinQuestion) -> Site:
    return question.source, int(question.key.rpartition(SEPARATOR)[2])


def _is_certain(flow: Flow, question: JoinQuestion, bounds: Bounds) -> bool:
    """One line proves it: the request began while this flow alone held the connection."""
    if not flow.solid or question.earliest is None or not _is_exact(question, flow):
        return False
    spare = bounds.tolerance
    return flow.begin_latest + spare <= question.earliest and question.latest + spare <= flow.end_earliest


def _is_complete(question: JoinQuestion, fits: list[Flow], covered: IsCovered, bounds: Bounds) -> bool:
    exact = all(_is_exact(question, flow) and flow.fact.role == "translation" for flow in fits)
    return exact and _covered(question, fits, covered, bounds) in COMPLETE


def _covered(question: JoinQuestion, fits: list[Flow], covered: IsCovered, bounds: Bounds) -> Covered:
    """Whether nobody but `fits` can have held the connection when the request began.

    Whoever else did must have begun or ended inside the window, or inside a flow of unknown end: the tuple
    was taken by the ones that fit.  Without the near end's port others can have gone on beside them all the time.
    """
    low, high = window(question, bounds)
    low = min([low, *(flow.begin for flow in fits if not flow.solid and flow.begin != NEVER)])
    exact = all(_is_exact(question, flow) for flow in fits)
    open_ended = any(flow.begin == NEVER for flow in fits)
    source = parse_address(question.source) if question.source else None
    states = {covered(system, source, low, high, not fits or not exact or open_ended) for system in question.witnesses}
    if states == {"yes"}:
        return "yes"
    return "word" if states <= COMPLETE else "lost" if "lost" in states else "no"


def _agreed(flows: Sequence[Flow], otherwise: str) -> Answer | Awaits:
    """The one holder all these flows name, or the reason why there is none."""
    facts = [flow.fact for flow in flows]
    if len({_name(fact) for fact in facts}) > 1:
        return Refused(otherwise, _candidates(facts))
    return _through(min(facts, key=lambda fact: fact.record))


def _name(fact: JoinFact) -> tuple[object, ...]:
    """Whom a fact names: facts of one name are one answer."""
    if fact.role != "request":
        return fact.system, fact.peer, fact.local, fact.own
    if fact.ended is None or fact.ended.client is None:
        return fact.system, fact.record
    return fact.system, fact.ended.client, fact.ended.verdict


def _through(fact: JoinFact) -> Answer | Awaits:
    if fact.role == "request":
        return _known(fact, "connection_log")
    if fact.peer is None:
        return Refused("peer_not_logged")
    method = ("conntrack" if fact.event else "flow_record") if fact.role == "translation" else "connection_log"
    return Through(fact.system, fact.peer, fact.local, method, fact.record, fact.stated, fact.own)


def _known(fact: JoinFact, method: str) -> Known | Awaits:
    if fact.ended is None:
        return Awaits(fact.system, method, fact.record)
    return Known(fact.system, fact.ended, method, fact.record)


def _candidates(facts: Iterable[JoinFact]) -> tuple[Candidate, ...]:
    """Whom the facts name, for people to look at; each once, in a fixed order."""
    found = set()
    for fact in facts:
        named = fact.peer if fact.role != "request" else fact.ended.client if fact.ended is not None else None
        if named is not None and not fact.own:
            found.add((named[0], -1 if named[1] is None else named[1], _method(fact), fact.record))
    return tuple(
        Candidate(address, None if port < 0 else port, method, record)
        for address, port, method, record in sorted(found)[:MAX_CANDIDATES]
    )


def _method(fact: JoinFact) -> str:
    kind = kind_of(fact.key)
    if kind == "conn":
        return "conntrack" if fact.role == "translation" else "connection_log"
    return "trace" if kind == "trace" else "request_id"


# Request ids and traces.


class _Served:
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


def _of_id(kind: str, served: _Served, question: JoinQuestion, covered: IsCovered, bounds: Bounds) -> Answer | Awaits:
    """What the witnesses say, nearest first: all that know must agree."""
    method = "trace" if kind == "trace" else "request_id"
    return _together([_of_witness(method, system, served, question, covered, bounds) for system in question.witnesses])


def life(fact: JoinFact, bounds: Bounds) -> tuple[int, int]:
    """From when to when the witness can have served this request."""
    end = fact.end if fact.end is not None else (fact.begin_latest or 0) + bounds.horizon
    begin = fact.begin if fact.begin is not None else end - bounds.horizon
    return begin, end + fact.slack


def _of_witness(
    method: str, system: str, served: _Served, question: JoinQuestion, covered: IsCovered, bounds: Bounds
) -> Answer | Awaits:
    low, high = window(question, bounds)
    linked = _parent(system, served, question, bounds)
    if linked is not None:
        return _known(linked, method)
    requests = served.within(system, low, high)
    if not requests:
        return Refused("evidence_missing")
    if len(requests) > MAX_FITTING:
        return Refused("crowded")
    if len({_name(fact) for fact in requests}) > 1:
        return Refused("ambiguous", _candidates(requests))
    fact = min(requests, key=lambda each: each.record)
    if not all(each.minted for each in requests):
        low, high = min(low, fact.begin or low), max(high, question.end or high, (fact.end or high) + fact.slack)
        if covered(fact.system, None, low, high, True) not in COMPLETE:
            return Refused("evidence_incomplete", _candidates(requests))
    return _known(fact, method)


def _parent(system: str, served: _Served, question: JoinQuestion, bounds: Bounds) -> JoinFact | None:
    """The request whose span, or a span inside it, called the asker: the span id is the caller's own."""
    low, high = window(question, bounds)
    span = question.parent
    for _ in range(8):
        if span is None:
            return None
        lives = ((*life(fact, bounds), fact) for fact in served.named(system, span))
        named = [fact for begin, end, fact in lives if begin <= high and low <= end]
        if named:
            return min(named, key=lambda each: each.record) if len({_name(fact) for fact in named}) == 1 else None
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
