"""A reader: raw topics → records, and facts and questions for the join topic. Its only state is parts of lines.

One turn is one transaction: a batch of messages is read, everything that follows from it is sent, and the offsets are
committed with it.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Message

from clientip.edges.geo import GeoDatabases, open_geo
from clientip.edges.kafka.client import TopicPlace, Upto
from clientip.edges.kafka.end_offsets import RawEnds
from clientip.edges.kafka.group_member import Member
from clientip.edges.kafka.raw_lines import Dead, RawLines, headers_ids
from clientip.edges.kafka.topic_watch import TopicWatch
from clientip.edges.kafka.transactions import Lost, Out
from clientip.edges.stream.backpressure import Backpressure
from clientip.edges.stream.cluster import look
from clientip.edges.stream.context import Context
from clientip.edges.stream.pace import Pace
from clientip.edges.stream.publication import Publication
from clientip.errors import ConfigError, Fault
from clientip.model import Ids, Outcome, Record, Rejected
from clientip.settings import Settings
from clientip.stream.compiled import Compiled, compiled
from clientip.stream.intake import Intake, IntakeBatch, Lateness, Numbers
from clientip.stream.join_messages import Chunks, Watermark

MAX_BATCH_BYTES: Final = 8 << 20
WATERMARK_S: Final = 1.0  # how often watermarks are sent if there is nothing else to send
MAX_UNREADABLE: Final = 10_000  # lines of one system in a row that no format could read
_MS: Final = 1_000_000


def work(context: Context) -> None:
    """Read until the context says to stop."""
    settings: Settings | None = context.settings
    while settings is not None:
        settings = StreamReader(context, settings).run()


class StreamReader:
    """One reading worker under one configuration. It is for one thread."""

    def __init__(self, context: Context, settings: Settings) -> None:
        self._context, self._telemetry, self._settings = context, context.telemetry, settings
        self._compiled: Compiled = compiled(settings)
        self._cluster = look(settings, context.telemetry, context.stopping)
        self._geo: GeoDatabases = open_geo(settings)
        self._systems = {
            topic: each.system.name for each in settings.systems if each.feed for topic in each.feed.topics
        }
        self._intakes = {
            name: Intake(self._compiled.engine, self._compiled.joining, settings.topology, name)
            for name in self._compiled.feeds
        }
        self._lines: dict[TopicPlace, RawLines] = {}
        self._upto: dict[TopicPlace, int] = {}
        self._last_ms: dict[TopicPlace, int] = {}  # append time of the last message that was read
        self._lateness: dict[TopicPlace, Lateness] = {}
        self._numbers = Numbers()
        self._unread: dict[str, int] = defaultdict(int)  # lines in a row that no format could read
        self._watermarked_s = 0.0
        self._pace = Pace(settings.stream.commit_ns)
        self._ends = RawEnds(self._cluster.kafka)
        self._member = Member(
            self._cluster.kafka,
            self._cluster.kafka.topic("readers"),
            context.name,
            list(self._systems),
            self._telemetry,
            context.stopping,
            assigned=self._assigned,
            revoked=self._revoked,
        )
        ids = {topic: self._cluster.ids[topic] for topic in self._systems}
        self._watch = TopicWatch(self._cluster.kafka, ids, self._cluster.counts)
        self._pressure = Backpressure(settings, self._cluster.kafka, self._cluster.partitions.count, self._telemetry)

    def run(self) -> Settings | None:
        """Read until the context says to stop (None), or until there is another configuration.

        Errors: SinkError, ConfigError.
        """
        try:
            while not self._context.stopping():
                self._telemetry.beat(ready=True)
                news = self._context.reloaded()
                if news is not None:
                    return news
                self._turn()
        finally:
            self._member.close()
        return None

    def _turn(self) -> None:
        stream = self._settings.stream
        self._watch.check()
        try:
            self._pressure.apply(self._member, list(self._lines))
            messages = self._member.poll(stream.batch_lines, self._pace.left_s())
            self._pace.cut()
            batches = list(_bounded(messages))
            for at, few in enumerate(batches, 1):
                self._batch(few, is_last=at == len(batches))
            if not messages and self._lines and time.monotonic() - self._watermarked_s >= WATERMARK_S:
                self._batch([])
        except Lost:
            self._telemetry.say("reader.lost", level="warning")
            self._forget()

    def _forget(self) -> None:
        self._lines, self._upto, self._last_ms, self._lateness = {}, {}, {}, {}
        self._numbers = Numbers()
        self._ends.forget()

    def _assigned(self, committed: Mapping[TopicPlace, Upto | None]) -> Mapping[TopicPlace, int]:
        self._forget()
        starts: dict[TopicPlace, int] = {}
        for place, upto in committed.items():
            system = self._systems[place.topic]
            lines = RawLines(self._settings, self._compiled.engine, system, place, self._cluster.ids[place.topic])
            self._lines[place] = lines
            self._lateness[place] = Lateness(self._compiled.feeds[system].arrives_ns)
            if upto is not None:
                starts[place] = lines.go_on(upto)
                self._upto[place] = upto.offset
        return starts

    def _revoked(self, places: Sequence[TopicPlace]) -> None:
        self._forget()
        for place in places:
            for name in ("lag.processed.messages", "lag.processed.time"):
                self._telemetry.forget(name, place.topic, str(place.partition))

    def _batch(self, messages: Sequence[Message], *, is_last: bool = True) -> None:
        """One transaction; `is_last`: no polled message is left after it."""
        publication = Publication(
            self._cluster.kafka,
            self._settings.stream.output,
            self._geo,
            self._cluster.counts[self._cluster.kafka.topic("counts")],
        )
        chunks = Chunks(self._cluster.partitions, self._compiled.joining.bounds.horizon)
        batch = IntakeBatch(chunks, self._numbers)
        by_place: dict[TopicPlace, list[Message]] = defaultdict(list)
        for message in messages:
            by_place[TopicPlace(message.topic() or "", message.partition() or 0)].append(message)
        for place, few in by_place.items():
            self._read(place, few, publication, batch)
        for record in batch.ahead:
            publication.finding(record, "time_implausible")
        self._check_readable()
        outs = publication.end(self._telemetry)
        outs += self._joins(chunks, is_last=is_last)
        places = by_place or dict.fromkeys(place for place in self._lines if place in self._upto)
        if not places:
            return
        offsets = {place: Upto(self._upto[place], self._lines[place].metadata()) for place in places}
        with self._telemetry.batch(_links(messages), messages=len(messages), sent=len(outs)):
            self._member.send(outs, offsets)
        self._telemetry.took("batch.messages", len(messages))
        if messages:
            self._telemetry.took("records.delay", time.time() - (messages[0].timestamp()[1] or 0) / 1000)
        self._show_lag(by_place)

    def _read(
        self, place: TopicPlace, messages: Sequence[Message], publication: Publication, batch: IntakeBatch
    ) -> None:
        system, rules = self._systems[place.topic], self._settings.rules
        intake, publish = self._intakes[system], publication.renderer()
        take, batch.log = intake.take, f"{place.topic}/{place.partition}"
        records = batch.late_ns = batch.late_begun_ns = 0
        kind, stamp_ms = messages[-1].timestamp()
        is_dated, now_ns = kind == TIMESTAMP_LOG_APPEND_TIME, time.time_ns()
        batch.latest_ns = 0 if is_dated else now_ns  # shippers' clocks may say anything
        for taken in self._lines[place].read(messages):
            if isinstance(taken, Dead):
                intake.refuse(batch)
                publication.dead(system, place, taken.offset, taken.message, taken.reason)
                self._unread[system] += 1
                continue
            appended_ns = taken.appended_ns if is_dated else min(taken.appended_ns, now_ns)
            for outcome in taken.outcomes:
                left = take(outcome, appended_ns, batch)
                if left is None:
                    records += 1
                elif type(left) is Record:
                    records += 1
                    publish(left, rules)
                else:
                    publication.other(left, system, rules)
            self._count_unread(system, taken.outcomes)
        publication.counted(system, "record", records)
        last = messages[-1]
        self._upto[place] = (last.offset() or 0) + 1
        self._last_ms[place] = stamp_ms if is_dated else 0
        publication.youngest_ms = max(publication.youngest_ms, min(stamp_ms, now_ns // _MS))
        late_ns = max(batch.late_ns, batch.late_begun_ns - self._compiled.joining.stay(system))
        self._lateness[place].see(late_ns, now_ns)

    def _count_unread(self, system: str, outcomes: Sequence[Outcome]) -> None:
        """Count the lines in a row that no format could read."""
        if all(isinstance(each, Rejected) for each in outcomes[-1:]):
            rejected = sum(isinstance(each, Rejected) for each in outcomes)
            self._unread[system] = (self._unread[system] if rejected == len(outcomes) else 0) + rejected
        else:
            self._unread[system] = 0

    def _check_readable(self) -> None:
        """A system of which no line can be read is set up wrongly: stop, and leave its lines in the topic."""
        for system, times in self._unread.items():
            if times >= MAX_UNREADABLE:
                text = f"none of its last {times} lines could be read; check `format`, `wrapper` and `messages`"
                raise ConfigError([Fault("", f"systems.{system}", text)])

    def _joins(self, chunks: Chunks, *, is_last: bool) -> Iterator[Out]:
        """Messages for the join topic, with watermarks if it is time for them.

        Running numbers are sent with their lines. If they were left for later, the next owner of the partition would
        not know them.
        """
        watermarks: list[Watermark] = []
        runs, holes = self._numbers.news(), self._numbers.holes()
        now_s = time.monotonic()
        if now_s - self._watermarked_s >= min(WATERMARK_S, self._settings.stream.commit_ns / 1e9) * 0.9:
            self._watermarked_s = now_s
            watermarks = self._watermarks(is_last=is_last)
        everywhere = range(self._cluster.partitions.count) if watermarks or runs or holes else ()
        topic = self._cluster.kafka.generational("join")
        for partition, value in chunks.messages(watermarks, runs, everywhere, holes):
            yield Out(topic, value, partition)

    def _watermarks(self, *, is_last: bool) -> list[Watermark]:
        """The watermarks of all partitions of this worker.

        Each is the last moment at which the end was found to be read, or the time of the last message, if the broker
        dated it. Messages that are polled and left for the next transaction count as not read.
        """
        if is_last:
            self._ends.look(self._lines, self._member.reached)
        found = []
        for place in self._lines:
            at_end_ns, last_ns = self._ends.read_ns(place), self._last_ms.get(place, 0) * _MS
            upto_ns = max(0, max(at_end_ns or 0, last_ns) - self._lateness[place].excess_ns())
            system, count = self._systems[place.topic], self._cluster.counts[place.topic]
            at_end = at_end_ns is not None and not self._ends.waits(place)
            found.append(Watermark(system, place.topic, place.partition, count, upto_ns, at_end))
        return found

    def _show_lag(self, places: Iterable[TopicPlace]) -> None:
        for place in places:
            lag = self._member.lag(place)
            if lag is None:
                continue
            labels = place.topic, str(place.partition)
            self._telemetry.set("lag.processed.messages", lag, *labels)
            age_s = max(0.0, time.time() - self._last_ms.get(place, 0) / 1000) if lag else 0.0
            self._telemetry.set("lag.processed.time", age_s if self._last_ms.get(place) else 0.0, *labels)


def _bounded(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """The messages in batches that one transaction can hold."""
    first, size = 0, 0
    for at, message in enumerate(messages):
        size += len(message)
        if size > MAX_BATCH_BYTES and at > first:
            yield messages[first:at]
            first, size = at, len(message)
    if first < len(messages):
        yield messages[first:]


def _links(messages: Sequence[Message]) -> Iterator[Ids]:
    return (ids for ids in map(headers_ids, messages) if ids is not None)
