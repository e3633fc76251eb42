"""Facts of one join partition while they may still be asked for: as they came, chunk by chunk, found by hashed key.

Nothing is forgotten silently: what is dropped raises `complete_since` of its kind of key and its teller, and below
that moment only answers that one line proves alone can be given.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from pipeline.evidence import Told, kind_of
from pipeline.flows import NEVER
from pipeline.joinchunk import OPEN, Facts, unpacked_fact

Source = tuple[str, str]
"""(kind of key, telling system)."""

MOST: Final = {"conn": 4096, "request": 257, "trace": 257, "line": 257}  # facts under one key; more are `crowded`
_BITS: Final = 20  # of a reference: place in its chunk
_PER_FACT: Final = 140  # bytes of memory beside the body: columns, and an entry of the index


class Again(NamedTuple):
    """A fact that outlives its message, to be told again."""

    hash: int
    source: Source
    body: bytes


class Found(NamedTuple):
    """What is held under one key."""

    facts: list[Told]
    crowded: bool  # there were more


class _Held:
    """One chunk's facts."""

    __slots__ = ("appended_ns", "facts", "hashes", "number", "open", "sources", "told_again", "untils")

    def __init__(self, number: int, appended_ns: int, facts: Facts, sources: tuple[Source, ...]) -> None:
        self.number, self.appended_ns, self.facts, self.sources = number, appended_ns, facts, sources
        self.hashes, self.untils = memoryview(facts.hashes).cast("Q"), memoryview(facts.untils).cast("q")
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


class HeldFacts:
    """The facts of one partition; chunks come in the order of their numbers, with append times that do not fall."""

    def __init__(self, complete_since: Mapping[Source, int] | None = None) -> None:
        self.complete_since: dict[Source, int] = dict(complete_since or {})
        self.size = 0  # bytes, about
        self.count = 0
        self._chunks: deque[_Held] = deque()
        self._by_number: dict[int, _Held] = {}
        self._index: dict[int, int | array[int]] = {}  # hash → reference, or several
        self._crowded: dict[int, int] = {}  # hash → number of the last chunk that had too many
        self._again_from = 0  # how many of `_chunks` were looked through for what outlives them

    def first(self) -> int | None:
        """Number of the oldest chunk that is held."""
        return self._chunks[0].number if self._chunks else None

    def add(self, number: int, appended_ns: int, facts: Facts, sources: tuple[Source, ...]) -> memoryview:
        """Hold a chunk's facts; gives back the hashes of their keys."""
        held = _Held(number, appended_ns, facts, sources)
        self._chunks.append(held)
        self._by_number[number] = held
        self.size += held.size()
        self.count += len(held.hashes)
        index, base = self._index, number << _BITS
        # The hot loop of a rebuild.
        for at, hashed in enumerate(held.hashes):
            before = index.get(hashed)
            if before is None:
                index[hashed] = base | at
            elif isinstance(before, int):
                index[hashed] = array("q", (before, base | at))
            else:
                self._one_more(hashed, before, base | at)
        if not all(memoryview(facts.ends).cast("I")) or _has_empty(facts.ends):
            self._note_crowded(held)
        return held.hashes

    def _one_more(self, hashed: int, before: array[int], reference: int) -> None:
        if len(before) >= MOST["conn"]:
            self._crowded[hashed] = reference >> _BITS
        else:
            before.append(reference)

    def _note_crowded(self, held: _Held) -> None:
        for at, hashed in enumerate(held.hashes):
            if not held.body(at):
                self._crowded[hashed] = held.number

    def under(self, hashed: int, key: str) -> Found:
        """The facts under a key."""
        references = self._index.get(hashed)
        if references is None:
            return Found([], hashed in self._crowded)
        listed = (references,) if isinstance(references, int) else references
        crowded = hashed in self._crowded or len(listed) > MOST[kind_of(key)]
        if crowded:
            return Found([], crowded=True)
        bodies = {self._body(reference) for reference in listed}
        facts = [unpacked_fact(body) for body in sorted(bodies) if body]
        return Found([fact for fact in facts if fact.key == key], crowded=False)

    def _body(self, reference: int) -> bytes:
        return self._by_number[reference >> _BITS].body(reference & ((1 << _BITS) - 1))

    def again(self, before_ns: int) -> Iterator[Again]:
        """Connections still open whose message came before that moment: they have to be told again in time."""
        while self._again_from < len(self._chunks):
            held = self._chunks[self._again_from]
            if held.appended_ns >= before_ns:
                return
            self._again_from += 1
            held.told_again = True
            yield from self._still_open(held)

    def _still_open(self, held: _Held) -> Iterator[Again]:
        for at in held.open:
            body = held.body(at)
            if body and not self._is_over(held.hashes[at], unpacked_fact(body), held, at):
                yield Again(held.hashes[at], held.source(at), body)

    def _is_over(self, hashed: int, fact: Told, held: _Held, at: int) -> bool:
        """Whether a later event ended it, or a younger message tells the same."""
        body, own = held.body(at), held.number << _BITS | at
        references = self._index.get(hashed)
        if references is None or isinstance(references, int):
            return False
        for reference in references:
            if reference == own:
                continue
            other_body = self._body(reference)
            if not other_body or (other_body == body and reference < own):
                continue
            other = unpacked_fact(other_body)
            alike = (other.system, other.instance, other.target) == (fact.system, fact.instance, fact.target)
            if (other_body == body or (alike and _follows(other, fact))) and other.key == fact.key:
                return True
        return False

    def drop(self, before_ns: int) -> Iterator[Again]:
        """Forget messages that came before that moment; gives what has not been told again, and so is held on."""
        while self._chunks and self._chunks[0].appended_ns < before_ns:
            left = list(self._still_open(self._chunks[0]))
            if left:
                if not self._chunks[0].told_again:
                    self._again_from = max(self._again_from, 1)
                    self._chunks[0].told_again = True
                    yield from left
                return  # until the next telling has come
            self._forget()

    def evict(self) -> bool:
        """Forget the oldest message, whatever it holds; False: none is held."""
        if not self._chunks:
            return False
        self._forget()
        return True

    def _forget(self) -> None:
        held = self._chunks[0]
        copied = frozenset(at for at in held.open if self._has_copy(held, at))
        self._chunks.popleft()
        self._again_from = max(0, self._again_from - 1)
        self.size -= held.size()
        self.count -= len(held.hashes)
        index, base = self._index, held.number << _BITS
        for at, hashed in enumerate(held.hashes):
            references = index.get(hashed)
            if isinstance(references, int):
                if references == base | at:
                    del index[hashed]
            elif references is not None:
                left = array("q", (each for each in references if each >> _BITS != held.number))
                if left:
                    index[hashed] = left
                else:
                    del index[hashed]
            if self._crowded and self._crowded.get(hashed) == held.number:
                del self._crowded[hashed]
        del self._by_number[held.number]
        self._raise(held, copied)

    def _has_copy(self, held: _Held, at: int) -> bool:
        """Whether a younger message tells the same."""
        references = self._index.get(held.hashes[at])
        if references is None or isinstance(references, int):
            return False
        body = held.body(at)
        return any(each >> _BITS > held.number and self._body(each) == body for each in references)

    def _raise(self, held: _Held, copied: frozenset[int]) -> None:
        """What was forgotten was over at the latest when it was told; what was told again is not forgotten."""
        latest: dict[int, int] = {}
        for at, (number, until) in enumerate(zip(held.facts.sources, held.untils, strict=True)):
            if until > latest.get(number, NEVER) and at not in copied:
                latest[number] = until
        for number, until in latest.items():
            source = held.sources[number]
            moment = min(until, held.appended_ns)
            self.complete_since[source] = max(moment, self.complete_since.get(source, NEVER))


def _has_empty(ends: bytes) -> bool:
    """Whether any body is empty."""
    columns = array("I", ends)
    return any(map(int.__eq__, columns, columns[1:]))


def _follows(other: Told, fact: Told) -> bool:
    """Whether the event is of a later moment on the same tuple, so that the flow of `fact` is over or told anew."""
    moment = other.end if other.begin_latest is None else other.begin_latest
    since = fact.begin_latest if fact.begin_latest is not None else fact.end
    if moment is None or since is None:
        return False
    return moment > since or (other.end is not None and other.end + other.slack >= since)
