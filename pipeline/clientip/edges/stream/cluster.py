"""What the workers of a stream have to know of the cluster's topics before they begin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from clientip.edges.kafka.client import partition_counts, topic_ids
from clientip.edges.kafka.topic_plan import cluster, raw_topics
from clientip.errors import SinkError
from clientip.settings import Kafka, Settings
from clientip.stream.join_messages import Partitions


class Cluster(NamedTuple):
    """What a reader has to know of the topics."""

    kafka: Kafka
    ids: Mapping[str, str]  # of raw topics
    counts: Mapping[str, int]  # partitions of raw topics, and of the one for counts
    partitions: Partitions  # of the join topic


def look(settings: Settings) -> Cluster:
    """Errors: SinkError where a topic is missing, or nobody answers; ConfigError as `cluster`."""
    kafka = cluster(settings)
    join, counts = kafka.generational("join"), kafka.topic("counts")
    ids = topic_ids(kafka, [*raw_topics(settings), join, counts])
    found = partition_counts(kafka, ids)
    counted = {topic: count for topic, count in found.items() if count is not None}
    if len(counted) < len(ids):
        raise SinkError("a topic is gone; `clientip kafka topics` lists all", retry=True)
    return Cluster(kafka, ids, counted, Partitions(ids[join], counted[join]))
