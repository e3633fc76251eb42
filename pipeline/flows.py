"""NAT events and connection lines under one key → flows: who held the connection from when to when.

One tuple carries one flow at a time, so a flow whose end nobody told lasts at most
until the next one begins.  Only a line that shows both ends of its flow by itself is
`solid`: pairs of lines may belong to two flows when lines between them are missing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from pipeline.answers import Site
from pipeline.evidence import Told

FOREVER: Final = 2**63 - 1
NEVER: Final = -(2**63)


class Flow(Struct, frozen=True, gc=False):
    """One holder of a connection. Each end as an interval that holds it; ns."""

    fact: Told  # the line that names the holder; of equal ones that with the smallest record id
    begin: int
    begin_latest: int
    end_earliest: int
    end: int
    solid: bool  # its own line shows both ends, and both sides spoke


def flows_of(facts: Iterable[Told]) -> list[Flow]:
    """The flows these facts tell, by begin; a function of the set of facts.

    The facts share their key.  Those of different tellers or near ends do not touch each other.
    """
    groups: dict[tuple[str, str, Site | None], list[Told]] = defaultdict(list)
    found: list[Flow] = []
    for fact in facts:
        if fact.role == "translation" and fact.event:
            groups[fact.system, fact.instance, fact.target].append(fact)
        else:
            found.append(_whole(fact, solid=False))
    for group in groups.values():
        found += _of_events(group)
    return _distinct(found)


def _whole(fact: Told, *, solid: bool) -> Flow:
    begin = NEVER if fact.begin is None else fact.begin
    latest = fact.begin_latest if fact.begin_latest is not None else fact.end
    end_earliest = latest if fact.end is None else fact.end - fact.slack
    end = FOREVER if fact.end is None else fact.end + fact.slack
    return Flow(fact, begin, FOREVER if latest is None else latest, end_earliest or NEVER, end, solid)


def _of_events(events: list[Told]) -> list[Flow]:
    """Flows of one device towards one near end."""
    whole = [_whole(each, solid=each.assured is not False) for each in events if _is_whole(each)]
    begins = [_whole(each, solid=False) for each in events if each.end is None]
    ends = [each for each in events if each.end is not None and not _is_whole(each)]
    known = _Whole(whole)
    flows = [each for each in begins if not known.tells(each)]
    flows += [_whole(each, solid=False) for each in ends if not known.ends(each)]
    flows += [each for each in whole if each.fact.assured is not False]
    flows = _closed(flows)
    starts = sorted({(flow.begin_latest, flow.begin) for flow in [*flows, *whole] if flow.begin != NEVER})
    return [_bounded(flow, starts) for flow in flows]


def _is_whole(event: Told) -> bool:
    """Whether one line shows both ends of its flow."""
    return event.begin is not None and event.end is not None and event.event == "DESTROY"


class _Whole:
    """The whole flows of a group, to recognise events that only repeat a part of one."""

    def __init__(self, whole: Iterable[Flow]) -> None:
        self._of: dict[tuple[Site | None, Site | None], list[Flow]] = defaultdict(list)
        for flow in whole:
            self._of[flow.fact.peer, flow.fact.local].append(flow)

    def tells(self, begun: Flow) -> bool:
        """Whether a whole flow of the same holder began at the same moment, or was alive then."""
        alike = self._of.get((begun.fact.peer, begun.fact.local), ())
        if begun.begin == NEVER:
            return any(flow.begin <= begun.begin_latest <= flow.end for flow in alike)
        return any(flow.begin <= begun.begin_latest and begun.begin <= flow.begin_latest for flow in alike)

    def ends(self, over: Told) -> bool:
        """Whether it is the end of a whole flow once more."""
        assert over.end is not None
        alike = self._of.get((over.peer, over.local), ())
        return any(flow.begin <= over.end <= flow.end + over.slack for flow in alike)


def _closed(flows: list[Flow]) -> list[Flow]:
    """Begins and ends of the same holder put together, in the order of time."""
    ends = sorted((flow for flow in flows if flow.begin == NEVER and flow.end != FOREVER), key=lambda flow: flow.end)
    rest = [flow for flow in flows if flow.begin != NEVER or flow.end == FOREVER]
    opened = sorted((flow for flow in rest if flow.end == FOREVER), key=lambda flow: (flow.begin, flow.fact.record))
    result = [flow for flow in rest if flow.end != FOREVER]
    waiting: dict[tuple[Site | None, Site | None], list[Flow]] = defaultdict(list)
    position = 0
    for over in ends:
        while position < len(opened) and opened[position].begin <= over.end:
            each = opened[position]
            waiting[each.fact.peer, each.fact.local].append(each)
            position += 1
        alike = waiting[over.fact.peer, over.fact.local]
        result += [_until(each, over) for each in alike] if alike else [over]
        alike.clear()
    result += [each for group in waiting.values() for each in group]
    return [*result, *opened[position:]]


def _until(flow: Flow, over: Flow) -> Flow:
    return Flow(flow.fact, flow.begin, flow.begin_latest, flow.end_earliest, over.end, solid=False)


def _bounded(flow: Flow, starts: list[tuple[int, int]]) -> Flow:
    """A flow of unknown end lasts at most until the next one begins on its tuple."""
    if flow.end != FOREVER:
        return flow
    later = next((latest for latest, begin in starts if begin > flow.begin_latest), FOREVER)
    return Flow(flow.fact, flow.begin, flow.begin_latest, flow.end_earliest, later, solid=False)


def _distinct(flows: Iterable[Flow]) -> list[Flow]:
    """Equal tellings of one flow once, in the order of their begin."""
    best: dict[tuple[object, ...], Flow] = {}
    for flow in flows:
        fact = flow.fact
        key: tuple[object, ...] = (
            fact.system,
            fact.target,
            fact.peer,
            fact.local,
            flow.begin,
            flow.end,
            fact.role,
            fact.own,
        )
        if fact.role == "request":
            key = (*key, fact.record)
        held = best.get(key)
        if held is None or (not flow.solid, fact.record) < (not held.solid, held.fact.record):
            best[key] = flow
    return sorted(best.values(), key=lambda flow: (flow.begin, flow.end, flow.fact.record))
