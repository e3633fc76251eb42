"""What tests of the stream on a real cluster do with it: feed lines, wait for all of them, freeze, look at memory."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from tests.worlds.patience import LIMIT_S, until
from tests.worlds.stream_lines import Item, config
from tests.worlds.stream_replays import Found, Replay, compared, replayed
from tests.worlds.streams import Counter, Stream

WORKERS = ("reader-0", "reader-1", "answerer-0", "answerer-1")


def stream_of(
    folder: Path, address: str, prefix: str, *, arrives: str = "10m", partitions: int = 4, more: str = ""
) -> Stream:
    """A stream of `stream_lines` with its topics."""
    folder.mkdir(exist_ok=True)
    made = Stream(folder, address, prefix, config(prefix, arrives), stream=f"join_partitions = {partitions}\n{more}")
    made.make_topics()
    return made


class Feeder:
    """Puts items into the raw topics, in order; as a block in a thread of its own, at a pace."""

    def __init__(self, stream: Stream, items: Iterable[Item] = (), pace: float = 0.0) -> None:
        """`pace`: messages a second; 0: as fast as it goes."""
        self._prefix, self._items, self._pace = stream.prefix, items, pace
        settings = {"bootstrap.servers": stream.address, "linger.ms": 20, "enable.idempotence": True, "log_level": 0}
        self._producer = Producer(
            {**settings, "message.timeout.ms": 0, "message.max.bytes": 8 << 20, "compression.type": "lz4"}
        )
        self._thread = threading.Thread(target=self._run)
        self._end = False
        self._failed: Exception | None = None
        self.count = 0

    def __enter__(self) -> Feeder:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._end = kind is not None
        self._thread.join()
        if self._failed is not None:
            raise self._failed

    def is_over(self) -> bool:
        """Whether everything is in the topics."""
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Make no more."""
        self._end = True

    def _run(self) -> None:
        try:
            self.feed(self._items)
        except Exception as error:  # noqa: BLE001 - it is raised where the block ends
            self._failed = error

    def feed(self, items: Iterable[Item]) -> int:
        """All of these, now; how many."""
        began, before = time.monotonic(), self.count
        for item in items:
            if self._end:
                break
            self.put(item)
            if self._pace and self.count % 50 == 0:
                time.sleep(max(0.0, began + (self.count - before) / self._pace - time.monotonic()))
        assert self._producer.flush(LIMIT_S) == 0
        return self.count - before

    def put(self, item: Item, partition: int = -1, headers: list[tuple[str, bytes | None]] | None = None) -> None:
        """One message."""
        topic = f"{self._prefix}.raw.{item.system}"
        while True:
            try:
                self._producer.produce(topic, item.text, item.key, partition, headers=headers or [])
                break
            except BufferError:
                self._producer.poll(0.05)
        self.count += 1

    def flush(self) -> None:
        """Wait until all is there."""
        assert self._producer.flush(LIMIT_S) == 0


def settled(stream: Stream, expected: Replay | None = None, meanwhile: Callable[[], None] = lambda: None) -> Found:
    """The stream beside the replay, once there are as many records."""
    assert stream.settings.kafka is not None
    expected = expected or replayed(stream.address, stream.settings)
    for name, count in (("records", len(expected.records)), ("rejected", expected.rejected.total())):
        counter = Counter(stream.address, stream.settings.kafka.topic(name))

        def have_come(counter: Counter = counter, count: int = count) -> bool:
            meanwhile()
            return counter.count() >= count

        until(have_come, lambda name=name, count=count: f"{count} in {name}\n{stream.log()[-6000:]}")  # type: ignore[misc]
        counter.close()
    found = compared(stream.address, stream.settings, expected)
    if not found.is_exact or found.waited:
        print(found, stream.log()[-6000:], sep="\n")
    return found


def committed(stream: Stream, group: str, topic: str, partitions: Iterable[int]) -> dict[int, int]:
    """Offsets of a group of ours; -1001 where there is none."""
    assert stream.settings.kafka is not None
    # No admin client: https://github.com/confluentinc/librdkafka/issues/4605
    consumer = Consumer({"bootstrap.servers": stream.address, "group.id": stream.settings.kafka.topic(group)})
    try:
        found: dict[int, int] = {}

        def is_told() -> bool:
            try:
                asked = consumer.committed([TopicPartition(topic, number) for number in partitions], LIMIT_S)
            except KafkaException:  # the coordinator of a new group comes up
                return False
            found.update({each.partition: each.offset for each in asked})
            return True

        until(is_told, lambda: group)
        return found
    finally:
        consumer.close()


def peak(pid: int) -> int:
    """The most memory a process has held, bytes."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024
