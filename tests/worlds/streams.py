"""A whole stream on a real cluster, for tests: topics, workers as programs, raw lines in, records out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from clientip.config import load as config
from clientip.edges.kafka.topic_admin import look
from clientip.settings import Settings
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition

from tests.worlds.patience import LIMIT_S, until

ROOT = Path(__file__).parents[2]
SESSION_S = 6


class Stream:
    """Workers of one configuration; they end with the block."""

    def __init__(self, folder: Path, address: str, prefix: str, text: str, *, stream: str = "") -> None:
        """`text`: systems with topics; a raw topic is made for each, below `prefix`."""
        self.folder, self.address, self.prefix = folder, address, prefix
        brokers = json.dumps(address.split(","))
        self.path = folder / "stream.toml"
        self.path.write_text(
            f'[kafka]\nbrokers = {brokers}\nprefix = "{prefix}"\n\n[stream]\nspool = "{folder}"\n{stream}\n{text}'
        )
        self.settings: Settings = config.load([self.path])
        self._workers: dict[str, subprocess.Popen[bytes]] = {}
        self._log = (folder / "workers.log").open("ab")

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        for name in list(self._workers):
            self.kill(name)
        self._log.close()

    def make_topics(self, partitions: int = 4) -> None:
        """All topics, raw ones too; `partitions` of ours come from the configuration."""
        report = look(self.settings, create=True, raw=True)
        assert report.code == 0, report
        assert partitions

    def start(self, name: str, listen: str = "none", **environment: str) -> None:
        """Start the worker `reader-0` and the like, as a service manager does."""
        command = [sys.executable, "-P", "-m", "clientip", "stream", "--role", name.rpartition("-")[0]]
        self._workers[name] = subprocess.Popen(
            [*command, "--name", f"test-{name}", "--listen", listen, "-c", str(self.path)],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
            env={**os.environ, "PYTHONPATH": str(ROOT / "pipeline"), **environment},
        )  # fmt: skip

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """Send a signal and wait for the end; the exit code."""
        worker = self._workers.pop(name)
        worker.send_signal(number)
        return worker.wait(LIMIT_S)

    def signal(self, name: str, number: int) -> None:
        """Send a signal."""
        self._workers[name].send_signal(number)

    def pid(self, name: str) -> int:
        """The process of a worker."""
        return self._workers[name].pid

    def release(self, name: str) -> subprocess.Popen[bytes]:
        """Another may be started under the name; who takes the worker ends it."""
        return self._workers.pop(name)

    def code(self, name: str) -> int | None:
        """The exit code of a worker; None: it runs."""
        return self._workers[name].poll()

    def log(self) -> str:
        """What the workers have said."""
        return (self.folder / "workers.log").read_text()

    def produce(self, topic: str, messages: Iterable[bytes], key: bytes | None = None, **settings: Any) -> int:
        """Raw messages, in order; how many."""
        producer = Producer({"bootstrap.servers": self.address, "linger.ms": 5, "enable.idempotence": True, **settings})
        count = 0
        for count, message in enumerate(messages, 1):  # noqa: B007
            while True:
                try:
                    producer.produce(topic, message, key)
                    break
                except BufferError:
                    producer.poll(0.1)
        assert producer.flush(LIMIT_S) == 0
        return count

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Everything committed in one of our topics by now, read from JSON."""
        return [json.loads(value) for value in self.values(self.settings.kafka.topic(name))]  # type: ignore[union-attr]

    def values(self, topic: str) -> list[bytes]:
        """Everything committed in a topic by now."""
        return read_all(self.address, topic)

    def await_rows(self, count: int, name: str = "records") -> list[dict[str, Any]]:
        """The rows of a topic, once there are so many."""
        counter = Counter(self.address, self.settings.kafka.topic(name))  # type: ignore[union-attr]
        try:
            until(lambda: counter.count() >= count, lambda: f"{count} rows in {name}\n{self.log()[-6000:]}")
        finally:
            counter.close()
        return self.rows(name)


class Counter:
    """How many committed messages a topic has, counted as they come."""

    def __init__(self, address: str, topic: str) -> None:
        self._consumer = _consumer(address)
        self._count = 0
        partitions = self._consumer.list_topics(topic, LIMIT_S).topics[topic].partitions
        self._consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])

    def count(self) -> int:
        """So far; waits a moment for more."""
        self._count += sum(message.error() is None for message in self._consumer.consume(10_000, 0.3))
        return self._count

    def close(self) -> None:
        """Be done."""
        self._consumer.close()


def _consumer(address: str, **settings: Any) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": address,
            "group.id": "test-look",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            **settings,
        }
    )


def read_all(address: str, topic: str) -> list[bytes]:
    """Everything committed in a topic by now."""
    consumer = _consumer(address, **{"enable.partition.eof": True})
    try:
        left = set(consumer.list_topics(topic, LIMIT_S).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in left])
        found: list[bytes] = []
        while left:
            for message in consumer.consume(10_000, 1.0):
                error = message.error()
                if error is None:
                    found.append(message.value() or b"")
                elif error.code() == KafkaError._PARTITION_EOF:
                    left.discard(message.partition())
                else:
                    raise AssertionError(error.str())
        return found
    finally:
        consumer.close()


def by_id(rows: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Enriched rows by record id; none stands twice."""
    found: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        key = row["clientip"]["record_id"]
        assert key not in found, f"{key} is doubled"
        found[key] = row
    return found
