"""Facts of one join partition while they may still be asked for: as they came, chunk by chunk, found by hashed key.

Nothing is forgotten silently: what is dropped raises `complete_since` of its kind of key and its witness, and below
that moment only answers that one line proves alone can be given.  A connection that goes on is not over by then: it is
kept until it has been told again.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from clientip.joins.facts import JoinFact, kind_of
from clientip.joins.flows import NEVER
from clientip.stream.join_messages import CROWDED, OPEN, Facts, unpacked_fact

Source = tuple[str, str]
"""(kind of key, telling system)."""

MAX_FACTS_PER_KEY: Final = {"conn": 4096, "request": 257, "trace": 257, "line": 257}  # more are `crowded`
_BITS: Final = 20  # of a reference: place in its chunk
_PLACE: Final = (1 << _BITS) - 1
_NONE: Final = -1
MAX_KEPT_OPEN: Final = 20_000  # open connections whose messages were evicted, on their way through the topic once more
_PER_FACT: Final = 120  # bytes of memory beside the body: columns, and an entry of the index


class Again(NamedTuple):
    """A fact that outlives its message, to be told again."""

    hash: int
    source: Source
    body: bytes


class _Kept(NamedTuple):
    """An open connection whose message was evicted."""

    hash: int
    source: Source
    body: bytes
    appended_ns: int


class Found(NamedTuple):
    """What is held under one key."""

    facts: list[JoinFact]
    crowded: bool  # there were more


class _Held:
    """One chunk's facts."""

    __slots__ = ("appended_ns", "before", "facts", "hashes", "number", "open", "sources", "told_again", "untils")

    def __init__(self, number: int, appended_ns: int, facts: Facts, sources: tuple[Source, ...]) -> None:
        self.number, self.appended_ns, self.facts, self.sources = number, appended_ns, facts, sources
        self.hashes, self.untils = memoryview(facts.hashes).cast("Q"), memoryview(facts.untils).cast("q")
        self.before = array("q")  # of each fact: reference of the one before it under its key, or _NONE
        conn = {number for number, (kind, _) in enumerate(sources) if kind == "conn"}
        self.open = [
            at for at, until in enumerate(self.untils) if until == OPEN and facts.sources[at] in conn
        ]  # those that may outlive it
        self.told_again = False

    def size(self) -> int:
        return len(self.facts.bodies) + _PER_FACT * len(self.hashes)

    def body(self, at: int) -> bytes:
        ends = memoryview(self.facts.ends).cast("I")
        return self.facts.bodies[ends[at - 1] if at else 0 : ends[at]]

    def source(self, at: int) -> Source:
        return self.sources[self.facts.sources[at]]


class FactStore:
    """The facts of one partition; chunks come in the order of their numbers, with append times that do not fall."""

    def __init__(self, complete_since: Mapping[Source, int] | None = None) -> None:
        self.complete_since: dict[Source, int] = dict(complete_since or {})
        self.size = 0  # bytes, about
        self.count = 0
        self._chunks: deque[_Held] = deque()
        self._by_number: dict[int, _Held] = {}
        self._index: dict[int, int] = {}  # hash → reference of its youngest fact
        self._crowded: dict[int, int] = {}  # hash → number of the last chunk that had too many
        self._again_from = 0  # how many of `_chunks` were looked through for what outlives them
        self._kept: dict[int, _Kept] = {}  # by reference, the oldest first
        self._kept_under: dict[int, list[int]] = {}  # hash → references
        self._untold: list[Again] = []  # of those, what has to be told again

    def first(self) -> int | None:
        """Number of the oldest chunk of which anything is held."""
        kept = next(iter(self._kept), None)
        return self.oldest() if kept is None else kept >> _BITS

    def oldest(self) -> int | None:
        """Number of the oldest chunk that is held whole."""
        return self._chunks[0].number if self._chunks else None

    def add(self, number: int, appended_ns: int, facts: Facts, sources: tuple[Source, ...]) -> memoryview:
        """Hold a chunk's facts; gives back the hashes of their keys."""
        held = _Held(number, appended_ns, facts, sources)
        self._chunks.append(held)
        self._by_number[number] = held
        self.size += held.size()
        self.count += len(held.hashes)
        index, reference, before = self._index, number << _BITS, held.before
        get, append = index.get, before.append
        # The hot loop of a rebuild.
        for hashed in held.hashes:
            append(get(hashed, _NONE))
            index[hashed] = reference
            reference += 1
        if _has_empty(facts.ends):
            self._note_crowded(held)
        if self._kept:
            for hashed in self._kept_under.keys() & set(held.hashes):
                self._settle(hashed)
        return held.hashes

    def _note_crowded(self, held: _Held) -> None:
        for at, hashed in enumerate(held.hashes):
            if not held.body(at):
                self._crowded[hashed] = held.number

    def under(self, hashed: int, key: str) -> Found:
        """The facts under a key."""
        references = self._references(hashed, MAX_FACTS_PER_KEY[kind_of(key)] + 1)
        if hashed in self._crowded or len(references) > MAX_FACTS_PER_KEY[kind_of(key)]:
            return Found([], crowded=True)
        bodies = {self._body(reference) for reference in references}
        bodies.update(self._kept[reference].body for reference in self._kept_under.get(hashed, ()))
        facts = [unpacked_fact(body) for body in sorted(bodies) if body]
        return Found([fact for fact in facts if fact.key == key], crowded=False)

    def _references(self, hashed: int, most: int = MAX_FACTS_PER_KEY["conn"]) -> list[int]:
        """The facts under a hash, the youngest first, and no more than that."""
        found: list[int] = []
        reference, held = self._index.get(hashed, _NONE), self._by_number
        while reference != _NONE and len(found) < most:
            chunk = held.get(reference >> _BITS)
            if chunk is None:  # forgotten, as all before it
                break
            found.append(reference)
            reference = chunk.before[reference & _PLACE]
        return found

    def _body(self, reference: int) -> bytes:
        return self._by_number[reference >> _BITS].body(reference & _PLACE)

    def again(self, before_ns: int) -> Iterator[Again]:
        """Connections still open whose message came before that moment: they have to be told again in time."""
        untold, self._untold = self._untold, []
        yield from untold
        while self._again_from < len(self._chunks):
            held = self._chunks[self._again_from]
            if held.appended_ns >= before_ns:
                return
            self._again_from += 1
            yield from self._tell_again(held)

    def _tell_again(self, held: _Held) -> list[Again]:
        held.open, held.told_again = self._still_open(held), True
        return [Again(held.hashes[at], held.source(at), held.body(at)) for at in held.open]

    def _still_open(self, held: _Held) -> list[int]:
        bodies = ((at, held.body(at)) for at in held.open)
        return [at for at, body in bodies if body and not self._is_over(held.hashes[at], unpacked_fact(body), held, at)]

    def _is_over(self, hashed: int, fact: JoinFact, held: _Held, at: int) -> bool:
        """Whether a later event ended it, or a younger message tells the same."""
        body, own = held.body(at), held.number << _BITS | at
        for reference in self._references(hashed):
            if reference == own:
                continue
            other_body = self._body(reference)
            if not other_body or (other_body == body and reference < own):
                continue
            if other_body == body or _ends(unpacked_fact(other_body), fact):
                return True
        return False

    def drop(self, before_ns: int) -> Iterator[Again]:
        """Forget messages that came before that moment; gives what has not been told again, and so is held on."""
        while self._chunks and self._chunks[0].appended_ns < before_ns:
            oldest = self._chunks[0]
            if not oldest.told_again:
                self._again_from = max(self._again_from, 1)
                yield from self._tell_again(oldest)
            if self._still_open(oldest):
                return  # until the next telling has come
            self._forget()

    def evict(self) -> bool:
        """Forget the oldest message but for connections still open, which are told again; False: none is held."""
        if not self._chunks:
            return False
        held = self._chunks[0]
        kept = {at: _Kept(held.hashes[at], held.source(at), held.body(at), held.appended_ns) for at in self._left(held)}
        self._forget(frozenset(kept))
        for at, each in kept.items():
            if len(self._kept) >= MAX_KEPT_OPEN:
                self._give_up(next(iter(self._kept)))
            reference = held.number << _BITS | at
            self._kept[reference] = each
            self._kept_under.setdefault(each.hash, []).append(reference)
            self.count += 1
            if not held.told_again:
                self._untold.append(Again(each.hash, each.source, each.body))
        return True

    def _left(self, held: _Held) -> list[int]:
        """What to keep of a message; nothing of witnesses of which an open connection was lost already."""
        return [at for at in self._still_open(held) if self.complete_since.get(held.source(at), NEVER) < OPEN]

    def _settle(self, hashed: int) -> None:
        """More was told under this key: what is kept there may have been told again, or be over."""
        bodies = {self._body(reference) for reference in self._references(hashed)} - {CROWDED}
        others = [unpacked_fact(body) for body in bodies]
        for reference in list(self._kept_under[hashed]):
            kept = self._kept[reference]
            fact = unpacked_fact(kept.body)
            if kept.body in bodies:
                self._release(reference)
            elif any(_ends(other, fact) for other in others):
                self._raise_to(self._release(reference).source, kept.appended_ns)

    def _give_up(self, reference: int) -> None:
        """An open connection of which nobody will know when it was over."""
        self._raise_to(self._release(reference).source, OPEN)

    def _release(self, reference: int) -> _Kept:
        kept = self._kept.pop(reference)
        under = self._kept_under[kept.hash]
        under.remove(reference)
        if not under:
            del self._kept_under[kept.hash]
        self.count -= 1
        return kept

    def _forget(self, kept: frozenset[int] = frozenset()) -> None:
        held = self._chunks[0]
        copied = kept | {at for at in held.open if self._has_copy(held, at)}
        self._chunks.popleft()
        self._again_from = max(0, self._again_from - 1)
        self.size -= held.size()
        self.count -= len(held.hashes)
        index, end = self._index, (held.number + 1) << _BITS
        for hashed in held.hashes:
            if index.get(hashed, end) < end:  # it has no younger fact
                del index[hashed]
        if self._crowded:
            self._crowded = {hashed: number for hashed, number in self._crowded.items() if number != held.number}
        del self._by_number[held.number]
        self._raise(held, copied)

    def _has_copy(self, held: _Held, at: int) -> bool:
        """Whether a younger message tells the same."""
        body = held.body(at)
        references = self._references(held.hashes[at])
        return any(each >> _BITS > held.number and self._body(each) == body for each in references)

    def _raise(self, held: _Held, copied: frozenset[int]) -> None:
        """What was forgotten was over at the latest when it was told; what was told again is not forgotten."""
        latest: dict[int, int] = {}
        for at, (number, until) in enumerate(zip(held.facts.sources, held.untils, strict=True)):
            if until > latest.get(number, NEVER) and at not in copied:
                latest[number] = until
        for number, until in latest.items():
            self._raise_to(held.sources[number], min(until, held.appended_ns))

    def _raise_to(self, source: Source, moment: int) -> None:
        self.complete_since[source] = max(moment, self.complete_since.get(source, NEVER))


def _has_empty(ends: bytes) -> bool:
    """Whether any body is empty."""
    columns = array("I", ends)
    return columns[0] == 0 or any(map(int.__eq__, columns, columns[1:]))


def _ends(other: JoinFact, fact: JoinFact) -> bool:
    """Whether an event says that the flow of another one on the same tuple is over, or tells it anew."""
    alike = (other.system, other.instance, other.target) == (fact.system, fact.instance, fact.target)
    return alike and other.key == fact.key and _follows(other, fact)


def _follows(other: JoinFact, fact: JoinFact) -> bool:
    """Whether the event is of a later moment on the same tuple, so that the flow of `fact` is over or told anew."""
    moment = other.end if other.begin_latest is None else other.begin_latest
    since = fact.begin_latest if fact.begin_latest is not None else fact.end
    if moment is None or since is None:
        return False
    return moment > since or (other.end is not None and other.end + other.slack >= since)
