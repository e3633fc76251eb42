"""One worker as a member of a consumer group: it reads its partitions and commits the results, exactly once."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, Final, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from clientip.edges.kafka.client import TopicPlace, Upto, client, client_settings, stamped, upto_of
from clientip.edges.kafka.transactions import (
    HOPELESS,
    MESSAGE_BYTES,
    TIMEOUT_S,
    Lost,
    Out,
    TransactionContents,
    Transactions,
)
from clientip.edges.telemetry.port import TelemetryPort
from clientip.errors import SinkError
from clientip.settings import Kafka

_BEATS: Final = 15  # heartbeats of a session
METADATA_BYTES: Final = 4096 - 40  # what brokers take, without the stamp
_SAY_S: Final = 10.0
_POLL_MS: Final = 300_000  # a member that has not polled for so long loses its partitions
_GONE: Final = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._LOG_TRUNCATION)


class MemberLimits(NamedTuple):
    """How long a member may take, and how long a message may be."""

    session_s: float = 45.0  # a member that is silent for so long loses its partitions; a restart takes less
    timeout_s: float = TIMEOUT_S  # of a transaction
    message_bytes: int = MESSAGE_BYTES  # the longest that is read or sent


LIMITS: Final = MemberLimits()


class Member:
    """A consumer, and the producer whose transactions commit for it. For one thread.

    After a SinkError it can only be closed; after Lost the next `poll` joins the group anew.
    """

    def __init__(
        self,
        kafka: Kafka,
        group: str,
        name: str,
        topics: Sequence[str],
        telemetry: TelemetryPort,
        stopping: Callable[[], bool],
        *,
        assigned: Callable[[Mapping[TopicPlace, Upto | None]], Mapping[TopicPlace, int]],
        revoked: Callable[[Sequence[TopicPlace]], None],
        outputs: Sequence[str] = (),
        limits: MemberLimits = LIMITS,
    ) -> None:
        """Waits for the cluster and ends the transaction that an earlier process of the name left open.

        The group is joined with the first poll. `name` stays the same over restarts, and no other member has it.
        `poll` calls `assigned` with the commit of each new partition (None: there is none). It returns the offsets at
        which to start, for partitions that shall start neither there nor at their beginning. `poll` calls `revoked`
        with partitions that another member owns from now on: results of theirs that were not sent are void.
        `outputs`: topics to which results go; an open transaction in them is ended at once, otherwise before the first
        message to them.
        """
        settings = client_settings(kafka)
        self._group, self._topics, self._telemetry = group, list(topics), telemetry
        self._assigned, self._revoked, self._timeout_s = assigned, revoked, limits.timeout_s
        self._transactions = Transactions(
            settings, f"{group}-{name}", telemetry, stopping, outputs, limits.timeout_s, limits.message_bytes
        )
        self._settings = _consumer_settings(settings, group, name, limits) | {"error_cb": self._on_error}
        self._questions = {**settings, "group.id": group, "isolation.level": "read_committed", "log_level": 0}
        self._stamps = _stamps()
        self._consumer: Consumer | None = None
        self._fatal: KafkaError | None = None
        self._beat_s = limits.session_s / _BEATS
        self._said_s = time.monotonic() - _SAY_S
        self._polled_s = self._excused_s = time.monotonic()
        self._forget()
        self._transactions.open()

    def _forget(self) -> None:
        self._generation: Any = None  # None: no partitions, or no right to commit
        self._fresh: list[TopicPartition] | None = None  # assigned, not started yet
        self._turned = False  # whether partitions came or went since the last poll
        self._starts: dict[TopicPlace, int] = {}  # all partitions of this member, and the offset of its first message
        self._ends: dict[TopicPlace, int] = {}  # where their end was when this member came to it

    def poll(self, most: int, seconds: float) -> list[Message]:
        """The next messages, at most `most`, as soon as there are some; none while brokers are away.

        Errors: SinkError, for example if messages were deleted before they were read.
        """
        try:
            return self._poll(most, seconds)
        except KafkaException as error:
            raise self._end(error.args[0]) from error

    def _poll(self, most: int, seconds: float) -> list[Message]:
        if self._consumer is None:
            self._join()
        assert self._consumer is not None
        if time.monotonic() - self._polled_s > self._beat_s:
            self._excused_s = time.monotonic() + seconds + self._beat_s
        found = self._consumer.consume(most, seconds)
        self._polled_s = time.monotonic()
        good = [message for message in found if message.error() is None]
        if len(good) < len(found):
            self._complain(found)
        if self._fatal is not None:
            if self._polled_s > self._excused_s:
                raise self._end(self._fatal)
            self._rejoin()
            return []
        if self._turned:
            good = []  # fetched before the change: the present owner of the partitions reads them again
            self._turn()
        if self._fresh is not None:
            self._start(self._fresh)
        return good

    def _join(self) -> None:
        self._transactions.open()
        self._consumer = client(Consumer, self._settings)
        self._consumer.subscribe(self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke)

    def _rejoin(self) -> None:
        """Begin again after a long silence, as while brokers were away.

        When a session ends the library drops its member id, and sends heartbeats without one until the next poll: to
        the brokers it looks like an older process of the same name.
        """
        self._consumer, self._fatal = None, None
        self._turn()
        self._forget()

    def _on_assign(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        consumer.assign([])  # until it is known where to start
        self._turned, self._fresh, self._generation = True, places, consumer.consumer_group_metadata()

    def _on_revoke(self, _consumer: Consumer, _places: list[TopicPartition]) -> None:
        self._turned, self._fresh, self._generation = True, None, None

    def _turn(self) -> None:
        self._turned = False
        gone = list(self._starts)
        self._starts, self._ends = {}, {}
        if gone:
            self._revoked(gone)

    def _start(self, fresh: list[TopicPartition]) -> None:
        assert self._consumer is not None
        try:
            if fresh:
                self._transactions.settle(TopicPartition(fresh[0].topic, fresh[0].partition, 0), self._generation)
            found = {_place(each): upto_of(each) for each in self._consumer.committed(fresh, self._timeout_s)}
        except Lost:
            return
        except KafkaException as error:
            # A transaction of the previous owner may be open, or hang permanently; the next poll asks again.
            self._say(f"{error.args[0].str()}; if this lasts, see kafka-transactions.sh find-hanging")
            return
        self._fresh = None
        own = self._assigned(found)
        self._starts = {
            place: own.get(place, upto.offset if upto else OFFSET_BEGINNING) for place, upto in found.items()
        }
        begin = [TopicPartition(*place, offset) for place, offset in self._starts.items()]
        self._consumer.assign(begin)
        self._consumer.resume(begin)  # pauses of an earlier assignment are still in force
        self._telemetry.say("partitions.assigned", group=self._group, partitions=len(begin))

    def send(self, outs: Sequence[Out], offsets: Mapping[TopicPlace, Upto]) -> None:
        """Send all of it in one transaction; returns when it is committed.

        Errors: Lost; SinkError; ValueError if there are no offsets, or if their metadata are too long.
        """
        if not offsets:
            raise ValueError("a transaction without offsets is not fenced")
        if any(len(each.metadata.encode()) > METADATA_BYTES for each in offsets.values()):
            raise ValueError(f"metadata longer than {METADATA_BYTES} bytes")
        if self._generation is None or not self._starts.keys() >= offsets.keys():
            raise Lost("the partitions were taken away")
        stamp = next(self._stamps)
        places = [TopicPartition(*place, each.offset, stamped(stamp, each.metadata)) for place, each in offsets.items()]
        try:
            self._transactions.send(TransactionContents(outs, places, self._generation), lambda: self._holds(places))
        except Lost:
            assert self._consumer is not None
            self._consumer.assign([])  # the next heartbeats find it out as well, and the polls after them join anew
            self._forget()
            raise

    def _holds(self, places: list[TopicPartition]) -> bool:
        """Whether the group's offsets are these."""
        asked = [TopicPartition(place.topic, place.partition) for place in places]
        # A new client: one whose session ran out unpolled does not find its coordinator any more.
        held = client(Consumer, self._questions).committed(asked, self._timeout_s)
        for each in held:
            upto_of(each)  # raises where it is not known
        wanted = {_place(place): place.metadata for place in places}
        return {_place(each): each.metadata for each in held} == wanted

    def at_end(self, place: TopicPlace) -> bool:
        """Whether we have come to the end of a partition, as far as is known from what was fetched last.

        Messages of a transaction that is not yet committed belong to the partition.
        """
        end = self._ends.get(place)
        if end is None or self._consumer is None:
            return False
        return self._position(place) <= end and self._watermarks(place)[1] <= end

    def lag(self, place: TopicPlace) -> int | None:
        """Messages not yet read, or a few more: control records of transactions count. None while it is not known."""
        if place not in self._starts or self._consumer is None:
            return None
        low, high = self._watermarks(place)
        if high < 0:
            return None
        return max(0, high - max(low, self._starts[place], self._position(place), self._ends.get(place, 0)))

    def reached(self, place: TopicPlace) -> int:
        """Offset of the next message; control records of transactions count once the end behind them is reached."""
        if place not in self._starts or self._consumer is None:
            return 0
        return max(self._starts[place], self._position(place), self._ends.get(place, 0))

    def _position(self, place: TopicPlace) -> int:
        """Offset of the next message; negative before the first."""
        assert self._consumer is not None
        [found] = self._consumer.position([TopicPartition(*place)])
        return found.offset

    def _watermarks(self, place: TopicPlace) -> tuple[int, int]:
        assert self._consumer is not None
        return self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True)

    def pause(self, places: Iterable[TopicPlace]) -> None:
        """Read no more of these until `resume`; partitions of other members are left out."""
        if self._consumer is not None:
            self._consumer.pause([TopicPartition(*place) for place in places if place in self._starts])

    def resume(self, places: Iterable[TopicPlace]) -> None:
        """Go on with these; new partitions are never paused."""
        if self._consumer is not None:
            self._consumer.resume([TopicPartition(*place) for place in places if place in self._starts])

    def close(self) -> None:
        """Stop at once. The next process of the name gets the partitions; others get them when the session is over.

        The consumer is dropped and not closed: the library's close waits for ever where the group has given
        partitions that no poll has taken up (librdkafka issue 4884). A member with a name would leave no group anyway.
        """
        self._consumer = None
        self._forget()

    def _complain(self, found: list[Message]) -> None:
        for message in found:
            error = message.error()
            if error is None:
                continue
            place = TopicPlace(message.topic() or "", message.partition() or 0)
            if error.code() == KafkaError._PARTITION_EOF:
                self._ends[place] = message.offset() or 0
            elif error.code() in _GONE:
                raise SinkError(self._gone(place, message.offset() or 0), retry=False)
            else:
                self._on_error(error)

    def _gone(self, place: TopicPlace, offset: int) -> str:
        topic, partition = place
        return (
            f"topic {topic}, partition {partition}: the next message, at offset {offset}, is not there: it was "
            f"deleted before it was read, or the topic was made again. To go on without it, stop all workers and run "
            f"kafka-consumer-groups.sh --group {self._group} --topic {topic}:{partition} --reset-offsets --to-earliest "
            f"--execute"
        )

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal() or error.code() == KafkaError._FATAL or error.code() in HOPELESS:
            self._fatal = error
        elif error.code() != KafkaError._ALL_BROKERS_DOWN:
            self._say(error.str())

    def _say(self, text: str) -> None:
        now = time.monotonic()
        if now - self._said_s >= _SAY_S:
            self._telemetry.say("kafka.trouble", level="warning", text=text)
            self._said_s = now

    def _end(self, error: KafkaError) -> SinkError:
        hint = HOPELESS.get(error.code())
        text = f"{self._group}: {error.str()}"
        return SinkError(text if hint is None else f"{text}: {hint}", retry=hint is None)


def _place(found: TopicPartition) -> TopicPlace:
    return TopicPlace(found.topic, found.partition)


def _stamps() -> Iterator[str]:
    """A word for each transaction; no other transaction of any process has it."""
    process = os.urandom(8).hex()
    return (f"{process}.{number:x}" for number in count())


def _consumer_settings(settings: Mapping[str, str], group: str, name: str, limits: MemberLimits) -> dict[str, Any]:
    session_ms = round(limits.session_s * 1000)
    return {
        **settings,
        "group.id": group,
        "group.instance.id": name,
        "group.protocol": "classic",
        "partition.assignment.strategy": "range",
        "session.timeout.ms": session_ms,
        "heartbeat.interval.ms": session_ms // _BEATS,
        "max.poll.interval.ms": max(_POLL_MS, session_ms),
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
        "fetch.wait.max.ms": 100,
        "fetch.queue.backoff.ms": 20,  # with the default a full queue stops all reading for a second
        "queued.min.messages": 20_000,
        "fetch.max.bytes": limits.message_bytes,
        "receive.message.max.bytes": 2 * limits.message_bytes,
        "log_level": 0,  # the errors that matter are raised
    }
