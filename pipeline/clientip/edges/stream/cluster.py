"""The facts about the cluster's topics that the workers of a stream need before they begin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from clientip.edges.kafka.client import partition_counts, topic_ids
from clientip.edges.kafka.topic_plan import cluster, raw_topics
from clientip.edges.kafka.waiting import answered
from clientip.edges.telemetry.port import TelemetryPort
from clientip.errors import SinkError
from clientip.settings import Kafka, Settings
from clientip.stream.join_messages import Partitions


class Cluster(NamedTuple):
    """The topics as they are when a worker starts."""

    kafka: Kafka
    ids: Mapping[str, str]  # of raw topics
    counts: Mapping[str, int]  # partitions of raw topics, and of the one for counts
    partitions: Partitions  # of the join topic


def look(settings: Settings, telemetry: TelemetryPort, stopping: Callable[[], bool]) -> Cluster:
    """Waits while no broker answers, as while the cluster has no controller.

    Errors: SinkError where a topic is missing, or where the worker shall stop meanwhile; ConfigError as `cluster`.
    """
    kafka = cluster(settings)
    return answered(lambda: _look(settings, kafka), telemetry, stopping)


def _look(settings: Settings, kafka: Kafka) -> Cluster:
    join, counts = kafka.generational("join"), kafka.topic("counts")
    ids = topic_ids(kafka, [*raw_topics(settings), join, counts])
    found = partition_counts(kafka, ids)
    counted = {topic: count for topic, count in found.items() if count is not None}
    if len(counted) < len(ids):
        raise SinkError("a topic is gone; `clientip kafka topics` lists all", retry=True)
    return Cluster(kafka, ids, counted, Partitions(ids[join], counted[join]))
