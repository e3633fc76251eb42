"""Reads the state topic: the changelog that an answerer's predecessor committed for a partition."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from clientip.edges.kafka.client import client, client_settings
from clientip.edges.kafka.waiting import Waiting
from clientip.edges.telemetry.port import TelemetryPort
from clientip.errors import SinkError
from clientip.settings import Kafka

_POLL_S: Final = 1.0


def states(
    kafka: Kafka, partitions: Iterable[int], telemetry: TelemetryPort, stopping: Callable[[], bool]
) -> Mapping[int, list[bytes]]:
    """The last message under each key of each partition, as far as transactions have committed.

    Waits for brokers that are away.  Errors: SinkError where the topic is missing or may not be read, or where the
    worker shall stop meanwhile.
    """
    wanted, topic = sorted(partitions), kafka.generational("state")
    found: dict[int, dict[bytes, bytes]] = {number: {} for number in wanted}
    if not wanted:
        return {}
    settings: dict[str, Any] = {
        **client_settings(kafka),
        "group.id": f"{topic}.look",  # nothing is ever committed under it
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
        "log_level": 0,
    }
    consumer = client(Consumer, settings)
    try:
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in wanted])
        _read(consumer, topic, found, Waiting(telemetry, stopping, f"{topic} was not read to its end", 0.0))
    except KafkaException as error:
        raise SinkError(f"topic {topic}: {error.args[0].str()}", retry=True) from error
    finally:
        consumer.close()
    return {number: list(each.values()) for number, each in found.items()}


def _read(consumer: Consumer, topic: str, found: dict[int, dict[bytes, bytes]], waiting: Waiting) -> None:
    left = set(found)
    while left:
        for message in consumer.consume(1000, _POLL_S):
            error, number = message.error(), message.partition() or 0
            if error is None:
                key, value = message.key(), message.value()
                if isinstance(key, bytes) and value is not None:
                    found[number][key] = value
            elif error.code() == KafkaError._PARTITION_EOF:
                left.discard(number)
            elif error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED):
                raise SinkError(f"topic {topic}: {error.str()}", retry=True)
        if left:
            waiting.show(f"{topic}: partitions {sorted(left)} are not read to their end")
