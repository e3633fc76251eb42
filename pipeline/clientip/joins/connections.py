"""Which holder of a connection sent a request: facts and questions under one `conn` key → answers.

The rules are those of ARCHITECTURE.md, "The rules of the join".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final

from clientip.joins.alignment import align
from clientip.joins.bounds import COMPLETE, MAX_FITTING, Bounds, Facts, IsCovered, window
from clientip.joins.coverage import Covered
from clientip.joins.facts import SEPARATOR, JoinFact, JoinQuestion
from clientip.joins.flows import NEVER, Flow, Timeline, flows_of, unanswered
from clientip.joins.holders import candidates, name_of, through
from clientip.syntax.addresses import parse_address
from clientip.trust.answers import Answer, Awaits, Refused, Site, Through

MAX_FACTS_AROUND: Final = 4 * MAX_FITTING  # facts of one moment that are looked at before near ends are compared
MAX_COMPARED: Final = 16  # facts of which it is worth to see whether they are one and the same
RETAKEN_NS: Final = 1_000_000_000  # no ports are so few that nobody holds one for a second between two others
MAX_ACCEPT_NS: Final = 60_000_000_000  # ns; no server takes longer to accept what has arrived
NAT_SILENT: Final = Refused("evidence_missing")  # of a NAT device whose every translation is known


def of_connection(
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
                found[n] = through(flow.fact)
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
    return through(min(lines, key=lambda fact: fact.record)) if lines else None


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
        return Refused(reason, candidates(flow.fact for flow in fits))
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
    fresh = not fits or not exact or open_ended
    states = {covered(system, source, low, high, fresh) for system in question.witnesses}
    if "word" in states and not fresh and _is_first_unknown(fits, window(question, bounds)[0]):
        states |= {covered(system, source, low, high, True) for system in question.witnesses}
    if states == {"yes"}:
        return "yes"
    return "word" if states <= COMPLETE else "lost" if "lost" in states else "no"


def _is_first_unknown(fits: list[Flow], low: int) -> bool:
    """Whether nothing tells who held the connection at `low`: a log of begins shows no end of the one before."""
    is_of_begins = any(flow.fact.role == "connection" and flow.fact.event for flow in fits)
    return is_of_begins and not any(flow.begin_latest <= low for flow in fits)


def _agreed(flows: Sequence[Flow], otherwise: str) -> Answer | Awaits:
    """The one holder all these flows name, or the reason why there is none."""
    facts = [flow.fact for flow in flows]
    if len({name_of(fact) for fact in facts}) > 1:
        return Refused(otherwise, candidates(facts))
    return through(min(facts, key=lambda fact: fact.record))
