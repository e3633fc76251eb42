"""Exactly once, beside real brokers: whoever dies, freezes or goes away, nothing is lost and nothing is there twice.

As a program (`python -m tests.edges.kafka.test_transactions …`) this file is the worker that the tests kill and freeze.
"""

from __future__ import annotations

import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, overload

import pytest
from clientip.edges.kafka.client import TopicPlace, Upto
from clientip.edges.kafka.group_member import METADATA_BYTES, Member, MemberLimits
from clientip.edges.kafka.transactions import Lost, Out, TransactionContents, Transactions
from clientip.errors import SinkError
from clientip.settings import Kafka
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.worlds.brokers import Brokers
from tests.worlds.patience import LIMIT_S, until
from tests.worlds.sizes import SIZE

pytestmark = pytest.mark.edge

ROOT = Path(__file__).parents[3]
SESSION_S, TIMEOUT_S = 2.0, 5.0  # of the workers that are killed and frozen
MIB = 1 << 20


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brokers]:
    """A broker for tests that stop it; each leaves it as it was."""
    with Brokers(tmp_path_factory.mktemp("own") / "kafka") as brokers:
        yield brokers


class Heard:
    """A `TelemetryPort` that remembers."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, ...]] = Counter()
        self.lines: list[tuple[str, Mapping[str, str | float]]] = []
        self.times: list[float] = []
        self.beats = 0

    def add(self, name: str, amount: float = 1, *labels: str) -> None:
        self.counts[name, *labels] += int(amount)

    def set(self, name: str, value: float, *labels: str) -> None:
        raise AssertionError((name, value, labels))

    def took(self, name: str, seconds: float, *labels: str) -> None:
        assert (name, labels) == ("transactions.time", ())
        self.times.append(seconds)

    def say(self, event: str, **fields: str | float) -> None:
        self.lines.append((event, fields))

    def beat(self, *, ready: bool) -> None:
        assert not ready
        self.beats += 1

    def transactions(self) -> dict[str, int]:
        return {labels[0]: count for (name, *labels), count in self.counts.items() if name == "transactions"}

    def texts(self, event: str) -> list[str]:
        return [str(fields["text"]) for name, fields in self.lines if name == event]


class Worker:
    """A member, and what it was told of its partitions."""

    def __init__(
        self,
        address: str,
        group: str,
        *topics: str,
        name: str = "worker",
        starts: Mapping[TopicPlace, int] | None = None,
        stopping: Callable[[], bool] = lambda: False,
        session_s: float = 60.0,
        timeout_s: float = 60.0,
        message_bytes: int = 64 * MIB,
    ) -> None:
        self.heard, self.given, self.taken = Heard(), {}, []
        self._starts = starts or {}
        self.member = Member(
            Kafka(tuple(address.split(",")), "ours", 1),
            group,
            name,
            topics,
            self.heard,
            stopping,
            assigned=self._assigned,
            revoked=self.taken.append,
            limits=MemberLimits(session_s, timeout_s, message_bytes),
        )

    given: dict[TopicPlace, Upto | None]
    taken: list[Sequence[TopicPlace]]

    def _assigned(self, places: Mapping[TopicPlace, Upto | None]) -> Mapping[TopicPlace, int]:
        self.given = dict(places)
        return self._starts

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.member.close()

    def read(self, count: int) -> list[Any]:
        """So many messages."""
        found: list[Any] = []

        def have_come() -> bool:
            found.extend(self.member.poll(count - len(found), 0.1))
            return len(found) >= count

        until(have_come, lambda: f"{len(found)} of {count} messages, {self.heard.lines}")
        return found

    def until(self, true: Callable[[], object]) -> None:
        """Poll until it is true; nothing comes meanwhile."""

        def is_true() -> object:
            assert self.member.poll(1000, 0.05) == []
            return true()

        until(is_true, lambda: self.heard.lines)


def make(address: str, *topics: str, partitions: int = 1, **config: str) -> None:
    new = [
        NewTopic(name, partitions, 1, config={key.replace("_", "."): value for key, value in config.items()})
        for name in topics
    ]
    admin = AdminClient({"bootstrap.servers": address})
    for answer in admin.create_topics(new).values():
        answer.result(LIMIT_S)
    until(lambda: admin.list_topics(timeout=LIMIT_S).topics.keys() >= set(topics))


def fill(address: str, topic: str, count: int, partitions: int = 1, first: int = 0) -> list[bytes]:
    """Numbered messages, shared out to the partitions."""
    values = [b"%d" % number for number in range(first, first + count)]
    producer = Producer({"bootstrap.servers": address, "enable.idempotence": True})
    for number, value in enumerate(values):
        producer.produce(topic, value, partition=number % partitions)
    assert producer.flush(LIMIT_S) == 0
    return values


def commit(address: str, group: str, *places: TopicPartition) -> None:
    """As any program may."""
    consumer = Consumer({"bootstrap.servers": address, "group.id": group})

    def is_taken() -> bool:
        try:
            consumer.commit(offsets=list(places), asynchronous=False)
        except KafkaException:  # the first of all groups waits for its coordinator
            return False
        return True

    until(is_taken)
    consumer.close()


def committed_values(address: str, topic: str, partitions: int, least: int) -> list[bytes]:
    """All that readers of committed messages see, once there are so many."""
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": "nobody",
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
    values: list[bytes] = []
    ends: set[int | None] = set()

    def have_come() -> bool:
        for message in consumer.consume(10_000, 0.2):
            if message.error() is None:
                values.append(message.value() or b"")
            elif message.error().code() == KafkaError._PARTITION_EOF:
                ends.add(message.partition())
        return len(values) >= least and len(ends) >= partitions

    until(have_come, lambda: f"{len(values)} of {least} values, {len(ends)} of {partitions} ends")
    consumer.close()
    return values


def all_values(address: str, group: str, source: str, target: str, partitions: int, count: int) -> list[bytes]:
    """All that readers see, once the group has committed that it has read all of the source, so many messages.

    What would come twice has come by then: nothing is left to be read.
    """
    consumer = Consumer({"bootstrap.servers": address, "group.id": group})
    places = [TopicPartition(source, number) for number in range(partitions)]

    def are_read() -> bool:
        try:
            return sum(max(0, each.offset) for each in consumer.committed(places, LIMIT_S)) == count
        except KafkaException:  # as while the coordinator comes back; librdkafka calls not all of it retriable
            return False

    until(are_read, step_s=0.2)
    consumer.close()
    return committed_values(address, target, partitions, count)


def answers(messages: Sequence[Any], topic: str) -> tuple[list[Out], dict[TopicPlace, Upto]]:
    """One message for each, and how far they go."""
    offsets = {TopicPlace(each.topic(), each.partition()): Upto(each.offset() + 1, "so far") for each in messages}
    return [Out(topic, each.value()) for each in messages], offsets


# --- the worker as a process of its own ------------------------------------------------------------------------------


class Held(Sequence[Out]):
    """A batch that waits in the middle of its transaction until somebody says to go on."""

    def __init__(self, outs: list[Out]) -> None:
        self._outs, self._asked = outs, 0

    @overload
    def __getitem__(self, index: int) -> Out: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Out]: ...
    def __getitem__(self, index: int | slice) -> Out | Sequence[Out]:
        return self._outs[index]

    def __len__(self) -> int:
        return len(self._outs)

    def __iter__(self) -> Iterator[Out]:
        middle = len(self._outs) // 2
        yield from self._outs[:middle]
        self._asked += 1
        if self._asked == 2:  # the first time its topics are looked up
            hold(middle)
        yield from self._outs[middle:]


def hold(produced: int = 0) -> None:
    print(f"holding {produced}", flush=True)
    sys.stdin.readline()


def work(address: str, group: str, name: str, source: str, target: str, where: str, timeout_s: str) -> None:
    """Copy a topic in small transactions, for ever; `where` says whether and where to stop for a while."""
    with Worker(address, group, source, name=name, session_s=SESSION_S, timeout_s=float(timeout_s)) as worker:
        while True:
            messages = worker.member.poll(20, 0.1)
            if not messages:
                continue
            outs, offsets = answers(messages, target)
            if where == "before its transaction":
                hold()
            try:
                worker.member.send(Held(outs) if where == "inside its transaction" else outs, offsets)
            except Lost:
                print("lost", flush=True)
                where = ""


def start(*arguments: str, timeout_s: float = TIMEOUT_S) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.edges.kafka.test_transactions", *arguments, str(timeout_s)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def await_holding(worker: subprocess.Popen[str], address: str, target: str) -> None:
    """Until the worker stands still, and what it has produced has come to the broker."""
    assert worker.stdout is not None
    word, produced = worker.stdout.readline().split()
    assert word == "holding"
    # The end of what is committed would stand still until the broker ends the transaction by itself.
    consumer = Consumer({"bootstrap.servers": address, "group.id": "nobody", "isolation.level": "read_uncommitted"})
    until(lambda: consumer.get_watermark_offsets(TopicPartition(target, 0), LIMIT_S)[1] >= int(produced))
    consumer.close()


def end(*workers: subprocess.Popen[str]) -> None:
    for worker in workers:
        worker.kill()
        worker.communicate()


def assert_once(found: Sequence[bytes], values: Sequence[bytes]) -> None:
    seen = Counter(found)
    lost, doubled = len(set(values) - seen.keys()), sum(count > 1 for count in seen.values())
    assert (lost, doubled, len(found)) == (0, 0, len(values))


@pytest.mark.parametrize("names", [("a",), ("a", "b")], ids=["one worker", "two workers"])
def test_killed_at_any_moment_outputs_and_offsets_are_committed_together_or_not_at_all(
    kafka: str, topic_prefix: str, names: tuple[str, ...]
) -> None:
    kills, partitions = 3 * SIZE, 3
    source, target, group = (f"{topic_prefix}{word}" for word in ("in", "out", "group"))
    make(kafka, source, target, partitions=partitions)
    values: list[bytes] = []
    chance = random.Random(topic_prefix)
    workers = {name: start(kafka, group, name, source, target, "") for name in names}
    try:
        for _ in range(kills):
            came = len(values)
            values += fill(kafka, source, 2500, partitions, came)
            committed_values(kafka, target, partitions, came + chance.randrange(1, 2000))
            name = chance.choice(names)
            end(workers[name])
            workers[name] = start(kafka, group, name, source, target, "")
        found = all_values(kafka, group, source, target, partitions, len(values))
    finally:
        end(*workers.values())
    assert_once(found, values)


@pytest.mark.parametrize("where", ["before its transaction", "inside its transaction"])
def test_a_worker_frozen_while_another_takes_its_partitions_loses_its_batch_and_nothing_is_doubled(
    kafka: str, topic_prefix: str, where: str
) -> None:
    source, target, group = (f"{topic_prefix}{word}" for word in ("in", "out", "group"))
    make(kafka, source, target)
    values = fill(kafka, source, 200)
    frozen = start(kafka, group, "a", source, target, where)
    assert frozen.stdin is not None
    assert frozen.stdout is not None
    try:
        await_holding(frozen, kafka, target)
        frozen.send_signal(signal.SIGSTOP)
        with Worker(kafka, group, source, name="b") as other:
            messages = other.read(200)
            other.member.send(*answers(messages, target))
            frozen.send_signal(signal.SIGCONT)
            frozen.stdin.write("go on\n")
            frozen.stdin.flush()
            assert frozen.stdout.readline() == "lost\n"
        found = committed_values(kafka, target, 1, len(values))
    finally:
        end(frozen)
    assert_once(found, values)


def test_brokers_that_are_killed_and_started_while_workers_send_lose_and_double_nothing(
    own: Brokers, topic_prefix: str
) -> None:
    source, target, group = (f"{topic_prefix}{word}" for word in ("in", "out", "group"))
    make(own.address, source, target, partitions=3)
    values: list[bytes] = []
    workers = [start(own.address, group, name, source, target, "") for name in ("a", "b")]
    try:
        for number in range(SIZE):
            came = len(values)
            values += fill(own.address, source, 4000, 3, came)
            committed_values(own.address, target, 3, came + 500)
            (own.kill if number % 2 == 0 else own.stop)(1)
            own.start(1)
        found = all_values(own.address, group, source, target, 3, len(values))
        assert [worker.poll() for worker in workers] == [None, None]
    finally:
        end(*workers)
    assert_once(found, values)


@pytest.mark.parametrize("_run", range(SIZE))
def test_a_transaction_that_was_open_when_its_broker_was_killed_is_there_once(
    own: Brokers, topic_prefix: str, _run: int
) -> None:
    source, target, group = (f"{topic_prefix}{word}" for word in ("in", "out", "group"))
    make(own.address, source, target)
    values = fill(own.address, source, 20)
    worker = start(own.address, group, "a", source, target, "inside its transaction")
    assert worker.stdin is not None
    try:
        await_holding(worker, own.address, target)
        own.kill(1)
        own.start(1)
        worker.stdin.write("go on\n" * len(values))
        worker.stdin.flush()
        found = all_values(own.address, group, source, target, 1, len(values))
        assert worker.poll() is None
    finally:
        end(worker)
    assert_once(found, values)


# --- what a member is told, and answers ------------------------------------------------------------------------------


def test_what_was_committed_comes_back_with_its_metadata_and_reading_goes_on_there(
    kafka: str, topic_prefix: str
) -> None:
    source, target, group = (f"{topic_prefix}{word}" for word in ("in", "out", "group"))
    make(kafka, source, target, partitions=2)
    fill(kafka, source, 10, 2)
    places = [TopicPlace(source, 0), TopicPlace(source, 1)]
    with Worker(kafka, group, source) as first:
        assert len(first.read(10)) == 10
        assert first.given == {places[0]: None, places[1]: None}
        first.member.send([], {places[0]: Upto(2, "a|b é" + "x" * (METADATA_BYTES - 6))})
        assert first.heard.transactions() == {"committed": 1}
        assert len(first.heard.times) == 1
    with Worker(kafka, group, source) as second:
        messages = second.read(8)
        assert second.given == {places[0]: Upto(2, "a|b é" + "x" * (METADATA_BYTES - 6)), places[1]: None}
        assert sorted(each.value() for each in messages if each.partition() == 0) == [b"4", b"6", b"8"]


def test_offsets_that_another_program_committed_come_as_they_are(kafka: str, topic_prefix: str) -> None:
    source, group = f"{topic_prefix}in", f"{topic_prefix}group"
    make(kafka, source)
    fill(kafka, source, 5)
    commit(kafka, group, TopicPartition(source, 0, 3))
    with Worker(kafka, group, source) as worker:
        assert [each.value() for each in worker.read(2)] == [b"3", b"4"]
        assert worker.given == {TopicPlace(source, 0): Upto(3, "")}


def test_reading_starts_where_the_worker_says(kafka: str, topic_prefix: str) -> None:
    source, group = f"{topic_prefix}in", f"{topic_prefix}group"
    make(kafka, source, partitions=2)
    fill(kafka, source, 10, 2)
    with Worker(kafka, group, source, starts={TopicPlace(source, 1): 4}) as worker:
        assert sorted(each.value() for each in worker.read(6)) == [b"0", b"2", b"4", b"6", b"8", b"9"]


def test_end_and_lag_are_known_paused_partitions_rest_and_new_ones_are_never_paused(
    kafka: str, topic_prefix: str
) -> None:
    source, group = f"{topic_prefix}in", f"{topic_prefix}group"
    make(kafka, source, partitions=2)
    first, second = TopicPlace(source, 0), TopicPlace(source, 1)
    fill(kafka, source, 6, 2)
    with Worker(kafka, group, source) as worker:
        member = worker.member
        assert (member.at_end(first), member.lag(first)) == (False, None)
        assert len(worker.read(6)) == 6
        worker.until(lambda: member.at_end(first) and member.at_end(second))
        assert (member.lag(first), member.lag(second)) == (0, 0)
        member.pause([first, TopicPlace(source, 7)])
        fill(kafka, source, 6, 2)
        assert {each.partition() for each in worker.read(3)} == {1}
        worker.until(lambda: member.at_end(second))
        member.resume([first])
        assert {each.partition() for each in worker.read(3)} == {0}
        worker.until(lambda: member.at_end(first))
        open_one = Producer({"bootstrap.servers": kafka, "transactional.id": f"{topic_prefix}other"})
        open_one.init_transactions(LIMIT_S)
        open_one.begin_transaction()
        open_one.produce(source, b"not yet", partition=0)
        open_one.flush(LIMIT_S)
        worker.until(lambda: not member.at_end(first))
        assert (member.lag(first), member.at_end(second)) == (1, True)
        open_one.abort_transaction(LIMIT_S)
        worker.until(lambda: member.at_end(first))
        assert member.lag(first) == 0
        member.pause([first, second])
        with Worker(kafka, group, source, name="zz"):
            worker.until(lambda: worker.taken == [])
        assert member.at_end(first)


def test_messages_that_were_deleted_before_they_were_read_are_an_error_that_says_where_and_what_to_do(
    kafka: str, topic_prefix: str
) -> None:
    source, target, group = (f"{topic_prefix}{word}" for word in ("in", "out", "group"))
    make(kafka, source, target, partitions=2)
    fill(kafka, source, 20, 2)
    with Worker(kafka, group, source) as worker:
        worker.read(20)
        worker.member.send([], {TopicPlace(source, 0): Upto(10), TopicPlace(source, 1): Upto(3)})
    admin = AdminClient({"bootstrap.servers": kafka})
    [deleted] = admin.delete_records([TopicPartition(source, 1, 5)]).values()
    deleted.result(LIMIT_S)
    with Worker(kafka, group, source) as worker, pytest.raises(SinkError) as raised:
        worker.read(1)
    assert not raised.value.retry
    text = str(raised.value)
    assert f"topic {source}, partition 1" in text
    assert "offset 3" in text
    assert f"--group {group} --topic {source}:1 --reset-offsets" in text


# --- transactions ----------------------------------------------------------------------------------------------------


class Broken:
    """Its `transact` fails once, before or after its commit, as a lost answer would have it."""

    def __init__(self, landed: bool) -> None:
        self.landed, self.calls = landed, 0

    def transact(self) -> Callable[..., None]:
        """To take the place of the method."""

        def transact(transactions: Transactions, batch: TransactionContents, *, commit: bool = True) -> None:
            if not commit:
                whole(transactions, batch, commit=False)
                return
            self.calls += 1
            if self.calls == 1:
                self._fail(transactions, batch)
            whole(transactions, batch)

        return transact

    def _fail(self, transactions: Transactions, batch: TransactionContents) -> None:
        if self.landed:
            whole(transactions, batch)
        else:
            assert transactions._producer is not None
            transactions._producer.begin_transaction()
            transactions._producer.produce(batch.outs[0][0], b"undone")
            transactions._producer.flush(LIMIT_S)
        transactions._producer = None
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))


whole = Transactions._transact


@pytest.mark.parametrize("landed", [True, False])
def test_a_batch_of_unknown_outcome_is_sent_again_only_if_it_is_not_in(
    kafka: str, topic_prefix: str, landed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target, group = (f"{topic_prefix}{word}" for word in ("in", "out", "group"))
    make(kafka, source, target)
    fill(kafka, source, 1)
    with Worker(kafka, group, source) as worker:
        worker.read(1)
        offsets = {TopicPlace(source, 0): Upto(1, "the same")}
        worker.member.send([Out(target, b"first")], offsets)
        broken = Broken(landed)
        monkeypatch.setattr(Transactions, "_transact", broken.transact())
        worker.member.send([Out(target, b"second")], offsets)  # the same offsets: only the stamp tells them apart
        assert broken.calls == (1 if landed else 2)
        assert worker.heard.transactions() == {"committed": 2} if landed else {"committed": 2, "repeated": 1}
    assert committed_values(kafka, target, 1, 2) == [b"first", b"second"]


def test_what_a_dead_worker_left_open_is_ended_when_its_name_starts_again(kafka: str, topic_prefix: str) -> None:
    source, target, group = (f"{topic_prefix}{word}" for word in ("in", "out", "group"))
    make(kafka, source, target)
    fill(kafka, source, 20)
    # The broker itself would end it later than anybody waits here.
    dead = start(kafka, group, "a", source, target, "inside its transaction", timeout_s=2 * LIMIT_S)
    try:
        await_holding(dead, kafka, target)
    finally:
        end(dead)
    with Worker(kafka, group, source, name="a") as worker:
        worker.member.send(*answers(worker.read(20), target))
        assert len(committed_values(kafka, target, 1, 20)) == 20


def test_who_is_told_to_stop_before_it_took_up_its_partitions_ends(kafka: str, topic_prefix: str) -> None:
    """Nobody polled, so what the group decided waits in the library (librdkafka issue 4884)."""
    make(kafka, topic := f"{topic_prefix}in")
    worker, admin = Worker(kafka, topic_prefix, topic), AdminClient({"bootstrap.servers": kafka})

    def has_partitions() -> bool:
        [group] = admin.describe_consumer_groups([topic_prefix]).values()
        failed = group.exception(LIMIT_S)  # while the broker looks for the group's coordinator
        return failed is None and any(each.assignment.topic_partitions for each in group.result().members)

    worker.member.poll(1, 0.0)  # joins the group, and takes up nothing
    until(has_partitions)
    ended: list[bool] = []
    closing = Thread(target=lambda: ended.append(worker.member.close() is None), daemon=True)
    closing.start()
    closing.join(LIMIT_S)
    assert ended == [True]


def test_of_two_processes_with_one_name_the_older_ends_and_says_why(kafka: str, topic_prefix: str) -> None:
    source, target, group = (f"{topic_prefix}{word}" for word in ("in", "out", "group"))
    make(kafka, source, target)
    fill(kafka, source, 5)
    with Worker(kafka, group, source) as older:
        messages = older.read(5)
        with Worker(kafka, group, source) as newer:
            newer.member.send(*answers(newer.read(5), target))
            with pytest.raises(SinkError, match="another process of the same --name") as raised:
                older.member.send(*answers(messages, target))
            assert raised.value.retry
    assert len(committed_values(kafka, target, 1, 5)) == 5


def test_a_worker_whose_name_another_process_takes_while_it_polls_ends_and_says_why(
    kafka: str, topic_prefix: str
) -> None:
    source, group = (f"{topic_prefix}{word}" for word in ("in", "group"))
    make(kafka, source)
    fill(kafka, source, 5)
    with Worker(kafka, group, source) as older, Worker(kafka, group, source) as newer:
        assert len(older.read(5)) == 5
        with pytest.raises(SinkError, match="Static consumer fenced by other consumer"):
            older.until(lambda: newer.member.poll(5, 0.05) and False)
        assert newer.given == {TopicPlace(source, 0): None}
        assert newer.heard.transactions() == {}


def test_a_topic_that_is_missing_is_named_while_the_batch_waits_for_it(
    kafka: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target, group = (f"{topic_prefix}{word}" for word in ("in", "out", "group"))
    make(kafka, source)
    fill(kafka, source, 1)
    said: list[str] = []
    with Worker(kafka, group, source, timeout_s=1.0, stopping=lambda: bool(said)) as worker:
        messages = worker.read(1)

        def say(event: str, **fields: str | float) -> None:
            said.extend(re.findall(f"^{target}: .*Unknown topic", str(fields["text"])))

        monkeypatch.setattr(worker.heard, "say", say)
        with pytest.raises(SinkError, match="no transaction before the stop: "):
            worker.member.send(*answers(messages, target))


def test_a_transaction_has_offsets_of_partitions_that_are_ours_and_short_metadata(
    kafka: str, topic_prefix: str
) -> None:
    source, target, group = (f"{topic_prefix}{word}" for word in ("in", "out", "group"))
    make(kafka, source, target)
    fill(kafka, source, 1)
    with Worker(kafka, group, source) as worker:
        worker.read(1)
        with pytest.raises(ValueError, match="without offsets"):
            worker.member.send([Out(target, b"x")], {})
        with pytest.raises(ValueError, match="metadata longer than 4056 bytes"):
            worker.member.send([], {TopicPlace(source, 0): Upto(1, "é" * 2029)})
        with pytest.raises(Lost):
            worker.member.send([Out(target, b"x")], {TopicPlace(source, 1): Upto(1)})
        worker.member.send([Out(target, b"y", 0, b"key")], {TopicPlace(source, 0): Upto(1)})
    assert committed_values(kafka, target, 1, 1) == [b"y"]


@pytest.mark.parametrize("who", ["the topic", "the worker"])
def test_a_message_that_is_too_long_is_an_error_that_names_its_topic(kafka: str, topic_prefix: str, who: str) -> None:
    source, target, group = (f"{topic_prefix}{word}" for word in ("in", "out", "group"))
    make(kafka, source)
    make(kafka, target, max_message_bytes="2000000" if who == "the topic" else "20000000")
    fill(kafka, source, 1)
    bound = 64 * MIB if who == "the topic" else 2 * MIB
    with Worker(kafka, group, source, message_bytes=bound) as worker:
        worker.read(1)
        with pytest.raises(SinkError, match=f"{target}.*max.message.bytes") as raised:
            worker.member.send([Out(target, random.randbytes(3 * MIB))], {TopicPlace(source, 0): Upto(1)})
        assert not raised.value.retry


def test_a_batch_larger_than_the_queue_waits_and_is_whole(kafka: str, topic_prefix: str) -> None:
    source, target, group = (f"{topic_prefix}{word}" for word in ("in", "out", "group"))
    make(kafka, source, target, max_message_bytes=str(9 * MIB))
    fill(kafka, source, 1)
    with Worker(kafka, group, source) as worker:
        worker.read(1)
        worker.member._transactions._settings["queue.buffering.max.messages"] = 100
        worker.member._transactions._producer = None
        outs = [Out(target, b"%d" % number) for number in range(5000)]
        worker.member.send([Out(target, random.randbytes(8 * MIB)), *outs], {TopicPlace(source, 0): Upto(1)})
        assert worker.heard.transactions() == {"committed": 1}
    assert len(committed_values(kafka, target, 1, 5001)) == 5001


@contextmanager
def frozen(brokers: Brokers, holds: Callable[[], object]) -> Iterator[None]:
    """Freeze the only broker; another thread thaws it once this holds."""

    def thaw() -> None:
        try:
            until(holds)
        finally:
            brokers.resume(1)

    thread = Thread(target=thaw)
    brokers.pause(1)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def test_while_brokers_are_away_polls_are_empty_and_a_batch_waits_until_they_are_back(
    own: Brokers, topic_prefix: str
) -> None:
    source, target, group = (f"{topic_prefix}{word}" for word in ("in", "out", "group"))
    make(own.address, source, target)
    fill(own.address, source, 1)
    with Worker(own.address, group, source, timeout_s=1.0, session_s=600.0) as worker:
        messages, heard = worker.read(1), worker.heard
        with frozen(own, lambda: heard.texts("kafka.waiting") and heard.beats > 1):
            assert worker.member.poll(1, 1) == []
            worker.member.send(*answers(messages, target))
        assert heard.transactions()["committed"] == 1
    assert committed_values(own.address, target, 1, 1) == [b"0"]


def test_who_waits_for_brokers_longer_than_the_session_lasts_loses_the_batch_and_goes_on_in_the_same_process(
    own: Brokers, topic_prefix: str
) -> None:
    source, target, group = (f"{topic_prefix}{word}" for word in ("in", "out", "group"))
    make(own.address, source, target)
    fill(own.address, source, 1)
    with Worker(own.address, group, source, timeout_s=1.0, session_s=1.5) as worker:
        messages = worker.read(1)
        over_s = time.monotonic() + 3 * 1.5
        with frozen(own, lambda: time.monotonic() > over_s), pytest.raises(Lost):
            worker.member.send(*answers(messages, target))
        assert worker.heard.transactions()["fenced"] == 1
        worker.member.send(*answers(worker.read(1), target))
    assert committed_values(own.address, target, 1, 1) == [b"0"]


def test_a_worker_that_shall_stop_does_not_wait_for_brokers(own: Brokers, topic_prefix: str) -> None:
    source, target, group = (f"{topic_prefix}{word}" for word in ("in", "out", "group"))
    make(own.address, source, target)
    fill(own.address, source, 1)
    stopping = False
    worker = Worker(own.address, group, source, timeout_s=1.0, session_s=600.0, stopping=lambda: stopping)
    messages = worker.read(1)
    own.pause(1)
    stopping = True
    try:
        with pytest.raises(SinkError, match="no transaction before the stop") as raised:
            worker.member.send(*answers(messages, target))
        assert raised.value.retry
        worker.member.close()
    finally:  # and not before: neither of the two waited for the broker
        own.resume(1)
    with pytest.raises(SinkError, match=r"no transaction before the stop.*Connection refused"):
        Worker("127.0.0.1:9", group, source, timeout_s=1.0, stopping=lambda: True)


class Sleepy(Sequence[Out]):
    """A batch that takes too long, once: as a call of the library that returns after the next one was made."""

    def __init__(self, outs: list[Out]) -> None:
        self._outs, self.asked = outs, 0

    def __getitem__(self, index: Any) -> Any:
        return self._outs[index]

    def __len__(self) -> int:
        return len(self._outs)

    def __iter__(self) -> Iterator[Out]:
        self.asked += 1
        sleepy = self.asked == 2  # the first time its topics are looked up
        yield self._outs[0]
        if sleepy:
            until(lambda: self.asked > 2)
        yield from self._outs[1:]


def test_a_call_that_does_not_return_is_left_behind_and_does_no_harm_when_it_does(
    kafka: str, topic_prefix: str
) -> None:
    source, target, group = (f"{topic_prefix}{word}" for word in ("in", "out", "group"))
    make(kafka, source, target)
    fill(kafka, source, 2)
    with Worker(kafka, group, source, timeout_s=1.0) as worker:
        outs, offsets = answers(worker.read(2), target)
        outs = Sleepy(outs)
        worker.member.send(outs, offsets)
        assert outs.asked >= 3
        found = worker.heard.transactions()
        assert (found["committed"], found["repeated"] >= 1) == (1, True)
        hanging = worker.member._transactions._hanging
        assert hanging
        until(lambda: not any(each.is_alive() for each in hanging))  # it has returned
        worker.member.send([Out(target, b"more")], offsets)
    assert committed_values(kafka, target, 1, 3) == [b"0", b"1", b"more"]


if __name__ == "__main__":
    work(*sys.argv[1:])
