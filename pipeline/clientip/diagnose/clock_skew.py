"""How far the clocks of two logs lie apart, measured on connections that both of them show.

A request begins while its connection lasts.  Where one flow alone in the whole input has the four ends of a
connection, asker and witness speak of the same one whatever their clocks say, so each such connection bounds the
offset (asker's clock minus witness's) from both sides.  The measure is a report: the joins use configured bounds only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple
from zlib import crc32

from msgspec import Struct

from clientip.joins.facts import SEPARATOR, JoinFact, JoinQuestion, conn_key, kind_of
from clientip.joins.flows import FOREVER, NEVER, flows_of
from clientip.model import System
from clientip.trust.answers import Site

MAX_CONNECTIONS: Final = 100_000  # kept at a time; of more an even sample, so that a drift shows
MAX_FACTS: Final = 8  # of one connection: more are several flows
MAX_SKEW_NS: Final = 10_000_000_000  # further off than this the flow is another one, of which a line is missing
_MILLISECOND: Final = 1_000_000

Four = tuple[str, Site]  # join key of the far end, and the near end
Writer = tuple[str, str]  # system, instance


class Match(NamedTuple):
    """The offset that one connection allows, ns."""

    low: int  # the last request began before the flow's end
    high: int  # the first request began after the flow's begin


class Offset(Struct, frozen=True):
    """What all connections of one pair say together; ns, asker's clock minus witness's."""

    asker: Writer
    witness: Writer
    matches: int
    apart: int  # of them, left out: more than MAX_SKEW_NS off what the others say
    smallest: int
    largest: int
    estimate: int
    drifts: bool  # no single offset fits: it moved at least from `smallest` to `largest`
    configured: int  # what both clocks together may be off, with the tolerance

    @property
    def needed(self) -> int:
        """How much the two clocks together must be allowed."""
        return max(abs(self.smallest), abs(self.largest)) if self.drifts else abs(self.estimate)

    @property
    def covered(self) -> bool:
        """Whether the configuration allows for it."""
        return self.needed <= self.configured

    @property
    def suggestion(self) -> str:
        """A `max_skew` for one of the two: a tenth and a millisecond more, rounded up.

        >>> Offset(("a", ""), ("b", ""), 5, 0, -40_000_000, 50_000_001, 50_000_001, False, 0).suggestion
        '57ms'
        """
        wanted = self.needed + self.needed // 10 + _MILLISECOND
        return f"{-(-wanted // _MILLISECOND)}ms"


class _Connection(Struct):
    """What one asker says of one connection."""

    asker: Writer
    witnesses: tuple[str, ...]
    serial: int | None
    first: int  # latest possible start of its first request, by the asker's clock
    last: int  # earliest possible start of its last request
    several: bool = False  # the asker had several connections with these ends


class Measuring:
    """Connections asked about in one pass over the inputs, told of in the next; bounded, whatever the input."""

    def __init__(self, systems: Mapping[str, System], skews: Mapping[str, int], tolerance: int) -> None:
        self._systems, self._skews, self._tolerance = systems, skews, tolerance
        self._asked: dict[Four, _Connection] = {}
        self._thinned = 0  # one in 2 to the power of this is kept
        self._facts: dict[Four, list[JoinFact]] = defaultdict(list)
        self._matches: dict[tuple[Writer, Writer], list[Match]] = defaultdict(list)
        self._connecting = tuple(name for name, system in systems.items() if system.tells and system.connects)

    @property
    def sampled(self) -> bool:
        """Whether there were more connections than are kept."""
        return self._thinned > 0

    def ask(self, question: JoinQuestion) -> None:
        """A first question of a line."""
        target = question.target
        if kind_of(question.key) != "conn" or question.earliest is None or target is None or target[1] is None:
            return
        skew = self._skews.get(question.system, 0)
        asker = question.system, question.instance
        first, last = question.latest - skew, question.earliest + skew
        four = question.key, target
        if not self._is_kept(four):
            return
        known = self._asked.get(four)
        if known is None:
            self._asked[four] = _Connection(asker, question.witnesses, question.serial, first, last)
            self._thin()
            return
        known.several = known.several or (known.asker, known.serial) != (asker, question.serial)
        known.first, known.last = min(known.first, first), max(known.last, last)

    def tell(self, fact: JoinFact) -> None:
        """What a line tells under some key."""
        if fact.target is None or fact.role not in ("translation", "connection"):
            return
        four = fact.key, fact.target
        asked = self._asked.get(four)
        if asked is not None and fact.system in asked.witnesses and len(self._facts[four]) < MAX_FACTS:
            self._facts[four].append(fact)

    def conclude(self) -> bool:
        """The end of a pass of telling; whether flows were met that lead to a further hop, for one more pass."""
        onward: dict[Four, _Connection] = {}
        for four, facts in self._facts.items():
            asked = self._asked[four]
            fact = None if asked.several else _alone(facts)
            if fact is None:
                continue
            match = self._match(asked, fact)
            if match.low <= match.high:
                self._matches[asked.asker, (fact.system, fact.instance)].append(match)
                further = self._further(four, fact)
                if further is not None:
                    asked.witnesses, asked.several = self._connecting, further in onward
                    onward[further] = asked
        self._asked = onward
        self._facts.clear()
        return bool(onward)

    def offsets(self) -> list[Offset]:
        """What was measured, per pair."""
        return [self._offset(*pair, matches) for pair, matches in sorted(self._matches.items())]

    def _is_kept(self, four: Four) -> bool:
        return crc32(repr(four).encode()) & ((1 << self._thinned) - 1) == 0

    def _thin(self) -> None:
        while len(self._asked) > MAX_CONNECTIONS:
            self._thinned += 1
            self._asked = {four: asked for four, asked in self._asked.items() if self._is_kept(four)}

    def _match(self, asked: _Connection, fact: JoinFact) -> Match:
        skew = self._skews.get(fact.system, 0)
        assert fact.begin is not None
        assert fact.end is not None
        spare = max(0, fact.slack - 2 * skew)  # the stamp's own resolution
        return Match(asked.last - (fact.end + spare), asked.first - (fact.begin + skew))

    def _further(self, four: Four, fact: JoinFact) -> Four | None:
        """The four ends of the connection that the witness had with its own peer."""
        if fact.own or fact.peer is None or fact.peer[1] is None or fact.local is None or fact.local[1] is None:
            return None
        transport = four[0].split(SEPARATOR)[2]
        return conn_key(self._systems[fact.system].network, transport, fact.peer), fact.local

    def _offset(self, asker: Writer, witness: Writer, matches: list[Match]) -> Offset:
        configured = sum(self._skews.get(name, 0) for name, _ in {asker, witness}) + self._tolerance
        return measured(asker, witness, matches, configured)


def measured(asker: Writer, witness: Writer, matches: Sequence[Match], configured: int) -> Offset:
    """What these connections say of one pair; there must be one.

    >>> found = measured(("app", ""), ("nat", ""), [Match(-900, 105), Match(-5, 110), Match(90, 300)], 0)
    >>> found.smallest, found.largest, found.estimate, found.drifts
    (90, 105, 105, False)
    """
    common = _most_common(matches)
    near = [match for match in matches if match.low <= common + MAX_SKEW_NS and common - MAX_SKEW_NS <= match.high]
    low, high = max(match.low for match in near), min(match.high for match in near)
    smallest, largest, drifts = min(low, high), max(low, high), low > high
    # The first request follows its connection at once, sooner or later: the smallest distance is the offset.
    estimate = common if drifts else high
    apart = len(matches) - len(near)
    return Offset(asker, witness, len(matches), apart, smallest, largest, estimate, drifts, configured)


def _most_common(matches: Sequence[Match]) -> int:
    """The largest offset that as many connections as possible allow."""
    ends = sorted([(match.low, -1) for match in matches] + [(match.high, 1) for match in matches])
    best, place, depth, rising = 0, 0, 0, False
    for at, side in ends:
        depth -= side
        if side < 0:
            rising = rising or depth > best
            best = max(best, depth)
        elif rising:
            place, rising = at, False
    return place


def _alone(facts: Iterable[JoinFact]) -> JoinFact | None:
    """The fact of the one flow these tell, if one it is and its own line shows both ends."""
    kept = list(facts)
    flows = flows_of(kept)
    if len(flows) != 1 or len(kept) >= MAX_FACTS:
        return None
    [flow] = flows
    fact = flow.fact
    whole = fact.begin is not None and fact.end is not None and flow.begin > NEVER and flow.end < FOREVER
    return fact if whole and (flow.solid or fact.role == "connection") else None
