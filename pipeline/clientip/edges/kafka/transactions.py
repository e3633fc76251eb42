"""Exactly once: messages and offsets are committed together or not at all, whatever dies meanwhile.

A batch is whole before its transaction begins. If the outcome is not known the producer is thrown away. The next one
with the same id first ends the transaction that was left open; then the group's offsets say whether the batch is in. If
it is not, the very same batch is sent again.

Brokers may end a transaction and leave it open in a partition that has no leader at that moment, as while the only
broker starts [M, Kafka 4.3.1: "these partitions are likely deleted already and hence can be skipped"]. There it stays
open permanently, or until a later transaction of the same id takes it in and commits messages that were void. So before
a new producer commits anything in a topic, it aborts a transaction that touches all partitions of the topic.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Thread
from typing import Any, Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from clientip.edges.kafka.client import client
from clientip.edges.kafka.waiting import Waiting
from clientip.edges.telemetry.port import TelemetryPort
from clientip.errors import SinkError

TIMEOUT_S: Final = 5.0  # a transaction that takes longer is undone by the broker
MESSAGE_BYTES: Final = 64 << 20
_GIVE_UP_S: Final = 3.0  # how long a worker that shall stop still tries
_FULL_S: Final = 0.05  # how long to wait if the producer's queue is full
_MAX_HANGING: Final = 3  # calls that do not return; with more the worker ends
_LOST: Final = (KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID)
HOPELESS: Final[Mapping[int, str]] = {  # errors that no second try mends, and what mends them
    KafkaError.MSG_SIZE_TOO_LARGE: "raise its max.message.bytes; `clientip kafka topics` says how far",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "allow this user to read and write it",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "allow this user to read as this group",
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "allow this user to write under this transactional id",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "allow this user to write idempotently",
    KafkaError.INVALID_TRANSACTION_TIMEOUT: "raise the brokers' transaction.max.timeout.ms",
    KafkaError.INVALID_RECORD: "the topic refuses it; `clientip kafka topics` says how it must be set",
    KafkaError.POLICY_VIOLATION: "a policy of the cluster refuses it",
}


class Lost(Exception):  # noqa: N818 - a normal event, no mistake
    """Another member has our place in the group: all state is void, and the next poll joins again."""


class Out(NamedTuple):
    """One message to send."""

    topic: str
    value: bytes
    partition: int = -1  # -1: any
    key: bytes | None = None


class TransactionContents(NamedTuple):
    """The content of one transaction."""

    outs: Sequence[
        tuple[str, bytes | None, int, bytes | None]
    ]  # as in `Out`; messages without a value only touch a partition
    offsets: Sequence[TopicPartition]
    generation: Any  # of the group, as the consumer had it when it got its partitions


class Transactions:
    """The producer of one worker; of two with the same id the brokers shut out the older."""

    def __init__(
        self,
        settings: Mapping[str, str],
        name: str,
        telemetry: TelemetryPort,
        stopping: Callable[[], bool],
        outputs: Sequence[str] = (),
        timeout_s: float = TIMEOUT_S,
        message_bytes: int = MESSAGE_BYTES,
    ) -> None:
        """`outputs`: topics in which an earlier process of the name may have left a transaction open."""
        self._telemetry, self._stopping, self._timeout_s = telemetry, stopping, timeout_s
        self._outputs = outputs
        self._settings: dict[str, Any] = {
            **settings,
            "transactional.id": name,
            "transaction.timeout.ms": round(timeout_s * 1000),
            "acks": "all",
            "retry.backoff.ms": 10,  # the default makes transactions back to back wait for 100 ms
            "linger.ms": 5,
            "compression.type": "lz4",
            "message.max.bytes": message_bytes,
            "topic.metadata.propagation.max.ms": round(timeout_s * 500),  # so that the error names a missing topic
            "queue.buffering.max.messages": 1_000_000,
            "queue.buffering.max.kbytes": 1 << 20,
            "on_delivery": self._refused,
            "error_cb": self._on_error,
            "delivery.report.only.error": True,
            "log_level": 0,  # the errors that matter are raised
        }
        self._producer: Producer | None = None
        self._open = False  # whether the open transaction of an earlier producer of the name is ended
        self._settled = False  # whether no open transaction is left in the group's offsets
        self._swept: set[str] = set()  # topics in which no open transaction is left
        self._refusal: tuple[KafkaError, str] | None = None  # of the first message that was refused, with its topic
        self._hanging: list[_Attempt] = []
        self._cause = ""  # the last error of the library's connections

    def open(self) -> None:
        """End the transaction that an earlier process of the name left open. Errors: as `send`."""

        def attempt() -> None:
            self._ready()
            self._sweep(self._outputs, (), None)

        self._patiently(attempt)

    def settle(self, place: TopicPartition, generation: Any) -> None:
        """Abort what an earlier process of the name left open in the group's offsets. Errors: as `send`."""

        def attempt() -> None:
            self._ready()
            self._settle([place], generation)

        self._patiently(attempt)

    def send(self, batch: TransactionContents, landed: Callable[[], bool]) -> None:
        """Returns once the batch is committed; waits for brokers that are away.

        `landed` says whether the offsets of the batch are those of the group. Errors: Lost; SinkError if no second try
        can help, or if the worker shall stop meanwhile.
        """
        topics = {topic for topic, *_ in batch.outs}
        tried = False

        def attempt() -> None:
            nonlocal tried
            self._ready()
            self._settle(batch.offsets, batch.generation)
            if tried and landed():
                self._swept |= topics  # if a part of it is open still, the next commit takes it in
                return
            self._sweep(topics, batch.offsets, batch.generation)
            if tried:
                self._telemetry.add("transactions", 1, "repeated")
            tried = True
            self._transact(batch)

        began = time.monotonic()
        self._patiently(attempt)
        self._telemetry.add("transactions", 1, "committed")
        self._telemetry.took("transactions.time", time.monotonic() - began)

    def _settle(self, offsets: Sequence[TopicPartition], generation: Any) -> None:
        """Abort the open transaction in the group's offsets, once for each producer."""
        if not self._settled:
            self._transact(TransactionContents((), offsets, generation), commit=False)
            self._settled = True

    def _sweep(self, topics: Iterable[str], offsets: Sequence[TopicPartition], generation: Any) -> None:
        """Abort the open transaction in these topics, once for each producer and topic."""
        new = set(topics) - self._swept
        if not new:
            return
        assert self._producer is not None
        found = [self._producer.list_topics(topic, self._timeout_s).topics[topic] for topic in new]
        outs = [(topic.topic, None, partition, b"") for topic in found for partition in topic.partitions]
        self._transact(TransactionContents(outs, offsets, generation), commit=False)
        self._swept |= new

    def _patiently(self, attempt: Callable[[], None]) -> None:
        """Try until it succeeds, or until no try can succeed."""
        waiting = Waiting(self._telemetry, self._stopping, "no transaction", _GIVE_UP_S)
        while True:
            try:
                attempt()
                return
            except KafkaException as error:
                text = self._judge(error.args[0])
            if len(self._hanging) > _MAX_HANGING:
                raise SinkError("calls of the Kafka client do not return", retry=True)
            waiting.pause(text)

    def _judge(self, error: KafkaError) -> str:
        """The text for an error after which another try makes sense. Errors: Lost, SinkError."""
        refusal, topic = self._refusal or (error, "")
        text = f"{topic}: {refusal.str()}" if topic else error.str()
        text = f"{text} ({self._cause})" if self._cause else text
        if error.code() in _LOST:
            self._telemetry.add("transactions", 1, "fenced")
            raise Lost(text)
        if error.code() == KafkaError.FENCED_INSTANCE_ID:
            self._telemetry.add("transactions", 1, "fenced")
            raise SinkError(f"{text}: is there another process of the same --name?", retry=True)
        if refusal.code() in HOPELESS:
            raise SinkError(f"{text}: {HOPELESS[refusal.code()]}", retry=False)
        return text

    def _ready(self) -> None:
        if self._producer is None:
            self._producer, self._open = client(Producer, self._settings), False
            self._settled, self._swept, self._cause = False, set(), ""
        if self._open:
            return
        try:
            self._producer.init_transactions(self._timeout_s)
        except KafkaException as error:
            self._producer.poll(0)  # calls `_on_error` with the cause
            if not error.args[0].retriable():  # otherwise the next call goes on with this producer
                self._producer = None
            raise
        self._open = True

    def _transact(self, batch: TransactionContents, *, commit: bool = True) -> None:
        assert self._producer is not None
        attempt = _Attempt(self._producer, batch, self._timeout_s, commit=commit)
        self._producer, self._refusal = None, None
        attempt.start()
        self._await(attempt)
        if attempt.is_alive():
            attempt.given_up = True
            self._hanging = [each for each in (*self._hanging, attempt) if each.is_alive()]
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "a call does not return"))
        self._refusal = self._refusal or attempt.refusal
        if attempt.error is not None:
            raise KafkaException(attempt.error)
        if not attempt.whole:
            raise RuntimeError("the thread of a transaction died")
        self._producer = attempt.producer

    def _await(self, attempt: _Attempt) -> None:
        """Wait until it is over, or has taken too long."""
        began = time.monotonic()
        while attempt.is_alive():
            past_s = time.monotonic() - began
            if past_s > (_GIVE_UP_S if self._stopping() else 2 * self._timeout_s):
                return
            attempt.join(0.5)

    def _refused(self, error: KafkaError | None, message: Message) -> None:
        if error is not None and self._refusal is None:
            self._refusal = (error, message.topic() or "")

    def _on_error(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self._cause = error.str()


class _Attempt(Thread):
    """One transaction, in a thread of its own that can be abandoned.

    While all brokers are away a call may not return at all, whatever its timeout: [M] sending the offsets, if the
    connection breaks after they were sent; https://github.com/confluentinc/librdkafka/issues/4420. An abandoned thread
    does no harm: the next producer of the same id shuts out its producer.
    """

    def __init__(self, producer: Producer, batch: TransactionContents, timeout_s: float, *, commit: bool) -> None:
        super().__init__(daemon=True)
        self.producer, self._batch, self._commit = producer, batch, commit
        self._until_s = time.monotonic() + timeout_s
        self.error: KafkaError | None = None
        self.refusal: tuple[KafkaError, str] | None = None
        self.whole = self.given_up = False

    def run(self) -> None:
        try:
            self._transact()
        except KafkaException as error:
            self.error = error.args[0]  # not the exception, whose traceback would keep the producer alive

    def _transact(self) -> None:
        self.producer.begin_transaction()
        self._produce()
        if self.given_up:
            return
        if self._batch.offsets:
            offsets, generation = list(self._batch.offsets), self._batch.generation
            self.producer.send_offsets_to_transaction(offsets, generation, self._left())
        if self.given_up:
            return
        end = self.producer.commit_transaction if self._commit else self.producer.abort_transaction
        end(self._left())
        self.whole = True

    def _produce(self) -> None:
        produce = self.producer.produce
        for topic, value, partition, key in self._batch.outs:
            while True:
                try:
                    produce(topic, value, key, partition)
                    break
                except BufferError:  # the queue is full
                    if time.monotonic() > self._until_s:
                        raise KafkaException(KafkaError(KafkaError._TIMED_OUT_QUEUE)) from None
                    self.producer.poll(_FULL_S)
                except KafkaException as error:
                    self.refusal = (error.args[0], topic)
                    raise

    def _left(self) -> float:
        return max(0.1, self._until_s - time.monotonic())
