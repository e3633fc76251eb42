"""Where the word of a log has a hole: stretches in which it may have lines that were not understood.

A line that could not be read may be about any request that was logged then, and its client may have made it so.
The lines of one writer stand in the order in which they were written.  So a hole reaches from the moment at which
the line read before it was written to that of the line read after it, as far as the clocks and the disorder that the
log shows leave open, and back by `longest`: a request that was logged then may have begun so much earlier.
Without a line on one side the hole is open to that side.  Units: ns since the epoch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from msgspec import Struct

from clientip.joins.flows import FOREVER, NEVER
from clientip.joins.witnesses import slack_of
from clientip.model import Fact, Heartbeat, Outcome, Part, Record, Skipped

MAX_HOLES: Final = 20_000  # of one part of a log; of more, neighbours become one, which only claims less

Hole = tuple[int, int]
"""(from, to): requests and connections that began or went on in between may be missing from the log."""


class WriteTime(NamedTuple):
    """When a line was written, by its own clock."""

    moment: int
    slack: int  # how far it may be off, either way
    is_begin: bool = False  # it shows only when its request began: it was written then, or up to `longest` later


class LogPart(Struct, frozen=True, gc=False, array_like=True):
    """What a stretch of one writer's lines shows of its own order; parts in order are as good as the whole."""

    first: int | None = None  # when its first line that was understood was written; None: it has none
    last: int | None = None  # the latest moment at which a line of it was written
    least: int | None = None  # the earliest
    disorder: int = 0  # how far a line was ever behind one before it
    slack: int = 0  # how far a moment may be off
    breaks: tuple[Hole, ...] = ()  # moments written before and after lines that were not understood
    begins_broken: bool = False  # such a line stands before the first that was understood
    ends_broken: bool = False  # or behind the last one
    tries: tuple[Hole, ...] = ()  # while these a request may have been on a connection that no line shows
    of_begins: bool = False  # some moments are those of begins, and the lines were written up to `longest` later


Log = tuple[str, str, Sequence[LogPart]]
"""(system, instance, the parts of one writer's log in order)."""


class LineOrder:
    """The lines of one writer as they are read, to find what lies between those that were understood.

    >>> order = LineOrder()
    >>> for moment in (10, 20, None, 50):
    ...     order.see(None if moment is None else WriteTime(moment, 0))
    >>> order.part().breaks
    ((20, 50),)
    """

    __slots__ = (
        "_begins_broken",
        "_breaks",
        "_broken",
        "_disorder",
        "_first",
        "_last",
        "_least",
        "_of_begins",
        "_slack",
        "_tries",
    )

    def __init__(self) -> None:
        self._first: int | None = None
        self._last: int | None = None
        self._least = FOREVER
        self._disorder = self._slack = 0
        self._breaks: list[Hole] = []
        self._tries: list[Hole] = []
        self._broken = self._begins_broken = self._of_begins = False

    def see(self, written: WriteTime | None, tried: Hole | None = None) -> None:
        """One more line: when it was written; None: it was not understood, or does not say when.

        `tried`: when its request may have been on a connection that it does not show.
        """
        if tried is not None:
            self._tries.append(tried)
            if len(self._tries) > 2 * MAX_HOLES:
                self._tries = list(fewer(self._tries))
        if written is None:
            self._broken = True
            return
        moment, slack, is_begin = written
        self._of_begins = self._of_begins or is_begin
        self._slack = max(self._slack, slack)
        self._least = min(self._least, moment)
        last = self._last
        if last is None:
            self._first = self._last = moment
            self._begins_broken, self._broken = self._broken, False
            return
        if self._broken:
            self._breaks.append((last, moment))
            self._broken = False
            if len(self._breaks) > 2 * MAX_HOLES:
                self._breaks = list(fewer(self._breaks))
        if moment >= last:
            self._last = moment
        elif last - moment > self._disorder:
            self._disorder = last - moment

    def part(self) -> LogPart:
        """What was seen so far."""
        if self._first is None:
            return LogPart(begins_broken=self._broken, ends_broken=self._broken)
        holes, broken = (fewer(self._breaks), fewer(self._tries)), (self._begins_broken, self._broken)
        times = self._first, self._last, self._least, self._disorder, self._slack
        return LogPart(*times, holes[0], *broken, holes[1], self._of_begins)


class LogOrders:
    """The order of every log that is read, by system, instance and file."""

    def __init__(self) -> None:
        self._orders: dict[tuple[str, str, str], LineOrder] = {}

    def see(self, system: str, instance: str, file: str, outcome: Outcome) -> None:
        """One more line."""
        if is_aside(outcome):
            return
        order = self._orders.get((system, instance, file))
        if order is None:
            order = self._orders[system, instance, file] = LineOrder()
        order.see(written_at(outcome), tried_in(outcome))

    def logs(self) -> Iterator[Log]:
        """Every file, as far as it was seen."""
        return ((system, instance, (order.part(),)) for (system, instance, _), order in self._orders.items())


def merged(stretches: Iterable[Hole]) -> tuple[Hole, ...]:
    """The same moments in as few stretches as hold them, by time.

    >>> merged([(5, 9), (1, 3), (2, 4), (9, 10)])
    ((1, 4), (5, 10))
    """
    found: list[Hole] = []
    for low, high in sorted((min(each), max(each)) for each in stretches):
        if found and low <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], high)
        else:
            found.append((low, high))
    return tuple(found)


def fewer(stretches: Iterable[Hole]) -> tuple[Hole, ...]:
    """The same moments, and where they are very many stretches, those between neighbours too."""
    found = merged(stretches)
    while len(found) > MAX_HOLES:
        found = tuple((found[at][0], found[min(at + 1, len(found) - 1)][1]) for at in range(0, len(found), 2))
    return found


def holes_of(parts: Iterable[LogPart], longest: int) -> tuple[Hole, ...]:
    """The holes of one writer's log whose parts these are, in the order of the log.

    `longest`: no request or connection of it lasts longer.

    >>> holes_of([LogPart(10, 20, 10, slack=1, ends_broken=True), LogPart(60, 70, 60)], longest=5)
    ((14, 61),)
    >>> holes_of([LogPart(10, 20, 10, ends_broken=True)], longest=5)[0][1] == FOREVER
    True
    """
    known = list(parts)
    spare, later = _spare(known, longest)
    unshown = [hole for each in known for hole in each.tries]
    broken = (
        (
            NEVER if low == NEVER else low - spare - longest,
            FOREVER if high == FOREVER else high + spare + later,
        )
        for low, high in _breaks(known)
    )
    return merged([*unshown, *broken])


def written_of(parts: Iterable[LogPart], longest: int) -> Hole | None:
    """From when to when everything that held is in the log: what began later may not be over yet.

    >>> written_of([LogPart(10, 20, 10, slack=1), LogPart(60, 70, 60)], longest=5)
    (11, 64)
    """
    known = [each for each in parts if each.first is not None]
    if not known:
        return None
    spare, later = _spare(known, longest)
    first = min(each.first if each.least is None else each.least for each in known if each.first is not None)
    return first + spare + later, max(each.last for each in known if each.last is not None) - spare - longest


def _spare(parts: Sequence[LogPart], longest: int) -> tuple[int, int]:
    """How far moments may be off either way, and by how much lines may have been written after theirs."""
    slack = max((each.slack for each in parts), default=0)
    return _disorder(parts) + slack, longest if any(each.of_begins for each in parts) else 0


def _disorder(parts: Iterable[LogPart]) -> int:
    found, before = 0, NEVER
    for part in parts:
        if part.last is not None and part.least is not None:
            found = max(found, part.disorder, 0 if before == NEVER else before - part.least)
            before = max(before, part.last)
    return found


def _breaks(parts: Iterable[LogPart]) -> Iterator[tuple[int, int]]:
    before, is_broken = NEVER, False
    for part in parts:
        is_broken = is_broken or part.begins_broken
        if part.first is None or part.last is None:
            continue
        if is_broken:
            yield min(before, part.first), max(before, part.first)
        yield from ((low, max(high, before)) for low, high in part.breaks)
        before, is_broken = max(before, part.last), part.ends_broken
    if is_broken:
        yield before, FOREVER


def is_aside(outcome: Outcome) -> bool:
    """Whether the line says nothing of a request or connection, and says so: no client can write one.

    Parts are judged by the line that they make; marks and comments are understood.
    """
    return isinstance(outcome, Skipped | Part | Heartbeat)


def written_at(outcome: Outcome) -> WriteTime | None:
    """When a line that was understood was written; None: it was not understood, or does not say when."""
    record = outcome.record if isinstance(outcome, Fact) else outcome
    if not isinstance(record, Record):
        return None
    seen = record.observation
    shown = seen.end_ns if seen.end_ns is not None else seen.connected_ns
    moment = shown if shown is not None else seen.start_latest_ns
    if moment is None or seen.time_by in (None, "arrival"):
        return None
    return WriteTime(moment, slack_of(seen), shown is None and seen.kind != "translation")


def tried_in(outcome: Outcome) -> Hole | None:
    """When the request of a line may have been on a connection that the line does not show; None: it was on no other.

    Only the connection of the last try is logged, so of any other one an earlier request would seem to be the last.
    """
    if not isinstance(outcome, Record) or outcome.observation.retried_until_ns is None:
        return None
    seen = outcome.observation
    return NEVER if seen.start_ns is None else seen.start_ns, outcome.observation.retried_until_ns
