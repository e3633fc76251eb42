"""What a reader says of how far it has come: never more than it has told."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from threading import Event, Thread

import pytest
from clientip.edges.kafka.client import TopicPlace
from clientip.edges.kafka.end_offsets import RawEnds
from clientip.edges.stream import reader
from clientip.edges.stream.context import Context
from clientip.edges.stream.reader import StreamReader
from clientip.settings import Kafka
from clientip.stream.join_messages import decode
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.worlds.patience import LIMIT_S, until
from tests.worlds.replay_worlds import LONGEST, Shape, world
from tests.worlds.streams import Stream, _consumer

pytestmark = pytest.mark.edge

MS = 1_000_000


class Quiet:
    """A `TelemetryPort` that nobody hears."""

    def __getattr__(self, _name: str) -> Callable[..., nullcontext[None]]:
        return lambda *_values, **_fields: nullcontext()


def stream_of(folder: Path, address: str, prefix: str) -> tuple[Stream, list[bytes]]:
    """A stream of one join partition, and the lines of its nodes, numbered without a gap: a mark and events."""
    files = world(Shape(flows=300))
    text = files.config.replace(LONGEST, "")
    for name, system in (("nat", "nodes"), ("app", "app")):
        feed = f'topics = ["{prefix}raw.{system}"]\narrives_within = "10s"\nlongest = "1s"\n'
        text = text.replace(f'inputs = ["{name}/', f'{feed}inputs = ["{name}/')
    stream = Stream(folder, address, prefix, text, stream="join_partitions = 1")
    stream.make_topics()
    return stream, files.logs["nat/node.jsonl"][:-1]


def read(stream: Stream, done: Callable[[], bool]) -> None:
    """Be a reader until then."""
    told, over = Quiet(), Event()

    def watch() -> None:
        try:
            until(done, stream.log, 0.5)
        finally:
            over.set()

    Thread(target=watch).start()
    context = Context(stream.settings, (), "test", told, over.is_set, lambda: None)  # type: ignore[arg-type]
    StreamReader(context, stream.settings).run()


def appended(consumer: Consumer, topic: str, count: int) -> list[int]:
    """When the messages of a topic were appended, ns."""
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    found: list[int] = []
    while len(found) < count:
        found += [each.timestamp()[1] * MS for each in consumer.consume(count, 1.0) if each.error() is None]
    return found


def _facts(values: list[bytes]) -> int:
    return sum(len(decode(value).facts.sources) for value in values)


def _marks(values: list[bytes]) -> int:
    return sum(mark.system == "nodes" for value in values for mark in decode(value).watermarks)


def test_a_mark_and_the_numbers_of_a_batch_speak_of_what_it_and_those_before_it_told(
    kafka: str, topic_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "MAX_BATCH_BYTES", 1)  # what is polled at once becomes many transactions
    stream, lines = stream_of(tmp_path, kafka, topic_prefix)
    topic = f"{topic_prefix}raw.nodes"
    assert stream.produce(topic, lines) == len(lines)
    consumer = _consumer(kafka)
    came = appended(consumer, topic, len(lines))
    consumer.close()
    join = stream.settings.kafka.generational("join")  # type: ignore[union-attr]
    read(stream, lambda: _marks(stream.values(join)) > 3 and _facts(stream.values(join)) == len(lines) - 1)
    told = marks = 0
    for value in stream.values(join):
        chunk = decode(value)
        told += len(chunk.facts.sources)
        for mark in chunk.watermarks:
            if mark.system == "nodes":
                marks += 1
                # The line of a mark is no fact; what comes in the same millisecond is not spoken of.
                assert sum(at < mark.upto_ns for at in came) <= told + 1
        if chunk.facts.sources:
            [(_, _, [run])] = chunk.runs
            assert run.last == told + 1
    assert told == len(lines) - 1
    assert marks > 3


def test_what_lies_in_an_open_transaction_of_a_shipper_is_not_taken_for_read(kafka: str, topic_prefix: str) -> None:
    topic = f"{topic_prefix}raw"
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(LIMIT_S)
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": topic, "log_level": 0})
    producer.init_transactions(LIMIT_S)
    producer.begin_transaction()
    producer.produce(topic, b"one", partition=0)
    assert producer.flush(LIMIT_S) == 0
    place, ends = TopicPlace(topic, 0), RawEnds(Kafka((kafka,), "", 1, tls=False))

    def look(reached: int) -> int | None:
        ends.look([place], lambda _: reached)
        return ends.read_ns(place)

    until(lambda: look(0) is not None or ends.waits(place))
    assert look(0) is None  # the cluster has told where the end is: behind what is not committed
    producer.commit_transaction(LIMIT_S)
    until(lambda: look(2) is not None)
