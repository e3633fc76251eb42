"""The facts of one join partition as long as questions may need them: as they came, chunk by chunk, by hashed key.

Nothing is forgotten silently: a fact that is dropped raises `complete_since` of its kind of key and its witness. About
moments before that, only an answer that one line proves alone can be given. A connection that is still open is not
dropped with its message: it is kept until it has been sent again.
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
"""(kind of key, witness)."""

MAX_FACTS_PER_KEY: Final = {"conn": 4096, "request": 257, "trace": 257, "line": 257}  # more are `crowded`
_BITS: Final = 20  # of a reference: place in its chunk
_PLACE: Final = (1 << _BITS) - 1
_NONE: Final = -1
MAX_KEPT_OPEN: Final = 20_000  # open connections whose messages were evicted, until they have been sent again
_PER_FACT: Final = 120  # bytes of memory beside the body: columns, and an entry of the index


class Again(NamedTuple):
    """A fact that outlives its message, to be sent again."""

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
    """The facts under one key."""

    facts: list[JoinFact]
    crowded: bool  # whether there are too many


class _ChunkFacts:
    """The facts of one chunk."""

    __slots__ = ("appended_ns", "before", "facts", "hashes", "number", "open", "sent_again", "sources", "untils")

    def __init__(self, number: int, appended_ns: int, facts: Facts, sources: tuple[Source, ...]) -> None:
        self.number, self.appended_ns, self.facts, self.sources = number, appended_ns, facts, sources
        self.hashes, self.untils = memoryview(facts.hashes).cast("Q"), memoryview(facts.untils).cast("q")
        self.before = array("q")  # of each fact: reference of the one before it under its key, or _NONE
        conn = {number for number, (kind, _) in enumerate(sources) if kind == "conn"}
        self.open = [
            at for at, until in enumerate(self.untils) if until == OPEN and facts.sources[at] in conn
        ]  # facts that may outlive the chunk
        self.sent_again = False

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
        self._chunks: deque[_ChunkFacts] = deque()
        self._by_number: dict[int, _ChunkFacts] = {}
        self._index: dict[int, int] = {}  # hash → reference of its youngest fact
        self._crowded: dict[int, int] = {}  # hash → number of the last chunk that had too many
        self._again_from = 0  # how many of `_chunks` were searched for facts that outlive them
        self._kept: dict[int, _Kept] = {}  # by reference, the oldest first
        self._kept_under: dict[int, list[int]] = {}  # hash → references
        self._unsent: list[Again] = []  # of those, the facts that have to be sent again

    def first(self) -> int | None:
        """Number of the oldest chunk of which any fact is kept; None if there is none."""
        kept = next(iter(self._kept), None)
        return self.oldest() if kept is None else kept >> _BITS

    def oldest(self) -> int | None:
        """Number of the oldest chunk that is kept whole; None if there is none."""
        return self._chunks[0].number if self._chunks else None

    def add(self, number: int, appended_ns: int, facts: Facts, sources: tuple[Source, ...]) -> memoryview:
        """Keep a chunk's facts; returns the hashes of their keys."""
        chunk = _ChunkFacts(number, appended_ns, facts, sources)
        self._chunks.append(chunk)
        self._by_number[number] = chunk
        self.size += chunk.size()
        self.count += len(chunk.hashes)
        index, reference, before = self._index, number << _BITS, chunk.before
        get, append = index.get, before.append
        # The hot loop of a rebuild.
        for hashed in chunk.hashes:
            append(get(hashed, _NONE))
            index[hashed] = reference
            reference += 1
        if _has_empty(facts.ends):
            self._note_crowded(chunk)
        if self._kept:
            for hashed in self._kept_under.keys() & set(chunk.hashes):
                self._settle(hashed)
        return chunk.hashes

    def _note_crowded(self, chunk: _ChunkFacts) -> None:
        for at, hashed in enumerate(chunk.hashes):
            if not chunk.body(at):
                self._crowded[hashed] = chunk.number

    def under(self, hashed: int, key: str) -> Found:
        """The facts under a key."""
        references = self._references(hashed, MAX_FACTS_PER_KEY[kind_of(key)] + 1)
        if hashed in self._crowded or len(references) > MAX_FACTS_PER_KEY[kind_of(key)]:
            return Found([], crowded=True)
        bodies = {self._body(reference) for reference in references}
        bodies.update(self._kept[reference].body for reference in self._kept_under.get(hashed, ()))
        facts = [unpacked_fact(body) for body in sorted(bodies) if body]
        return Found([fact for fact in facts if fact.key == key], crowded=False)

    def _references(self, hashed: int, limit: int = MAX_FACTS_PER_KEY["conn"]) -> list[int]:
        """The facts under a hash, the youngest first, at most `limit`."""
        found: list[int] = []
        reference, chunks = self._index.get(hashed, _NONE), self._by_number
        while reference != _NONE and len(found) < limit:
            chunk = chunks.get(reference >> _BITS)
            if chunk is None:  # dropped, and so are all before it
                break
            found.append(reference)
            reference = chunk.before[reference & _PLACE]
        return found

    def _body(self, reference: int) -> bytes:
        return self._by_number[reference >> _BITS].body(reference & _PLACE)

    def again(self, before_ns: int) -> Iterator[Again]:
        """Open connections whose message came before that moment: they have to be sent again in time."""
        unsent, self._unsent = self._unsent, []
        yield from unsent
        while self._again_from < len(self._chunks):
            chunk = self._chunks[self._again_from]
            if chunk.appended_ns >= before_ns:
                return
            self._again_from += 1
            yield from self._send_again(chunk)

    def _send_again(self, chunk: _ChunkFacts) -> list[Again]:
        chunk.open, chunk.sent_again = self._still_open(chunk), True
        return [Again(chunk.hashes[at], chunk.source(at), chunk.body(at)) for at in chunk.open]

    def _still_open(self, chunk: _ChunkFacts) -> list[int]:
        bodies = ((at, chunk.body(at)) for at in chunk.open)
        return [
            at for at, body in bodies if body and not self._is_over(chunk.hashes[at], unpacked_fact(body), chunk, at)
        ]

    def _is_over(self, hashed: int, fact: JoinFact, chunk: _ChunkFacts, at: int) -> bool:
        """Whether a later event ended the connection, or a younger message holds the same fact."""
        body, own = chunk.body(at), chunk.number << _BITS | at
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
        """Drop messages that came before that moment; yields the facts that are kept, and have to be sent again."""
        while self._chunks and self._chunks[0].appended_ns < before_ns:
            oldest = self._chunks[0]
            if not oldest.sent_again:
                self._again_from = max(self._again_from, 1)
                yield from self._send_again(oldest)
            if self._still_open(oldest):
                return  # until they have come again
            self._forget()

    def evict(self) -> bool:
        """Drop the oldest message; its open connections are kept and sent again. False: there is no message."""
        if not self._chunks:
            return False
        chunk = self._chunks[0]
        kept = {
            at: _Kept(chunk.hashes[at], chunk.source(at), chunk.body(at), chunk.appended_ns) for at in self._left(chunk)
        }
        self._forget(frozenset(kept))
        for at, each in kept.items():
            if len(self._kept) >= MAX_KEPT_OPEN:
                self._give_up(next(iter(self._kept)))
            reference = chunk.number << _BITS | at
            self._kept[reference] = each
            self._kept_under.setdefault(each.hash, []).append(reference)
            self.count += 1
            if not chunk.sent_again:
                self._unsent.append(Again(each.hash, each.source, each.body))
        return True

    def _left(self, chunk: _ChunkFacts) -> list[int]:
        """The facts of a message to keep: none of a witness that has already lost an open connection."""
        return [at for at in self._still_open(chunk) if self.complete_since.get(chunk.source(at), NEVER) < OPEN]

    def _settle(self, hashed: int) -> None:
        """New facts came under this key: a connection that is kept there may have come again, or be over."""
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
        """Drop an open connection: when it ends will never be known."""
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
        chunk = self._chunks[0]
        copied = kept | {at for at in chunk.open if self._has_copy(chunk, at)}
        self._chunks.popleft()
        self._again_from = max(0, self._again_from - 1)
        self.size -= chunk.size()
        self.count -= len(chunk.hashes)
        index, end = self._index, (chunk.number + 1) << _BITS
        for hashed in chunk.hashes:
            if index.get(hashed, end) < end:  # it has no younger fact
                del index[hashed]
        if self._crowded:
            self._crowded = {hashed: number for hashed, number in self._crowded.items() if number != chunk.number}
        del self._by_number[chunk.number]
        self._raise(chunk, copied)

    def _has_copy(self, chunk: _ChunkFacts, at: int) -> bool:
        """Whether a younger message holds the same fact."""
        body = chunk.body(at)
        references = self._references(chunk.hashes[at])
        return any(each >> _BITS > chunk.number and self._body(each) == body for each in references)

    def _raise(self, chunk: _ChunkFacts, copied: frozenset[int]) -> None:
        """Raise `complete_since`. A fact was over when its message came at the latest; one with a copy is not lost."""
        latest: dict[int, int] = {}
        for at, (number, until) in enumerate(zip(chunk.facts.sources, chunk.untils, strict=True)):
            if until > latest.get(number, NEVER) and at not in copied:
                latest[number] = until
        for number, until in latest.items():
            self._raise_to(chunk.sources[number], min(until, chunk.appended_ns))

    def _raise_to(self, source: Source, moment: int) -> None:
        self.complete_since[source] = max(moment, self.complete_since.get(source, NEVER))


def _has_empty(ends: bytes) -> bool:
    """Whether any body is empty."""
    columns = array("I", ends)
    return columns[0] == 0 or any(map(int.__eq__, columns, columns[1:]))


def _ends(other: JoinFact, fact: JoinFact) -> bool:
    """Whether an event on the same tuple says that the flow of another one is over, or reports it again."""
    alike = (other.system, other.instance, other.target) == (fact.system, fact.instance, fact.target)
    return alike and other.key == fact.key and _follows(other, fact)


def _follows(other: JoinFact, fact: JoinFact) -> bool:
    """Whether the event is of a later moment, so that the flow of `fact` is over or reported again."""
    moment = other.end if other.begin_latest is None else other.begin_latest
    since = fact.begin_latest if fact.begin_latest is not None else fact.end
    if moment is None or since is None:
        return False
    return moment > since or (other.end is not None and other.end + other.slack >= since)
