"""A stream in memory: readers, a join topic of a few partitions and answerers, under a clock that a test turns.

Nothing here is the real thing but the core: what edges do with Kafka, this does with lists.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import msgspec
from clientip.model import Line, Outcome, Record
from clientip.pending import unpacked
from clientip.settings import Settings
from clientip.stream.changelog import committed_state
from clientip.stream.checkpoint import CheckpointedPartition, start
from clientip.stream.compiled import Views, compiled
from clientip.stream.intake import Intake, IntakeBatch, Numbers
from clientip.stream.join_messages import OPEN, Chunks, Partitions, QuestionItem, Watermark, decode
from clientip.stream.waiting_times import keep_ns
from msgspec import Struct

MS = 1_000_000
SECOND = 1000 * MS
MEMORY = 1 << 30


class Raw(Struct, frozen=True):
    """One raw message: a line of one system."""

    system: str
    instance: str | None
    text: bytes
    appended_ns: int
    offset: int


class _Committed(Struct):
    offset: int = 0
    metadata: str | None = None
    state: dict[bytes, bytes] = msgspec.field(default_factory=dict)


class Stream:
    """Readers and answerers over lists, under one configuration until there is another."""

    def __init__(self, settings: Settings, *, partitions: int = 3, memory: int = MEMORY) -> None:
        self.settings = settings
        self._drawn = compiled(settings)
        self._known = {settings.topology: self._drawn}
        self.engine, self.joining, self.feeds = self._drawn.engine, self._drawn.joining, self._drawn.feeds
        self.partitions = Partitions("secret", partitions)
        self.memory = memory
        self.log: list[list[tuple[int, bytes]]] = [[] for _ in range(partitions)]  # (append time, message)
        self.records: list[Record] = []
        self.others: list[Outcome] = []
        self.now_ns = 0
        self.keep_ns = keep_ns(settings)
        self._numbers: dict[int, Numbers] = defaultdict(Numbers)  # by reader
        self._intakes: dict[str, Intake] = {}
        self._first: dict[int, int] = {}
        self._committed = [_Committed() for _ in range(partitions)]
        self._bodies: list[QuestionItem] = []
        self._live: dict[int, tuple[CheckpointedPartition, int]] = {}

    def reload(self, settings: Settings) -> None:
        """All workers take up another configuration, and answerers know the ones before."""
        self._drawn = self._known[settings.topology] = compiled(settings)
        assert len(self._known) > 1
        self.settings = settings
        self.keep_ns = max(self.keep_ns, keep_ns(settings))
        self._intakes.clear()
        self._numbers.clear()
        self._live.clear()

    def lose(self, reader: int) -> None:
        """A reader has lost its partitions, and with them what it had in memory."""
        self._numbers.pop(reader, None)

    def read(self, raws: Iterable[Raw], marks: Iterable[Watermark], reader: int = 0) -> None:
        """One batch of a reader, committed."""
        chunks = Chunks(self.partitions, self._drawn.joining.bounds.horizon)
        numbers = self._numbers[reader]
        batch = IntakeBatch(chunks, numbers)
        for raw in raws:
            intake = self._intakes.get(raw.system)
            if intake is None:
                intake = Intake(self._drawn.engine, self._drawn.joining, self.settings.topology, raw.system)
                self._intakes[raw.system] = intake
            reading = self._drawn.engine.reading(raw.system, raw.instance, walks_facts=False)
            line = Line(raw.text, raw.text, raw.system, raw.offset, 0, None, raw.instance)
            batch.log = f"{raw.system}/{raw.instance}"
            for outcome in reading.feed(line):
                left = intake.take(outcome, raw.appended_ns, batch)
                if isinstance(left, Record):
                    self.records.append(left)
                elif left is not None:
                    self.others.append(left)
        everywhere = range(self.partitions.count)
        self._append(chunks.messages(tuple(marks), numbers.news(), everywhere, numbers.holes()))

    def _append(self, messages: Iterable[tuple[int, bytes]]) -> None:
        for partition, value in messages:
            self.log[partition].append((self.now_ns, value))

    def answer(self, number: int) -> None:
        """One batch of the answerer that has this partition, committed."""
        if number not in self._live:
            self._live[number] = self._restored(number)
        partition, position = self._live[number]
        log = self.log[number]
        for offset in range(position, len(log)):
            self._take(partition, number, offset)
        self._live[number] = partition, len(log)
        leaving, again, _ = partition.turn(self.memory)
        chunks = Chunks(self.partitions, self._drawn.joining.bounds.horizon)
        for each in leaving:
            question = self._bodies[each.reference]
            first_ns = question.first_ns or self._first[each.reference]
            walking = self._known[question.topology].walking
            record = walking.go_on(question.system, unpacked(question.pending), first_ns, each, chunks)
            if record is not None:
                self.records.append(record)
        for told in again:
            chunks.add_fact(told.hash, told.source, OPEN, told.body)
        commit = partition.commit()
        committed = self._committed[number]
        committed.offset, committed.metadata = len(log), commit.metadata
        committed.state |= {entry.key: entry.value for entry in commit.entries}
        self._append(chunks.messages())

    def _take(self, partition: CheckpointedPartition, number: int, offset: int) -> None:
        appended_ns, value = self.log[number][offset]

        def refer(question: QuestionItem) -> int:
            self._bodies.append(question)
            self._first[len(self._bodies) - 1] = appended_ns
            return len(self._bodies) - 1

        partition.take(offset, appended_ns, decode(value), refer)

    def _restored(self, number: int) -> tuple[CheckpointedPartition, int]:
        committed = self._committed[number]

        def asked_of(reference: int) -> bytes:
            return self._bodies[reference].asked

        if committed.metadata is None:
            return CheckpointedPartition(Views(self._known.values()), self.keep_ns, asked_of, 0), 0
        resume, position = start(committed.metadata, committed.offset)
        said = committed_state(committed.state.values(), resume.commit)
        partition = CheckpointedPartition(
            Views(self._known.values()), self.keep_ns, asked_of, committed.offset, resume, said
        )
        for offset in range(position, committed.offset):
            self._take(partition, number, offset)
        return partition, committed.offset

    def open_count(self, number: int) -> int:
        """How many questions wait there, as far as the log was read; one at least where it was not."""
        live = self._live.get(number)
        if live is None or live[1] < len(self.log[number]):
            return 1
        return live[0].state.open_count()

    def crash(self, number: int) -> None:
        """The answerer of this partition is gone; another one begins from what it committed."""
        self._live.pop(number, None)

    def held(self, number: int) -> CheckpointedPartition:
        """The state of one partition."""
        return self._live[number][0]
