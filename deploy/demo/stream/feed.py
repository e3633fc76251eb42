"""Feeds the recorded logs of the demo and of the lab to Kafka, at a steady rate, until it is stopped.

    python -m deploy.demo.stream.feed -c CONFIG … [--rate LINES_PER_SECOND]

What the systems of the configuration have as `inputs` goes to their `topics`.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from itertools import zip_longest
from pathlib import Path
from typing import Final

from clientip.config import load as config
from clientip.edges.disk.inputs import find_inputs
from clientip.edges.kafka.client import client_settings
from clientip.settings import Settings
from confluent_kafka import Producer

from deploy.demo.stream.present import last_number
from deploy.demo.stream.timetable import Due, Line, timetable

SCENARIOS: Final = Path(__file__).parents[3] / "tests" / "lab" / "recorded"


def recorded(settings: Settings) -> tuple[list[Line], dict[str, list[Line]]]:
    """All lines that the configuration names: those that stand for themselves, and those of each scenario."""
    singles: list[list[Line]] = []
    scenarios: dict[str, list[Line]] = defaultdict(list)
    systems = {each.system.name: each for each in settings.systems}
    for each in find_inputs(settings, (), None).files:
        system, path = systems[each.system], Path(each.path).resolve()
        if system.setup is None or system.feed is None or not system.feed.topics:
            continue
        texts = path.read_bytes().split(b"\n")[:-1]
        key = None if each.instance is None else each.instance.encode()
        topic, number = system.feed.topics[0], last_number(texts)
        lines = [Line(topic, key, system.setup.format, text, number) for text in texts]
        if path.is_relative_to(SCENARIOS):
            scenarios[path.relative_to(SCENARIOS).parts[0]] += lines
        else:
            singles.append(lines)
    turns = zip_longest(*singles)  # a line of each log, and again
    return [line for turn in turns for line in turn if line is not None], scenarios


def send(producer: Producer, dues: Iterable[Due]) -> None:
    """Send each message at its time."""
    for due in dues:
        wait_s = due.at_ns / 1e9 - time.time()
        if wait_s > 0:
            producer.poll(0)
            time.sleep(wait_s)
        while True:
            try:
                producer.produce(due.topic, due.value, due.key)
                break
            except BufferError:
                producer.poll(0.1)


def main() -> None:
    """Feed until terminated."""
    parser = argparse.ArgumentParser(prog="python -m deploy.demo.stream.feed")
    parser.add_argument("-c", "--config", type=Path, action="append", required=True)
    parser.add_argument("--rate", type=float, default=300.0, help="lines per second")
    wanted = parser.parse_args()
    settings = config.load(wanted.config)
    assert settings.kafka is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit())
    producer = Producer({**client_settings(settings.kafka), "linger.ms": 20, "enable.idempotence": True})
    try:
        send(producer, timetable(*recorded(settings), wanted.rate, time.time_ns()))
    finally:
        producer.flush(5)


if __name__ == "__main__":
    main()
