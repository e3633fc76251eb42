"""How fast an answerer is there again after a kill, and what memory a held fact and an open question take."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.stream_lines import Message, config_joined, is_request, joined
from benchmarks.stream_run import END_S, START_S, Job
from benchmarks.stream_stages import BATCH, Stages

PER_S: Final = 100_000  # of the made lines


class Rebuilt(NamedTuple):
    """What one kind of item showed."""

    items: int
    per_second: float
    bytes_each: float  # of resident memory, when they came
    bytes_after: float  # the same, after the restart


def measure(folder: Path, address: str, name: str, items: int, *, questions: bool) -> Rebuilt:
    """One partition with so many facts, or open questions: hold them, be killed, hold them again."""
    text = config_joined(f"{name}.raw", 1, 1).replace('"20s"', '"10m"')
    made = joined(f"{name}.raw", time.time_ns() - 30 * 10**9, round(items * (2.4 if questions else 1.8)), 1, 1, PER_S)
    chosen = [each for each in made if is_request(each) == questions][:items]
    with Job(folder, address, name, [f"{name}.raw.app", f"{name}.raw.nodes"], 1) as job:
        job.stream(text, answerer_only=True)
        job.wait_ready()
        empty = job.memory("answerer")
        _tell(job, Stages(text, 1, time.time_ns()), chosen)
        held = job.memory("answerer")
        job.kill("answerer")
        job.start("answerer")
        found = _rebuilt(job)
        after = job.memory("answerer")
    items = found["items"]
    return Rebuilt(items, items / found["seconds"], (held - empty) / items, (after - empty) / items)


def _tell(job: Job, stages: Stages, messages: Sequence[Message]) -> None:
    """Put what a reader makes of the messages into the join topic, and wait until the answerer has committed it."""
    topic = f"{job.name}.join.1"
    producer, count = Producer({"bootstrap.servers": job.address, "compression.type": "lz4", "log_level": 0}), 0
    for first in range(0, len(messages), BATCH):
        for partition, value in stages.read(messages[first : first + BATCH]):
            producer.produce(topic, value, partition=partition)
            count += 1
        producer.poll(0)
    assert producer.flush(60) == 0
    group = Consumer({"bootstrap.servers": job.address, "group.id": f"{job.name}.answerers"})
    until = time.monotonic() + END_S
    while group.committed([TopicPartition(topic, 0)], 10)[0].offset < count:
        assert time.monotonic() < until, job.log()[-3000:]
        time.sleep(0.1)
    group.close()


def _rebuilt(job: Job) -> dict[str, float]:
    """What the answerer said of it."""
    until = time.monotonic() + END_S + START_S
    while time.monotonic() < until:
        said = [json.loads(line) for line in job.log().splitlines() if '"event":"rebuilt"' in line]
        if said:
            return said[-1]["fields"]
        time.sleep(0.1)
    raise AssertionError(job.log()[-3000:])
