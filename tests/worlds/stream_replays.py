"""What a stream wrote beside what a replay of the very same raw messages says: lost, doubled, different, waited."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import orjson
from clientip.edges.kafka.client import topic_ids
from clientip.edges.kafka.raw_lines import MAX_INSTANCE, headers_ids
from clientip.framing.kafka_message import cut
from clientip.joins.join import settle
from clientip.model import Line, Outcome, Record, Rejected
from clientip.outputs import OUTPUTS, rejected_row
from clientip.reasons import WAITING
from clientip.settings import Settings
from clientip.stream.compiled import compiled
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition
from msgspec.structs import replace
from xxhash import xxh3_128_digest

from tests.worlds.patience import LIMIT_S, until

# Which event of a flow is named as its proof, its begin or its end, hangs on which of them have come.
_PROOF = re.compile(rb'(?<="conntrack"),("evidence":"joined",)?"record":"[0-9a-f]+"')
_ID = re.compile(rb'"record_id":"([0-9a-f]+)"')


class Found(NamedTuple):
    """A stream against a replay; all but `records`, `rejected` and `waited` are 0 if all is well."""

    records: int
    rejected: int
    lost: int
    doubled: int
    different: int
    waited: int  # unknown for want of time, where the replay knows
    examples: tuple[str, ...]

    @property
    def is_exact(self) -> bool:
        """Whether every record and every rejected line is there once and right."""
        return not (self.lost or self.doubled or self.different)


def messages(address: str, topics: Iterable[str], *, committed: bool = True) -> Iterator[Message]:
    """Everything that topics hold by now; partition by partition in order."""
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": "test-read",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed" if committed else "read_uncommitted",
        }
    )
    try:
        left = {
            (topic, number)
            for topic in topics
            for number in consumer.list_topics(topic, LIMIT_S).topics[topic].partitions
        }
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for topic, number in left])
        found: list[Message] = []
        while left:
            until(lambda: found.extend(consumer.consume(5000, 1.0)) or found, lambda: left)
            for message in found:
                error = message.error()
                if error is None:
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:
                    left.discard((message.topic(), message.partition()))
                elif not error.retriable():
                    raise AssertionError(error.str())
            found.clear()
    finally:
        consumer.close()


class Replay(NamedTuple):
    """Rows by record id; of records a digest of the row without what does not count."""

    records: dict[bytes, bytes]
    rejected: Counter[bytes]


def replayed(address: str, settings: Settings) -> Replay:
    """All raw topics of a configuration through the engine at once, as `clientip replay` reads files."""
    assert settings.kafka is not None
    whole = compiled(settings)
    feeds = {
        topic: (each.system.name, each.feed) for each in settings.systems if each.feed for topic in each.feed.topics
    }
    ids = topic_ids(settings.kafka, feeds)
    readings: dict[tuple[str | None, int | None, str | None], Any] = {}
    rejected: Counter[bytes] = Counter()

    def outcomes() -> Iterator[Outcome]:
        for message in messages(address, feeds):
            topic, number, key = message.topic() or "", message.partition(), message.key()
            system, feed = feeds[topic]
            named = feed.instance_by and isinstance(key, bytes) and 0 < len(key) <= MAX_INSTANCE
            instance = key.decode("utf-8", "backslashreplace") if named else None
            told = headers_ids(message)
            reading = readings.get((topic, number, instance))
            if reading is None:
                reading = readings[topic, number, instance] = whole.engine.reading(system, instance, walks_facts=False)
            for index, text in enumerate(cut(feed.messages, message.value() or b"")):
                line = Line(text, text, f"{ids[topic]}/{number}", message.offset() or 0, index, None, instance)
                for outcome in reading.feed(line):
                    if told and isinstance(outcome, Record) and outcome.observation.ids is None:
                        yield replace(outcome, observation=replace(outcome.observation, ids=told))
                    elif isinstance(outcome, Rejected):
                        rejected[rejected_row(outcome, system, settings.rules)] += 1
                    else:
                        yield outcome

    records = {}
    render, rules = OUTPUTS[settings.stream.output], settings.rules
    for outcome in settle(whole.joining, outcomes()):
        if isinstance(outcome, Record):
            assert outcome.record_id.encode() not in records
            records[outcome.record_id.encode()] = _digest(render(outcome, rules))
    return Replay(records, rejected)


def _digest(row: bytes) -> bytes:
    return xxh3_128_digest(_PROOF.sub(b"", row))


def compared(address: str, settings: Settings, expected: Replay) -> Found:
    """What the stream has written by now, beside the replay."""
    assert settings.kafka is not None
    seen: Counter[bytes] = Counter()
    different = waited = 0
    examples: list[str] = []
    for message in messages(address, [settings.kafka.topic("records")]):
        row = message.value() or b""
        found = _ID.findall(row)
        key = found[-1]
        seen[key] += 1
        wanted = expected.records.get(key)
        if wanted is None:
            different += 1
            examples.append(f"invented: {row!r}")
        elif wanted != _digest(row):
            if orjson.loads(row)["clientip"].get("reason") in WAITING:
                waited += 1
            else:
                different += 1
            examples.append(repr(row))
    rejected = Counter(message.value() or b"" for message in messages(address, [settings.kafka.topic("rejected")]))
    lost = sum(key not in seen for key in expected.records) + (expected.rejected - rejected).total()
    doubled = sum(times - 1 for times in seen.values()) + (rejected - expected.rejected).total()
    return Found(seen.total(), rejected.total(), lost, doubled, different, waited, tuple(examples[:5]))


def reasons(rows: Iterable[Mapping[str, Any]]) -> Counter[tuple[str, str | None]]:
    """Verdicts and reasons of enriched rows."""
    return Counter((row["clientip"]["verdict"], row["clientip"].get("reason")) for row in rows)
