"""Whether raw topics are still those that a reader began with, looked up in the background.

A topic that was deleted and made again has the same offsets as the old one. A reader that went on there would leave
out lines without notice.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from threading import Thread
from typing import Final

from clientip.edges.kafka.client import partition_counts, topic_ids
from clientip.errors import SinkError
from clientip.settings import Kafka

LOOK_S: Final = 5.0


def made_again(topic: str, proof: str) -> str:
    """The text for a topic that was deleted and made again."""
    return (
        f"topic {topic} was deleted and made again: {proof}. To read the new one from its beginning, stop all workers "
        f"and run "
        f"kafka-consumer-groups.sh --reset-offsets --to-earliest --execute for it and the group of the readers"
    )


class TopicWatch:
    """Watches raw topics. For one thread."""

    def __init__(self, kafka: Kafka, ids: Mapping[str, str], counts: Mapping[str, int]) -> None:
        """`counts`: partitions of each topic as they were at the start."""
        self._kafka, self._ids, self._counts = kafka, ids, counts
        self._looking: Thread | None = None
        self._looked_s = time.monotonic()
        self._gone = ""  # a topic that was made again
        self._grown = ""  # a topic that has more partitions: no watermark speaks of those

    def check(self) -> None:
        """Errors: SinkError if a topic was made again, or has more partitions, a few seconds after it happened."""
        if self._grown:
            raise SinkError(f"topic {self._grown} has more partitions now: the worker has to start again", retry=True)
        if self._gone:
            raise SinkError(made_again(self._gone, "it has another id"), retry=False)
        now_s = time.monotonic()
        if now_s - self._looked_s >= LOOK_S and (self._looking is None or not self._looking.is_alive()):
            self._looked_s = now_s
            self._looking = Thread(target=self._look, daemon=True)
            self._looking.start()

    def _look(self) -> None:
        for topic, known in self._ids.items():
            try:
                found = topic_ids(self._kafka, [topic])[topic]
            except SinkError:
                continue  # missing, or no broker answers: the consumer will report it
            if found != known:
                self._gone = topic
        for topic, count in self._partitions().items():
            if count is not None and count > self._counts[topic]:
                self._grown = topic

    def _partitions(self) -> Mapping[str, int | None]:
        try:
            return partition_counts(self._kafka, self._ids)
        except SinkError:  # no broker answers; the next look asks again
            return {}
