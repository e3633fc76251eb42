"""Messages of the join topic: facts and questions of readers and answerers, many of them in one message.

The first byte is the version; a reader of version N also reads N - 1.  Facts stand in
columns, so that an answerer can hold them as they came and look at none before somebody asks.  A key travels as a
seeded hash: its text stands in the body, and is compared there.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct
from xxhash import xxh3_64_intdigest

from clientip.errors import FormatError
from clientip.joins.coverage import Run
from clientip.joins.facts import JoinFact, JoinQuestion, kind_of
from clientip.pending import Pending, packed
from clientip.stream.holes import HoleNews

VERSION: Final = 3  # 3: `JoinQuestion.passing`, `.minting`; 2: `JoinChunk.holes`, `JoinQuestion.fronts`
VERSIONS: Final = frozenset({VERSION - 1, VERSION})  # that can be read
CHUNK_BYTES: Final = 256 * 1024  # a chunk that is larger is closed, and another one begun
OPEN: Final = 2**63 - 1  # of a fact: no line says when it ended
MAX_SOURCES: Final = 255  # of one chunk: their numbers are bytes
MAX_FACTS: Final = 1 << 20
CROWDED: Final = b""  # a body in place of the facts of an id of which there were too many

_ENCODE: Final = msgspec.msgpack.Encoder().encode
_ASKED: Final = msgspec.msgpack.Decoder(JoinQuestion)
_TOLD: Final = msgspec.msgpack.Decoder(JoinFact)


class Watermark(Struct, frozen=True, gc=False, array_like=True):
    """How far a reader has come in one partition of a system's raw topics. Units: ns."""

    system: str
    topic: str
    partition: int
    partitions: int  # of the topic
    upto_ns: int  # up to which append time all was read, and its facts were sent; 0: not known
    at_end: bool  # whether nothing was left to read


class QuestionItem(Struct, frozen=True, gc=False, array_like=True):
    """One question under way."""

    hash: int  # of the key
    topology: str  # digest of the configuration under which its line walks
    first_ns: int  # append time of its first message; 0: this is the first
    system: str  # whose line it is
    asked: bytes  # a packed `JoinQuestion`
    pending: bytes  # a packed `Pending`


class Facts(Struct, frozen=True, gc=False, array_like=True):
    """Facts in columns, in the order in which they were added."""

    hashes: bytes = b""  # 8 bytes each
    untils: bytes = b""  # 8 bytes each: when the thing that it says is over, ns; or OPEN
    sources: bytes = b""  # 1 byte each: place in `JoinChunk.sources`
    ends: bytes = b""  # 4 bytes each: where its body ends
    bodies: bytes = b""


class JoinChunk(Struct, frozen=True, gc=False, array_like=True):
    """One message."""

    watermarks: tuple[Watermark, ...] = ()
    runs: tuple[tuple[str, str, tuple[Run, ...]], ...] = ()  # (system, instance, its runs)
    sources: tuple[tuple[str, str], ...] = ()  # (kind of key, system) of facts
    facts: Facts = Facts()
    questions: tuple[QuestionItem, ...] = ()
    holes: tuple[HoleNews, ...] = ()


_CHUNK: Final = msgspec.msgpack.Decoder(JoinChunk)


def encode(chunk: JoinChunk) -> bytes:
    """The message of a chunk."""
    return bytes((VERSION,)) + _ENCODE(chunk)


def decode(message: bytes) -> JoinChunk:
    """The chunk of a message.

    Raises FormatError: `version` for one of another release, `json` never, `no_match` for anything that is no chunk.

    >>> decode(encode(JoinChunk(sources=(("conn", "nodes"),)))).sources
    (('conn', 'nodes'),)
    """
    if not message or message[0] not in VERSIONS:
        raise FormatError("version", 0)
    try:
        chunk = _CHUNK.decode(memoryview(message)[1:])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise FormatError("no_match", 1) from None
    if not _fits(chunk):
        raise FormatError("no_match", 1)
    return chunk


def _fits(chunk: JoinChunk) -> bool:
    """Whether the columns belong together."""
    facts, count = chunk.facts, len(chunk.facts.sources)
    if len(facts.hashes) != 8 * count or len(facts.untils) != 8 * count or len(facts.ends) != 4 * count:
        return False
    if count == 0:
        return not facts.bodies
    ends = array("I", facts.ends)
    rising = all(map(int.__le__, ends, ends[1:]))
    return rising and ends[-1] == len(facts.bodies) and max(facts.sources) < len(chunk.sources) and count <= MAX_FACTS


def unpacked_question(asked: bytes) -> JoinQuestion:
    """What `QuestionItem.asked` holds."""
    return _ASKED.decode(asked)


def unpacked_fact(body: bytes | memoryview) -> JoinFact:
    """What the body of a fact holds."""
    return _TOLD.decode(body)


class Partitions:
    """Which partition of the join topic a key belongs to.

    The seed is a secret of the cluster, so that who chooses ids cannot choose their partition.
    """

    def __init__(self, seed: str, count: int) -> None:
        self._seed = xxh3_64_intdigest(seed.encode())
        self.count = count

    def hash(self, key: str) -> int:
        """The hash that stands for the key."""
        return xxh3_64_intdigest(key.encode(), self._seed)

    def of(self, hashed: int) -> int:
        """The partition of a hashed key."""
        return hashed % self.count


def until(fact: JoinFact, horizon_ns: int) -> int:
    """When the thing that a fact says is over, ns; OPEN for a connection if no line says when it ended."""
    if fact.end is not None:
        return fact.end + fact.slack
    if kind_of(fact.key) == "conn":
        return OPEN
    return (fact.begin_latest or fact.begin or 0) + horizon_ns


class _Columns:
    __slots__ = ("bodies", "ends", "hashes", "questions", "size", "sources", "untils")

    def __init__(self) -> None:
        self.hashes, self.untils, self.ends = array("Q"), array("q"), array("I")
        self.sources, self.bodies = bytearray(), bytearray()
        self.questions: list[QuestionItem] = []
        self.size = 0


class Message(NamedTuple):
    """One message for a partition of the join topic."""

    partition: int
    value: bytes


class Chunks:
    """Items on their way into the join topic: one message per partition, or several if one would be too large."""

    def __init__(self, partitions: Partitions, horizon_ns: int) -> None:
        self._partitions, self._horizon_ns = partitions, horizon_ns
        self._open: dict[int, _Columns] = {}
        self._sources: dict[tuple[str, str], int] = {}
        self._done: list[tuple[int, _Columns, tuple[tuple[str, str], ...]]] = []

    def tell(self, fact: JoinFact) -> None:
        """Add a fact."""
        self.add_fact(
            self._partitions.hash(fact.key),
            (kind_of(fact.key), fact.system),
            until(fact, self._horizon_ns),
            _ENCODE(fact),
        )

    def crowd(self, fact: JoinFact) -> None:
        """Say in place of this fact, and of all that follow under its key, that there are too many."""
        source = kind_of(fact.key), fact.system
        self.add_fact(self._partitions.hash(fact.key), source, until(fact, self._horizon_ns), CROWDED)

    def add_fact(self, hashed: int, source: tuple[str, str], until_ns: int, body: bytes) -> None:
        """Add a fact that is packed already, or CROWDED."""
        number = self._sources.get(source)
        if number is None:
            if len(self._sources) == MAX_SOURCES:
                self._end_all()
            number = self._sources[source] = len(self._sources)
        columns = self._columns(self._partitions.of(hashed))
        columns.hashes.append(hashed)
        columns.untils.append(max(-OPEN, min(until_ns, OPEN)))
        columns.sources.append(number)
        columns.bodies += body
        columns.ends.append(len(columns.bodies))
        columns.size += len(body) + 21

    def ask(self, asked: JoinQuestion, topology: str, pending: Pending, first_ns: int = 0) -> None:
        """Add a question of a line."""
        hashed = self._partitions.hash(asked.key)
        columns = self._columns(self._partitions.of(hashed))
        question = QuestionItem(hashed, topology, first_ns, asked.system, _ENCODE(asked), packed(pending))
        columns.questions.append(question)
        columns.size += len(question.asked) + len(question.pending) + 64

    def messages(
        self,
        watermarks: Sequence[Watermark] = (),
        runs: Iterable[tuple[str, str, tuple[Run, ...]]] = (),
        everywhere: Iterable[int] = (),
        holes: Iterable[HoleNews] = (),
    ) -> list[Message]:
        """All messages. Watermarks and runs go into the last message of each partition, and to all of `everywhere`.

        They come last because they speak of the facts before them.
        """
        self._end_all()
        parts: dict[int, list[JoinChunk]] = {}
        for partition, columns, sources in self._done:
            parts.setdefault(partition, []).append(_chunk(columns, sources))
        self._done = []
        told, missing = (tuple(watermarks), tuple(runs)), tuple(holes)
        for partition in everywhere:
            parts.setdefault(partition, [JoinChunk()])
        found = []
        for partition, chunks in sorted(parts.items()):
            last = chunks[-1]
            chunks[-1] = JoinChunk(*told, last.sources, last.facts, last.questions, missing)
            found += [Message(partition, encode(chunk)) for chunk in chunks]
        return found

    def _columns(self, partition: int) -> _Columns:
        columns = self._open.get(partition)
        if columns is None:
            columns = self._open[partition] = _Columns()
        elif columns.size >= CHUNK_BYTES:
            self._done.append((partition, columns, tuple(self._sources)))
            columns = self._open[partition] = _Columns()
        return columns

    def _end_all(self) -> None:
        self._done += [(partition, columns, tuple(self._sources)) for partition, columns in self._open.items()]
        self._open, self._sources = {}, {}


def _chunk(columns: _Columns, sources: tuple[tuple[str, str], ...]) -> JoinChunk:
    facts = Facts(
        columns.hashes.tobytes(),
        columns.untils.tobytes(),
        bytes(columns.sources),
        columns.ends.tobytes(),
        bytes(columns.bodies),
    )
    return JoinChunk((), (), sources if columns.sources else (), facts, tuple(columns.questions))
