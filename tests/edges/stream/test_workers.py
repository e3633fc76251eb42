"""Workers of a stream that freeze, are told to stop, come and go: others go on meanwhile, and nothing doubles."""

from __future__ import annotations

import json
import random
import re
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition

from tests.worlds.patience import LIMIT_S, until
from tests.worlds.sizes import SIZE
from tests.worlds.stream_lines import World
from tests.worlds.stream_runs import WORKERS, Feeder, settled, stream_of
from tests.worlds.streams import Counter as RecordCounter
from tests.worlds.streams import Stream, _consumer

pytestmark = pytest.mark.edge

RECORDS_OF_A_LAP = 2  # in each raw partition, with its number
_LAP = re.compile(rb"/lap/(\d+)/(\d+)/")


class Laps:
    """Lines of numbered laps, in each partition of a topic whose lines ask nobody and of one whose lines ask."""

    def __init__(self, stream: Stream, feeder: Feeder) -> None:
        self._feeder, self._world = feeder, World()
        self._count = 0
        self._seen: Counter[tuple[int, int]] = Counter()  # (raw partition, lap) → its records that can be read
        self._consumer = _consumer(stream.address)
        topic = stream.settings.kafka.topic("records")  # type: ignore[union-attr]
        numbers = self._consumer.list_topics(topic, LIMIT_S).topics[topic].partitions
        self._consumer.assign([TopicPartition(topic, number, 0) for number in numbers])

    def __enter__(self) -> Laps:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def run(self) -> int:
        """One more lap; its number."""
        self._count += 1
        for number in range(4):
            label = f"/lap/{number}/{self._count}/"
            self._feeder.put(self._world.web(label, time.time_ns()), number)
            front, line = sorted(self._world.minted(), key=lambda item: item.system != "lb")
            self._feeder.put(front, number)
            self._feeder.put(line._replace(text=line.text.replace(b"/api/", label.encode())), number)
        self._feeder.flush()
        return self._count

    def are_done(self, partitions: set[int], lap: int) -> bool:
        """Whether all records of the lap can be read: of these raw partitions."""
        for message in self._consumer.consume(1000, 0.05):
            found = _LAP.search(message.value() or b"")
            if found is not None:
                self._seen[int(found[1]), int(found[2])] += 1
        return all(self._seen[number, lap] == RECORDS_OF_A_LAP for number in partitions)


def _shared(stream: Stream) -> bool:
    """Whether both readers have their half of five topics of four partitions: the first the lower numbers."""
    lines = [line for line in stream.log().splitlines() if '"partitions.assigned"' in line]
    last = {json.loads(line)["worker"]: json.loads(line)["fields"]["partitions"] for line in lines}
    return last.get("test-reader-0") == last.get("test-reader-1") == 10


def test_a_frozen_reader_does_not_hold_up_the_lines_of_others_and_doubles_nothing(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    with stream_of(tmp_path, kafka, topic_prefix) as stream:
        for name in WORKERS:
            stream.start(name)
        feeder = Feeder(stream)
        until(lambda: _shared(stream), stream.log)
        with Laps(stream, feeder) as laps:
            before = laps.run()
            until(lambda: laps.are_done({0, 1, 2, 3}, before), stream.log)
            for _ in range(SIZE):
                stream.signal("reader-0", signal.SIGSTOP)
                lap = laps.run()
                until(lambda lap=lap: laps.are_done({2, 3}, lap), stream.log)  # type: ignore[misc]
                stream.signal("reader-0", signal.SIGCONT)
                until(lambda lap=lap: laps.are_done({0, 1, 2, 3}, lap), stream.log)  # type: ignore[misc]
        found = settled(stream)
        assert found.is_exact and found.waited == 0, found


def test_who_wakes_up_after_another_took_its_name_ends_and_doubles_nothing(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    with stream_of(tmp_path, kafka, topic_prefix) as stream:
        for name in WORKERS:
            stream.start(name)
        with Feeder(stream, World().items(12_000), pace=1500):
            until(lambda: len(stream.rows("records")) > 100, stream.log, 1.0)
            frozen, before = [], stream.log().count("partitions.assigned")
            for name in ("reader-0", "answerer-0"):
                stream.signal(name, signal.SIGSTOP)
                frozen.append(stream.release(name))
                stream.start(name)
            until(lambda: stream.log().count("partitions.assigned") >= before + 2, stream.log)
            for process in frozen:
                process.send_signal(signal.SIGCONT)
            assert [process.wait(LIMIT_S) for process in frozen] == [3, 3]
        assert stream.log().count('"failed"') == 2
        found = settled(stream)
        assert found.is_exact and found.waited == 0, found


def test_a_worker_that_is_told_to_stop_ends_with_success_whatever_lies_before_it(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    with stream_of(tmp_path, kafka, topic_prefix) as stream:
        Feeder(stream, ()).feed(World().items(30_000))
        for name in WORKERS:
            stream.start(name)
        until(lambda: len(stream.rows("records")) > 0, stream.log, 0.3)
        for name in ("reader-0", "answerer-0", "reader-1", "answerer-1"):
            assert stream.kill(name, signal.SIGTERM) == 0
        for name in WORKERS:
            stream.start(name)
        found = settled(stream)
        assert found.is_exact and found.waited == 0, found


def test_workers_that_come_and_go_lose_and_double_nothing(kafka: str, topic_prefix: str, tmp_path: Path) -> None:
    names, dice = [f"{role}-{number}" for role in ("reader", "answerer") for number in range(3)], random.Random(1)
    with stream_of(tmp_path, kafka, topic_prefix) as stream:
        running, known = set(WORKERS), set(WORKERS)
        for name in WORKERS:
            stream.start(name)
        turns, lines = 8 + SIZE, 0
        counter = RecordCounter(stream.address, stream.settings.kafka.topic("records"))  # type: ignore[union-attr]
        with Feeder(stream, World().items(1500 * turns), pace=1000):
            for _ in range(turns):
                # One away at a time: the group waits for everybody who is, up to the session timeout, 45 s.
                away = [name for name in known if name not in running]
                name = away[0] if away else dice.choice(names)
                if name in running:
                    # It may not have begun: then the command line, or before it the kernel, ends it.
                    ended = stream.kill(name, signal.SIGTERM)
                    assert ended in (0, 128 + signal.SIGTERM, -signal.SIGTERM)
                    running.discard(name)
                else:
                    stream.start(name)
                    running.add(name)
                    known.add(name)
                lines += dice.randrange(1000)
                until(lambda lines=lines: counter.count() > lines * 0.5, stream.log)  # type: ignore[misc]
        counter.close()
        for name in set(names) - running:
            stream.start(name)
        found = settled(stream)
        assert found.is_exact and found.waited == 0, found
