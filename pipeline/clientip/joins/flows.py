"""NAT events and connection lines under one key → flows: who held the connection from when to when.

One tuple carries one flow at a time, so a flow whose end nobody told lasts at most
until the next one begins.  Only a line that shows both ends of its flow by itself is
`solid`: pairs of lines may belong to two flows when lines between them are missing.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final, Generic, TypeVar

from msgspec import Struct

from clientip.joins.facts import JoinFact
from clientip.trust.answers import Site

FOREVER: Final = 2**63 - 1
NEVER: Final = -(2**63)

Held = TypeVar("Held")


class Flow(Struct, frozen=True, gc=False):
    """One holder of a connection. Each end as an interval that holds it; ns."""

    fact: JoinFact  # the line that names the holder; of equal ones that with the smallest record id
    begin: int
    begin_latest: int
    end_earliest: int
    end: int
    solid: bool  # its own line shows both ends, and both sides spoke


def flows_of(facts: Iterable[JoinFact]) -> list[Flow]:
    """The flows these facts tell, by begin; a function of the set of facts.

    The facts share their key.  Those of different witnesses or near ends do not touch each other.
    """
    groups: dict[tuple[str, str, Site | None], list[JoinFact]] = defaultdict(list)
    found: list[Flow] = []
    for fact in facts:
        if fact.event:
            groups[fact.system, fact.instance, fact.target].append(fact)
        else:
            found.append(_whole(fact, solid=False))
    for group in groups.values():
        found += _of_events(group)
    return _distinct(found)


def _whole(fact: JoinFact, *, solid: bool) -> Flow:
    begin = NEVER if fact.begin is None else fact.begin
    latest = fact.begin_latest if fact.begin_latest is not None else fact.end
    end_earliest = latest if fact.end is None else fact.end - fact.slack
    end = FOREVER if fact.end is None else fact.end + fact.slack
    return Flow(fact, begin, FOREVER if latest is None else latest, end_earliest or NEVER, end, solid)


def _of_events(events: list[JoinFact]) -> list[Flow]:
    """Flows of one device towards one near end."""
    whole = [_whole(each, solid=each.assured is not False) for each in events if _is_whole(each)]
    begins = [_whole(each, solid=False) for each in events if each.end is None]
    ends = [each for each in events if each.end is not None and not _is_whole(each)]
    if len(whole) == 1 and not ends and all(_began_as(whole[0], each) for each in begins):
        return whole if whole[0].fact.assured is not False else []  # the usual case, and what follows comes to the same
    known = _Whole(whole)
    flows = [each for each in begins if not known.tells(each)]
    flows += [_whole(each, solid=False) for each in ends if not known.ends(each)]
    flows += [each for each in whole if each.fact.assured is not False]
    flows = _closed(flows)
    starts = sorted({(flow.begin, flow.begin_latest) for flow in [*flows, *whole] if flow.begin != NEVER})
    rising = [begin for begin, _ in starts]
    least = list(accumulate((latest for _, latest in reversed(starts)), min, initial=FOREVER))[::-1]
    return [_bounded(flow, rising, least) for flow in flows]


def _began_as(whole: Flow, begun: Flow) -> bool:
    """Whether it is the begin of this very flow, told by itself."""
    fact, other = whole.fact, begun.fact
    if (fact.peer, fact.local) != (other.peer, other.local) or begun.begin == NEVER:
        return False
    return whole.begin <= begun.begin_latest and begun.begin <= whole.begin_latest


def unanswered(facts: Iterable[JoinFact]) -> Iterator[Flow]:
    """Flows that ended without both sides having spoken, as far as the device saw."""
    for fact in facts:
        if fact.assured is False and fact.end is not None:
            yield _whole(fact, solid=False)


def _is_whole(event: JoinFact) -> bool:
    """Whether one line shows both ends of its flow."""
    return event.begin is not None and event.end is not None and event.event == "DESTROY"


class _Whole:
    """The whole flows of a group, to recognise events that only repeat a part of one."""

    def __init__(self, whole: Iterable[Flow]) -> None:
        alike: dict[tuple[Site | None, Site | None], list[Flow]] = defaultdict(list)
        for flow in whole:
            alike[flow.fact.peer, flow.fact.local].append(flow)
        self._begins = {of: Stretches((flow.begin, flow.begin_latest) for flow in flows) for of, flows in alike.items()}
        self._lives = {of: Stretches((flow.begin, flow.end) for flow in flows) for of, flows in alike.items()}

    def tells(self, begun: Flow) -> bool:
        """Whether a whole flow of the same holder began at the same moment, or was alive then."""
        of = begun.fact.peer, begun.fact.local
        if of not in self._lives:
            return False
        if begun.begin == NEVER:
            return self._lives[of].touch(begun.begin_latest, begun.begin_latest)
        return self._begins[of].touch(begun.begin, begun.begin_latest)

    def ends(self, over: JoinFact) -> bool:
        """Whether it is the end of a whole flow once more."""
        assert over.end is not None
        alike = self._lives.get((over.peer, over.local))
        return alike is not None and alike.touch(over.end - over.slack, over.end)


class Stretches:
    """Stretches of time, to say of another one whether any of them touches it."""

    def __init__(self, stretches: Iterable[tuple[int, int]]) -> None:
        rising = sorted(stretches)
        self._lows = [low for low, _ in rising]
        self._highs = list(accumulate((high for _, high in rising), max))

    def touch(self, low: int, high: int) -> bool:
        """Whether any of them holds a moment of [low, high]."""
        count = bisect_right(self._lows, high)
        return count > 0 and self._highs[count - 1] >= low


class Timeline(Generic[Held]):
    """Things with a begin and an end, to find those of a moment in time that does not grow with all of them."""

    def __init__(self, held: Iterable[tuple[int, int, Held]]) -> None:
        rising = sorted(((begin, max(begin, end), each) for begin, end, each in held), key=lambda each: each[0])
        self._held = [each for _, _, each in rising]
        self._begins = [begin for begin, _, _ in rising]
        self._ends = sorted(end for _, end, _ in rising)
        self._leaves = 1 << (len(rising) - 1).bit_length() if rising else 1
        # A tree of the latest end below each node; the children of n are 2n and 2n + 1.
        self._latest = [NEVER] * self._leaves + [end for _, end, _ in rising]
        self._latest += [NEVER] * (2 * self._leaves - len(self._latest))
        for node in range(self._leaves - 1, 0, -1):
            self._latest[node] = max(self._latest[2 * node], self._latest[2 * node + 1])

    def count(self, low: int, high: int) -> int:
        """How many there are between `low` and `high`."""
        return bisect_right(self._begins, high) - bisect_left(self._ends, low)

    def between(self, low: int, high: int) -> Iterator[Held]:
        """Those that begin up to `high` and end from `low` on, by begin."""
        until = bisect_right(self._begins, high)
        waiting = [(1, 0, self._leaves)]
        while waiting:
            node, first, width = waiting.pop()
            if first >= until or self._latest[node] < low:
                continue
            if width == 1:
                yield self._held[first]
                continue
            half = width // 2
            waiting += [(2 * node + 1, first + half, half), (2 * node, first, half)]


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


def _bounded(flow: Flow, rising: Sequence[int], least: Sequence[int]) -> Flow:
    """A flow of unknown end lasts at most until the next one begins on its tuple.

    `rising`: the earliest begins of all; `least`: from each of them on the least latest begin.
    """
    if flow.end != FOREVER:
        return flow
    later = least[bisect_right(rising, flow.begin_latest)]
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
