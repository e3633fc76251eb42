"""Workers of a stream that freeze, are told to stop, come and go: what it costs others, and that nothing doubles."""

from __future__ import annotations

import json
import random
import re
import signal
import threading
import time
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition

from tests.worlds.sizes import SIZE
from tests.worlds.stream_lines import World
from tests.worlds.stream_runs import WORKERS, Feeder, settled, stream_of, until
from tests.worlds.streams import Stream, _consumer

pytestmark = pytest.mark.edge

DELAY_S = 7.0  # of a transaction that its worker never ends: 5 s, and the broker looks every second
_TIMED = re.compile(rb"/timed/(\d+)/(\d+)")


class Watch:
    """When records of lines that say their time can be seen, in a thread of its own."""

    def __init__(self, stream: Stream) -> None:
        self.delays: list[tuple[int, int, float]] = []  # (raw partition, when it was made, seconds)
        self._consumer = _consumer(stream.address)
        topic = stream.settings.kafka.topic("records")  # type: ignore[union-attr]
        numbers = self._consumer.list_topics(topic, 10).topics[topic].partitions
        self._consumer.assign([TopicPartition(topic, number, 0) for number in numbers])
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self._consumer.close()

    def _run(self) -> None:
        while not self._end.is_set():
            for message in self._consumer.consume(1000, 0.05):
                found = _TIMED.search(message.value() or b"")
                if found is not None:
                    made_ns = int(found[2])
                    self.delays.append((int(found[1]), made_ns, (time.time_ns() - made_ns) / 1e9))

    def worst(self, partitions: set[int], since_ns: int) -> float:
        """The longest delay of lines of these raw partitions."""
        return max((delay for number, made_ns, delay in self.delays if number in partitions and made_ns >= since_ns))


def _timed(feeder: Feeder, world: World, seconds: float) -> None:
    """A line a tick to each partition of a topic whose lines ask nobody, and of one whose lines ask."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for number in range(4):
            now = time.time_ns()
            feeder.put(world.web(f"/timed/{number}/{now}", now), number)
            front, line = sorted(world.minted(), key=lambda item: item.system != "lb")
            feeder.put(front, number)
            feeder.put(line._replace(text=line.text.replace(b"/api/", b"/timed/%d/%d/" % (number, now))), number)
        feeder.flush()
        time.sleep(0.02)


def _shared(stream: Stream) -> bool:
    """Whether both readers have their half of five topics of four partitions: the first the lower numbers."""
    lines = [line for line in stream.log().splitlines() if '"partitions.assigned"' in line]
    last = {json.loads(line)["worker"]: json.loads(line)["fields"]["partitions"] for line in lines}
    return last.get("test-reader-0") == last.get("test-reader-1") == 10


def test_a_frozen_reader_delays_the_lines_of_others_seven_seconds_at_most_and_doubles_nothing(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    world = World()
    with stream_of(tmp_path, kafka, topic_prefix) as stream, Watch(stream) as watch:
        for name in WORKERS:
            stream.start(name)
        feeder = Feeder(stream)
        until(lambda: _shared(stream), 120)
        _timed(feeder, world, 2)
        for _ in range(SIZE):
            since_ns = time.time_ns()
            stream.signal("reader-0", signal.SIGSTOP)
            _timed(feeder, world, DELAY_S + 2)
            stream.signal("reader-0", signal.SIGCONT)
            assert watch.worst({2, 3}, since_ns) <= DELAY_S
            _timed(feeder, world, 1)
            assert watch.worst({0, 1}, since_ns) > DELAY_S  # it was the one that froze
        found = settled(stream, 120)
        assert found.is_exact and found.waited == 0, found


def test_who_wakes_up_after_another_took_its_name_ends_and_doubles_nothing(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    with stream_of(tmp_path, kafka, topic_prefix) as stream:
        for name in WORKERS:
            stream.start(name)
        with Feeder(stream, World().items(12_000), pace=1500):
            until(lambda: len(stream.rows("records")) > 100, 120)
            frozen = []
            for name in ("reader-0", "answerer-0"):
                stream.signal(name, signal.SIGSTOP)
                frozen.append(stream.release(name))
                stream.start(name)
            time.sleep(3)
            for process in frozen:
                process.send_signal(signal.SIGCONT)
            assert [process.wait(20) for process in frozen] == [3, 3]
        assert stream.log().count('"failed"') == 2
        found = settled(stream, 120)
        assert found.is_exact and found.waited == 0, found


def test_a_worker_that_is_told_to_stop_ends_with_success_within_ten_seconds_whatever_lies_before_it(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    with stream_of(tmp_path, kafka, topic_prefix) as stream:
        Feeder(stream, ()).feed(World().items(30_000))
        for name in WORKERS:
            stream.start(name)
        until(lambda: len(stream.rows("records")) > 0, 120)
        for name in ("reader-0", "answerer-0", "reader-1", "answerer-1"):
            began = time.monotonic()
            assert stream.kill(name, signal.SIGTERM) == 0
            assert time.monotonic() - began < 10
        for name in WORKERS:
            stream.start(name)
        found = settled(stream, 120)
        assert found.is_exact and found.waited == 0, found


def test_workers_that_come_and_go_lose_and_double_nothing(kafka: str, topic_prefix: str, tmp_path: Path) -> None:
    names, dice = [f"{role}-{number}" for role in ("reader", "answerer") for number in range(3)], random.Random(1)
    with stream_of(tmp_path, kafka, topic_prefix) as stream:
        running, known = set(WORKERS), set(WORKERS)
        for name in WORKERS:
            stream.start(name)
        storm_s = 12.0 + SIZE
        with Feeder(stream, World().items(round(1000 * storm_s)), pace=1000):
            end = time.monotonic() + storm_s
            while time.monotonic() < end:
                # One away at a time: the group waits for everybody who is, up to the session timeout, 45 s.
                away = [name for name in known if name not in running]
                name = away[0] if away else dice.choice(names)
                if name in running:
                    assert stream.kill(name, signal.SIGTERM) in (0, -signal.SIGTERM)  # it may not have begun
                    running.discard(name)
                else:
                    stream.start(name)
                    running.add(name)
                    known.add(name)
                time.sleep(dice.uniform(0.7, 1.7))
        for name in set(names) - running:
            stream.start(name)
        found = settled(stream, 120)
        assert found.is_exact and found.waited == 0, found
