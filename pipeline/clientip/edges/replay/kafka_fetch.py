"""Raw topics as the inputs of a replay: their messages are fetched into the run's folder, then read as files are.

State on disk, in the order in which it becomes true:
1. `ranges.json`: which offsets of which partitions the run is about. They are fixed when it begins.
2. `parts/N.raw`: messages of one partition; then a line in `fetched.ndjson` for each. A killed run goes on from there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec, ResourceType
from msgspec import Struct
from msgspec.structs import replace

from clientip import __version__
from clientip.edges.disk.inputs import Fetched, Input
from clientip.edges.disk.parts import adopt, append_line, disk_faults, part_path, replace_file, temporary, whole_lines
from clientip.edges.disk.spill import BlockWriter
from clientip.edges.kafka.client import TopicPlace, client, client_settings, partition_counts, topic_ids
from clientip.edges.kafka.raw_lines import MAX_PARTS_MESSAGES, headers_ids
from clientip.edges.kafka.topic_plan import cluster
from clientip.edges.kafka.transactions import HOPELESS
from clientip.edges.replay.kafka_ends import FETCHED, NAMED, RANGES
from clientip.edges.replay.kafka_fetched import RAW, Kept
from clientip.edges.replay.plan import NEVER_IN_PARTS, ReplayOptions
from clientip.edges.replay.progress import Meter
from clientip.errors import ConfigError, Fault, SinkError
from clientip.framing.shipper_origin import PLACES
from clientip.settings import Kafka, Settings, SystemSettings

SILENCE_S: Final = 60.0  # without a message or an end of a partition, after which a fetch gives up
_MS: Final = 1_000_000
_MAX_MESSAGES: Final = 100  # messages in memory; each may be some MiB
_POLL_S: Final = 0.05  # for so many, each time
_ANSWER_S: Final = 30.0
_LEADERLESS: Final = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)
_GONE: Final = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._LOG_TRUNCATION)


class Range(Struct, frozen=True):
    """The messages of one partition that a run is about."""

    system: str
    topic: str
    topic_id: str
    partition: int
    first: int  # what is fetched from before `begin` completes lines that come in parts, and counts for nothing else
    begin: int
    end: int
    splits: bool  # whether the range may be cut between any two messages


class Ranges(Struct, frozen=True):
    """All of them, and the call that asked for them."""

    version: str
    digest: str  # of the configuration
    topics: tuple[str, ...]
    options: ReplayOptions
    ranges: tuple[Range, ...]

    def asks_like(self, other: Ranges) -> bool:
        """Whether the calls are the same."""
        return replace(self, ranges=other.ranges) == other


class Segment(Struct, frozen=True):
    """A stretch of a range that is safe on disk: a line of `fetched.ndjson`."""

    range: int
    number: int  # of the part; -1: there was no message left in the stretch
    start: int
    stop: int
    messages: int = 0
    size: int = 0  # bytes on disk


class Topics(NamedTuple):
    """Topics that are read."""

    settings: Settings
    names: tuple[str, ...]

    def inputs(self, options: ReplayOptions, out: Path, parts: Path, warn: Callable[[str], None]) -> tuple[Input, ...]:
        """The inputs that their messages are, once all of them are in `parts`; what is there stays.

        Errors: ConfigError where the folder holds messages of another call; SinkError where they cannot be fetched.
        """
        asked = Ranges(__version__, self.settings.digest, self.names, options, ())
        held = _held(out / RANGES)
        if held is not None and not held.asks_like(asked):
            text = f"{out} holds messages that were fetched for another call; name another folder, or discard it with"
            raise ConfigError([Fault("", "--out", f"{text} --restart")])
        if held is None:
            ranges = _ranges(self.settings, self.names, options, warn)
            held = replace(asked, ranges=ranges)
            replace_file(out / RANGES, msgspec.json.format(msgspec.json.encode(held), indent=2) + b"\n")
        segments = [msgspec.json.decode(line, type=Segment) for line in whole_lines(out / FETCHED)]
        fetch = _Fetch(self.settings, held, segments, out, parts)
        if fetch.todo:
            fetch.run()
        return tuple(_input(held.ranges[each.range], each) for each in segments if each.number >= 0)


def topics_of(settings: Settings, named: Sequence[str], system: str | None) -> Topics:
    """The topics that a call means, in the order of the configuration; `named` are arguments like `kafka:TOPIC`.

    Errors: ConfigError.
    """
    cluster(settings)
    known = [topic for each in settings.systems if each.feed for topic in each.feed.topics]
    if system is not None:
        raise ConfigError([Fault("", "--system", "is for files; topics are named in the configuration")])
    files = [name for name in named if not name.startswith(NAMED)]
    if files:
        text = f"{files[0]!r} is no topic, which would be kafka:NAME; replay files and topics one after the other"
        raise ConfigError([Fault("", "inputs", text)])
    wanted = [name.removeprefix(NAMED) for name in named] or known
    strays = [name for name in wanted if name not in known]
    if strays:
        text = f"no system has the topic {', '.join(strays)}; there are: {', '.join(known)}"
        raise ConfigError([Fault("", "inputs", text)])
    return Topics(settings, tuple(topic for topic in known if topic in wanted))


def _held(path: Path) -> Ranges | None:
    with disk_faults("read", path):
        if not path.exists():
            return None
        data = path.read_bytes()
    try:
        return msgspec.json.decode(data, type=Ranges)
    except msgspec.DecodeError as error:
        raise ConfigError([Fault("", "--out", f"{path} cannot be read; discard the run with --restart")]) from error


def _input(of: Range, segment: Segment) -> Input:
    name = f"{NAMED}{of.topic}/{of.partition}@{segment.start}"
    begin = of.begin if of.first < of.begin else 0
    messages = Fetched(of.topic, of.topic_id, of.partition, begin, segment.messages)
    # Packed, and so about as much shorter than its lines as a compressed file.
    return Input(name, of.system, None, segment.size, "zstd", f"{of.topic_id}/{of.partition}", messages)


def spread_ns(settings: Settings) -> int:
    """How far from a request's begin the messages may have come that say something of it, before and after."""
    return max(each.feed.arrives_ns + each.feed.longest_ns for each in settings.systems if each.feed)


def _ranges(
    settings: Settings, topics: tuple[str, ...], options: ReplayOptions, warn: Callable[[str], None]
) -> tuple[Range, ...]:
    """The offsets that the call comes to on the topics as they are now."""
    kafka = cluster(settings)
    ids = topic_ids(kafka, topics)
    counts = {topic: count or 0 for topic, count in partition_counts(kafka, topics).items()}
    places = [TopicPlace(topic, partition) for topic in topics for partition in range(counts[topic])]
    try:
        bounds = _Bounds(kafka, places, spread_ns(settings), options, warn)
    except KafkaException as error:
        text = f"no answer from Kafka at {', '.join(kafka.brokers)}: {error.args[0].str()}"
        raise SinkError(text, retry=True) from error
    owners = {topic: each for each in settings.systems if each.feed for topic in each.feed.topics}
    return tuple(_range(owners[place.topic], ids[place.topic], place, *bounds.of(place)) for place in places)


def _range(owner: SystemSettings, topic_id: str, place: TopicPlace, earliest: int, begin: int, end: int) -> Range:
    splits = not owner.wrapper or owner.wrapper[0] in PLACES or NEVER_IN_PARTS.issuperset(owner.wrapper)
    # A stream gives the rest of a line up after as many messages: a reader that starts so far before knows every tail.
    first = begin if splits else max(earliest, begin - MAX_PARTS_MESSAGES)
    return Range(owner.system.name, *place[:1], topic_id, place.partition, first, begin, max(begin, end), splits)


class _Bounds:
    """Where the ranges of partitions begin and end.  Errors: KafkaException."""

    def __init__(
        self,
        kafka: Kafka,
        places: Sequence[TopicPlace],
        spread: int,
        options: ReplayOptions,
        warn: Callable[[str], None],
    ) -> None:
        self._admin = client(AdminClient, {**client_settings(kafka), "log_level": 0})
        spec: Any = OffsetSpec  # it is not typed
        self._ends = self._offsets(places, spec.latest())
        self._earliest = self._offsets(places, spec.earliest())
        self._begins = self._earliest
        if options.from_ns is not None:
            at_ms = max(0, options.from_ns - spread) // _MS
            self._begins = self._before_end(self._offsets(places, spec.for_timestamp(at_ms)))
        for place, begin in self._begins.items():
            if 0 < begin == self._earliest[place] < self._ends[place]:
                warn(
                    f"topic {place.topic}, partition {place.partition}: nothing before offset {begin} is there any more"
                )
        if options.until_ns is not None:
            at_ms = max(0, options.until_ns + spread) // _MS + 1
            dated = self._dated(places, warn)
            self._ends |= self._before_end(self._offsets(dated, spec.for_timestamp(at_ms)))

    def of(self, place: TopicPlace) -> tuple[int, int, int]:
        """The first offset there is, the first that counts, and the one after the last."""
        return self._earliest[place], self._begins[place], self._ends[place]

    def _offsets(self, places: Sequence[TopicPlace], spec: Any) -> dict[TopicPlace, int]:
        """The offsets; asked for again for a while if a partition has no leader yet."""
        deadline = time.monotonic() + _ANSWER_S
        while True:
            try:
                return self._answered(places, spec)
            except KafkaException as error:
                if error.args[0].code() not in _LEADERLESS or time.monotonic() > deadline:
                    raise
            time.sleep(_POLL_S)

    def _answered(self, places: Sequence[TopicPlace], spec: Any) -> dict[TopicPlace, int]:
        asked = {TopicPartition(*place): spec for place in places}
        committed = IsolationLevel.READ_COMMITTED
        answers = self._admin.list_offsets(asked, isolation_level=committed, request_timeout=_ANSWER_S) if asked else {}
        return {TopicPlace(at.topic, at.partition): answer.result().offset for at, answer in answers.items()}

    def _before_end(self, found: Mapping[TopicPlace, int]) -> dict[TopicPlace, int]:
        """Where no message is so late, the end."""
        return {
            place: self._ends[place] if offset < 0 else min(offset, self._ends[place])
            for place, offset in found.items()
        }

    def _dated(self, places: Sequence[TopicPlace], warn: Callable[[str], None]) -> list[TopicPlace]:
        """The partitions whose messages are dated by the broker, and so in order."""
        topics = dict.fromkeys(place.topic for place in places)
        resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
        answers = self._admin.describe_configs(resources, request_timeout=_ANSWER_S) if resources else {}
        dated = set()
        for resource, answer in answers.items():
            error = answer.exception()
            if error is None and answer.result()["message.timestamp.type"].value == "LogAppendTime":
                dated.add(resource.name)
            else:
                warn(f"topic {resource.name} is read to its end: it is not known to date messages as they come")
        return [place for place in places if place.topic in dated]


class _Fetch:
    """Everything of the ranges that is not there yet, partition by partition."""

    def __init__(self, settings: Settings, ranges: Ranges, segments: list[Segment], out: Path, parts: Path) -> None:
        self._settings, self._held, self._segments = settings, ranges, segments
        self._out, self._parts = out, parts
        self._at = {number: each.first for number, each in enumerate(ranges.ranges)}
        self._at |= {each.range: each.stop for each in segments}
        self.todo = [number for number, each in enumerate(ranges.ranges) if self._at[number] < each.end]
        self._last_error: KafkaError | None = None

    def run(self) -> None:
        """Fetch.  Errors: SinkError."""
        kafka, ranges = cluster(self._settings), self._held.ranges
        ids = topic_ids(kafka, (ranges[number].topic for number in self.todo))
        for number in self.todo:
            if ids[ranges[number].topic] != ranges[number].topic_id:
                raise SinkError(f"topic {ranges[number].topic} was made anew meanwhile; use --restart", retry=False)
        with disk_faults("write", self._parts):
            self._parts.mkdir(exist_ok=True)
            for leftover in self._parts.glob("*.tmp"):
                leftover.unlink()
        consumer = client(Consumer, _consumer_settings(kafka) | {"error_cb": self._hear})
        total = sum(each.end - each.first for each in ranges)
        left = sum(ranges[number].end - self._at[number] for number in self.todo)
        try:
            with Meter(total, total - left, phase="fetching") as meter:
                for number in self.todo:
                    self._range(consumer, number, meter)
        finally:
            consumer.close()

    def _hear(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self._last_error = error

    def _range(self, consumer: Consumer, number: int, meter: Meter) -> None:
        """What is left of one range, in parts of about as many bytes of messages as a chunk of a file has."""
        of, start = self._held.ranges[number], self._at[number]
        writer: BlockWriter | None = None
        size, at = 0, start
        for message in self._messages(consumer, of, start):
            if writer is None:
                writer = BlockWriter(temporary(self._parts, self._next(), RAW, os.getpid()))
                size = 0
            writer.add(_kept(message))
            size += len(message) + 32
            meter.moved((message.offset() or 0) + 1 - at)
            at = (message.offset() or 0) + 1
            if of.splits and size >= self._held.options.chunk_bytes:
                self._keep(writer, number, start, at)
                writer, start = None, at
        meter.moved(of.end - at)
        if writer is not None:
            self._keep(writer, number, start, of.end)
        elif start < of.end:
            self._note(Segment(number, -1, start, of.end))

    def _next(self) -> int:
        return sum(each.number >= 0 for each in self._segments)

    def _keep(self, writer: BlockWriter, number: int, start: int, stop: int) -> None:
        writer.close()
        part = self._next()
        adopt(self._parts, part, [RAW], os.getpid())
        path = part_path(self._parts, part, RAW)
        with disk_faults("read", path):
            size = path.stat().st_size
        self._note(Segment(number, part, start, stop, writer.items, size))

    def _note(self, segment: Segment) -> None:
        append_line(self._out / FETCHED, msgspec.json.encode(segment))
        self._segments.append(segment)

    def _messages(self, consumer: Consumer, of: Range, start: int) -> Iterator[Message]:
        """The messages of a range from `start` on."""
        place = TopicPlace(of.topic, of.partition)
        consumer.assign([TopicPartition(*place, start)])
        moved_s = time.monotonic()
        while True:
            found = consumer.consume(_MAX_MESSAGES, _POLL_S)
            for message in found:
                if (message.topic(), message.partition()) != place:
                    continue
                moved_s = time.monotonic()
                error, offset = message.error(), message.offset() or 0
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    self._judge(error, of)
                elif offset >= of.end:  # a later message, or the end: the last of the range may be no message
                    return
                elif error is None:
                    yield message
                    if offset + 1 >= of.end:
                        return
            if time.monotonic() - moved_s > SILENCE_S:
                cause = "" if self._last_error is None else f": {self._last_error.str()}"
                text = f"nothing came from topic {of.topic}, partition {of.partition}, for {SILENCE_S:.0f} s{cause}"
                raise SinkError(f"{text}; run the same command again to go on", retry=True)

    def _judge(self, error: KafkaError, of: Range) -> None:
        text = f"topic {of.topic}, partition {of.partition}: {error.str()}"
        if error.code() in _GONE:
            gone = "what was to be read next was deleted before it was read"
            raise SinkError(f"topic {of.topic}, partition {of.partition}: {gone}; use --restart", retry=False)
        if error.code() in HOPELESS:
            raise SinkError(f"{text}: {HOPELESS[error.code()]}", retry=False)
        self._last_error = error


def _kept(message: Message) -> Kept:
    headers: Any = message.headers() if headers_ids(message) is not None else None
    return Kept(message.offset() or 0, message.timestamp()[1], message.key(), message.value(), headers or [])


def _consumer_settings(kafka: Kafka) -> dict[str, Any]:
    return {
        **client_settings(kafka),
        "group.id": kafka.topic("replay"),  # nothing is committed in it
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
        "fetch.wait.max.ms": 100,
        "fetch.queue.backoff.ms": 20,  # with the default a full queue stops all reading for a second
        "log_level": 0,  # the errors that matter are raised
    }
