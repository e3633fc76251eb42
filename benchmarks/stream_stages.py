"""Processor time of the stages of a reader and an answerer, each alone over the same lines, without a broker."""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from clientip.config import load as config
from clientip.edges.geo import GeoDatabases
from clientip.edges.kafka.client import TopicPlace
from clientip.edges.kafka.raw_lines import RawLines, Taken
from clientip.edges.stream.publication import Publication
from clientip.edges.stream.spool import Spool
from clientip.edges.telemetry.telemetry import Telemetry
from clientip.model import Record
from clientip.pending import unpacked
from clientip.settings import Settings
from clientip.stream.checkpoint import CheckpointedPartition
from clientip.stream.compiled import Compiled, Views, compiled
from clientip.stream.intake import Intake, IntakeBatch, Numbers
from clientip.stream.join_messages import Chunks, Partitions, QuestionItem, Watermark, decode
from clientip.stream.waiting_times import keep_ns

from benchmarks.stream_lines import Message

BATCH: Final = 5_000  # lines
MEMORY: Final = 1 << 30


class Raw:
    """What a reader asks of a message of confluent_kafka."""

    __slots__ = ("_at_ms", "_key", "_offset", "_value")

    def __init__(self, message: Message, offset: int, at_ms: int) -> None:
        self._key, self._value, self._offset, self._at_ms = message.key, message.value, offset, at_ms

    def key(self) -> bytes:
        """Who wrote it."""
        return self._key

    def value(self) -> bytes:
        """The line."""
        return self._value

    def offset(self) -> int:
        """Its place in the partition."""
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        """Of the broker, in ms."""
        return 2, self._at_ms

    def headers(self) -> None:
        """It has none."""


class Stages:
    """One reader and one answerer over lists; `spent` is processor time by stage."""

    def __init__(self, text: str, partitions: int, now_ns: int) -> None:
        """`text`: a configuration; `now_ns`: when everything is appended."""
        self.settings = load(text)
        self.compiled: Compiled = compiled(self.settings)
        self.spent: dict[str, float] = defaultdict(float)
        self.records = self.joined = 0
        self._partitions, self._now_ns = Partitions("secret", partitions), now_ns
        self._numbers, self._geo, self._told = Numbers(), GeoDatabases({}), Telemetry("bench")
        self._lines: dict[TopicPlace, RawLines] = {}
        self._offsets: dict[TopicPlace, int] = defaultdict(int)
        self._systems = {
            topic: each.system.name for each in self.settings.systems if each.feed for topic in each.feed.topics
        }
        self._intakes = {
            name: Intake(self.compiled.engine, self.compiled.joining, self.settings.topology, name)
            for name in self.compiled.feeds
        }
        self._held = [_Held(self.compiled) for _ in range(partitions)]
        self._join_offset = 0

    def run(self, messages: Sequence[Message]) -> None:
        """Everything, batch by batch."""
        for first in range(0, len(messages), BATCH):
            told = self.read(messages[first : first + BATCH])
            self._answer(told)
        for held in self._held:
            held.spool.close()

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        began = time.process_time()
        yield
        self.spent[name] += time.process_time() - began

    def _publication(self) -> Publication:
        assert self.settings.kafka is not None
        return Publication(self.settings.kafka, self.settings.stream.output, self._geo, 4)

    def _chunks(self) -> Chunks:
        return Chunks(self._partitions, self.compiled.joining.bounds.horizon)

    def read(self, messages: Sequence[Message]) -> list[tuple[int, bytes]]:
        """A batch of the reader: its messages for the join topic."""
        publication, chunks = self._publication(), self._chunks()
        batch, publish = IntakeBatch(chunks, self._numbers), publication.renderer()
        by_place: dict[TopicPlace, list[Raw]] = defaultdict(list)
        for message in messages:
            place = TopicPlace(message.topic, message.partition)
            by_place[place].append(Raw(message, self._offsets[place], self._now_ns // 1_000_000))
            self._offsets[place] += 1
        marks = []
        for place, raws in by_place.items():
            system = self._systems[place.topic]
            take = self._intakes[system].take
            with self._stage("reader: parse, resolve"):
                taken = [each for each in self._raw_lines(place).read(raws) if isinstance(each, Taken)]  # type: ignore[arg-type]
            with self._stage("reader: intake"):
                left = [take(each, self._now_ns, batch) for some in taken for each in some.outcomes]
            with self._stage("reader: render"):
                for each in left:
                    if type(each) is Record:
                        publish(each, self.settings.rules)
            marks.append(Watermark(system, place.topic, place.partition, 1, self._now_ns, at_end=True))
        with self._stage("reader: counts"):
            self.records += len(publication.end(self._told))
        with self._stage("reader: chunk encode"):
            return list(chunks.messages(marks, self._numbers.news(), range(self._partitions.count)))

    def _raw_lines(self, place: TopicPlace) -> RawLines:
        found = self._lines.get(place)
        if found is None:
            system = self._systems[place.topic]
            found = self._lines[place] = RawLines(self.settings, self.compiled.engine, system, place, "topic")
        return found

    def _answer(self, told: list[tuple[int, bytes]]) -> None:
        """A batch of the answerer; what it tells further is answered in the same one."""
        publication = self._publication()
        publish = publication.renderer()
        while told:
            chunks = self._chunks()
            touched = dict.fromkeys(number for number, _ in told)
            for number, value in told:
                with self._stage("answerer: chunk decode"):
                    chunk = decode(value)
                with self._stage("answerer: hold"):
                    self._held[number].partition.take(self._join_offset, self._now_ns, chunk, self._held[number].refer)
                self._join_offset += 1
            for number in touched:
                self._leave(self._held[number], publish, chunks)
            with self._stage("answerer: chunk encode"):
                told = list(chunks.messages())
        with self._stage("answerer: counts"):
            publication.end(self._told)

    def _leave(self, held: _Held, publish: Callable[[Record, str], None], chunks: Chunks) -> None:
        with self._stage("answerer: decide"):
            leaving, _, _ = held.partition.turn(MEMORY)
        with self._stage("answerer: spool"):
            questions = [held.spool.get(each.reference) for each in leaving]
            for each in leaving:
                held.spool.drop(each.reference)
        with self._stage("answerer: walk"):
            found = [
                self.compiled.walking.go_on(of.system, unpacked(of.pending), of.first_ns or 1, each, chunks)
                for of, each in zip(questions, leaving, strict=True)
            ]
        with self._stage("answerer: render"):
            for record in found:
                if record is not None:
                    publish(record, self.settings.rules)
                    self.joined += record.resolution.verdict == "joined"
        with self._stage("answerer: state"):
            held.partition.commit()
        with self._stage("answerer: spool"):
            held.spool.flush()


class _Held:
    """One partition of the join topic."""

    def __init__(self, of: Compiled) -> None:
        self.spool = Spool(None)
        self.partition = CheckpointedPartition(
            Views([of]), keep_ns(of.settings), lambda at: self.spool.get(at).asked, 0
        )

    def refer(self, question: QuestionItem) -> int:
        """Put a question away."""
        return self.spool.put(question)


def load(text: str) -> Settings:
    """A configuration that names some cluster."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "clientip.toml")
        path.write_text(f'[kafka]\nbrokers = ["localhost:1"]\n{text}')
        return config.load([path])
