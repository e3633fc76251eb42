"""The rows of a replay into topics, each exactly once, whatever dies meanwhile.

What a plan comes to is a row of bytes in a fixed order: records and rejected lines of every chunk, one chunk after the
other.  Each transaction carries the next few rows and, as the committed offset of a group, how many bytes are sent with
them.  Group and transactional id are named after the plan, its result and the topics: who begins the same run
again, in this folder or in another one, goes on where the last transaction ended, and shuts the earlier process out.

Brokers forget offsets that are not renewed (`offsets.retention.minutes`, 7 days by default).  `sending.json` is
written once the group has an offset; if it has none later, how much was sent is not known, and nothing more is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from confluent_kafka import Consumer, KafkaException, TopicPartition
from msgspec import Struct

from clientip.edges.disk.parts import disk_faults, part_path, replace_file
from clientip.edges.kafka.client import client, client_settings, topic_ids, upto_of
from clientip.edges.kafka.topic_plan import OUTPUTS, raw_topics
from clientip.edges.kafka.transactions import TIMEOUT_S, Out, TransactionContents, Transactions
from clientip.edges.replay.kafka_ends import SENDING
from clientip.edges.replay.plan import Plan
from clientip.edges.replay.progress import Meter
from clientip.edges.replay.read_pass import Done
from clientip.errors import ConfigError, Fault, SinkError
from clientip.model import Ids
from clientip.settings import Kafka, Settings

MAX_ROWS: Final = 5_000  # of one transaction
MAX_BYTES: Final = 8 << 20
_ANSWER_S: Final = 30.0


class Target(NamedTuple):
    """Where rows go."""

    kafka: Kafka
    records: str
    rejected: str | None  # None: they stay in the folder

    def topics(self) -> list[str]:
        """All of them."""
        return [self.records] if self.rejected is None else [self.records, self.rejected]

    def look(self) -> dict[str, str]:
        """What tells the topics from all others.  Errors: SinkError if one is missing, or no broker answers."""
        return topic_ids(self.kafka, self.topics())

    def send(self, plan: Plan, done: Sequence[Done], out: Path, parts: Path, warn: Callable[[str], None]) -> None:
        """Send what is not sent yet of a plan whose chunks are all finished.  Errors: SinkError."""
        group = self.kafka.topic(f"replay.{_digest(plan, done, self.look())}")
        position = _Position(self, group, warn)
        try:
            sent = _begun(position, out / SENDING, group)
            total = sum(each.records + (each.rejected if self.rejected else 0) for each in done)
            if sent:
                warn(f"going on: {sent} of {total} bytes are in {' and '.join(self.topics())}")
            with Meter(total, sent, phase="sending") as meter:
                for outs, after in _slices(self, done, parts, sent):
                    position.advance(outs, sent, after)
                    meter.moved(after - sent)
                    sent = after
        finally:
            position.close()


class Sending(Struct, frozen=True):
    """Rows were sent, and this group knows how many."""

    group: str


def target(settings: Settings, topic: str | None) -> Target:
    """Where the rows go: `topic` is for records only, None: the topics of the stream.  Errors: ConfigError."""
    kafka = settings.kafka
    if kafka is None:
        text = 'is missing, and --to kafka needs it; write [kafka] with brokers = ["kafka-1:9092"]'
        raise ConfigError([Fault("", "kafka", text)])
    if topic is None:
        return Target(kafka, kafka.topic("records"), kafka.topic("rejected"))
    others = [kafka.topic(name) for name in OUTPUTS if name != "records"]
    if topic in (*raw_topics(settings), *others, kafka.generational("join"), kafka.generational("state")):
        raise ConfigError([Fault("", "--topic", f"{topic!r} holds something else than records")])
    return Target(kafka, topic, None)


def _digest(plan: Plan, done: Sequence[Done], ids: dict[str, str]) -> str:
    """Names what is sent where.  The counts are in it: a file may have changed behind its beginning."""
    came_to = [(each.chunk, each.records, each.rejected, each.tally) for each in done]
    return blake2b(msgspec.json.encode((plan, came_to, ids), order="sorted"), digest_size=16).hexdigest()


def _begun(position: _Position, path: Path, group: str) -> int:
    """How many bytes were sent before.  Errors: SinkError where that is not known any more."""
    with disk_faults("read", path):
        before = msgspec.json.decode(path.read_bytes(), type=Sending) if path.exists() else None
    if before is not None and before.group != group:
        text = "a topic was made anew since some rows were sent; --restart sends all of them again"
        raise SinkError(text, retry=False)
    sent = position.read()
    if sent is not None:
        if before is None:
            replace_file(path, msgspec.json.encode(Sending(group)))
        return sent
    if before is not None:
        text = (
            f"some rows were sent, and Kafka does not know any more how many: group {group} is gone (brokers forget it "
            f"after offsets.retention.minutes); send all to a new topic, with --topic and --restart"
        )
        raise SinkError(text, retry=False)
    position.advance((), None, 0)
    replace_file(path, msgspec.json.encode(Sending(group)))
    return 0


def _slices(to: Target, done: Sequence[Done], parts: Path, sent: int) -> Iterator[tuple[list[Out], int]]:
    """The rows after the first `sent` bytes, a transaction's at a time, and how many bytes are sent with them."""
    outs: list[Out] = []
    begin, size = 0, 0
    for chunk in done:
        for name, topic, length in (("records", to.records, chunk.records), ("rejected", to.rejected, chunk.rejected)):
            if topic is None:
                continue
            skipped, begin = min(length, max(0, sent - begin)), begin + length
            for row in _rows(part_path(parts, chunk.chunk, name), skipped, length):
                outs.append(Out(topic, row[:-1]))
                size += len(row)
                if len(outs) >= MAX_ROWS or size >= MAX_BYTES:
                    sent += size
                    yield outs, sent
                    outs, size = [], 0
    if outs:
        yield outs, sent + size


def _rows(path: Path, skipped: int, length: int) -> Iterator[bytes]:
    if skipped == length:
        return
    with disk_faults("read", path), path.open("rb") as rows:
        if rows.seek(0, 2) != length:
            raise SinkError(f"{path} has another length than when it was finished; use --restart", retry=False)
        rows.seek(skipped)
        yield from rows


class _Position:
    """How many bytes are sent: the offset of one group in the first partition of the topic, and nowhere else."""

    def __init__(self, to: Target, group: str, warn: Callable[[str], None]) -> None:
        settings: dict[str, Any] = client_settings(to.kafka)
        self._topic, self._group = to.records, group
        more = {"group.id": group, "enable.auto.commit": False, "isolation.level": "read_committed", "log_level": 0}
        self._consumer = client(Consumer, {**settings, **more})
        self._transactions = Transactions(settings, group, _Warning(warn), lambda: False)
        self._transactions.open()  # from now on an earlier process can commit no more

    def read(self) -> int | None:
        """So many; None: the group is not known.  Errors: SinkError."""
        try:
            return self._committed(_ANSWER_S)
        except KafkaException as error:
            raise SinkError(f"group {self._group}: {error.args[0].str()}", retry=True) from error

    def _committed(self, seconds: float) -> int | None:
        [found] = self._consumer.committed([TopicPartition(self._topic, 0)], seconds)
        upto = upto_of(found)
        return None if upto is None else upto.offset

    def advance(self, outs: Sequence[Out], before: int | None, after: int) -> None:
        """Send, in one transaction with the step from `before` to `after`.  Errors: SinkError."""

        def landed() -> bool:
            held = self._committed(TIMEOUT_S)
            if held not in (before, after):
                raise SinkError("another process sends the same rows; let only one of them run", retry=False)
            return held == after

        # The group has no members, and so no generation: the transactional id alone keeps others out.
        place = TopicPartition(self._topic, 0, after)
        self._transactions.send(TransactionContents(outs, [place], self._consumer.consumer_group_metadata()), landed)

    def close(self) -> None:
        """Be done."""
        self._consumer.close()


class _Warning:
    """A `TelemetryPort` for a run at a terminal: it says what holds it up, and has no figures."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn

    def say(self, event: str, **fields: str | float) -> None:
        """One line."""
        self._warn(f"{event}: {fields.get('text', '')}")

    def add(self, name: str, amount: float = 1, *labels: str) -> None:
        """Has no figures."""

    def set(self, name: str, value: float, *labels: str) -> None:
        """Has no figures."""

    def forget(self, name: str, *labels: str) -> None:
        """Has no figures."""

    def took(self, name: str, seconds: float, *labels: str) -> None:
        """Has no figures."""

    def beat(self, *, ready: bool) -> None:
        """Has no readiness."""

    def batch(self, links: Iterable[Ids] = (), **counts: int) -> AbstractContextManager[None]:
        """No span."""
        return nullcontext()
