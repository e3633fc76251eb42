"""Whether raw topics are still those that a reader began with, looked up in the background.

A topic that was deleted and made anew has the offsets of the old one again: who goes on there leaves out lines, and
nobody would know.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from threading import Thread
from typing import Final

from pipeline.edges.kafka import topic_ids
from pipeline.errors import SinkError
from pipeline.settings import Kafka

LOOK_S: Final = 5.0


def made_anew(topic: str, proof: str) -> str:
    """What to say of a topic that is another one now."""
    return (
        f"topic {topic} was made anew: {proof}. To read the new one from its beginning, stop all workers and run "
        f"kafka-consumer-groups.sh --reset-offsets --to-earliest --execute for it and the group of the readers"
    )


class TopicWatch:
    """For one thread."""

    def __init__(self, kafka: Kafka, ids: Mapping[str, str]) -> None:
        self._kafka, self._ids = kafka, ids
        self._looking: Thread | None = None
        self._looked_s = time.monotonic()
        self._gone = ""  # a topic that is another one

    def check(self) -> None:
        """Errors: SinkError where a topic was made anew, a few seconds later."""
        if self._gone:
            raise SinkError(made_anew(self._gone, "it has another id"), retry=False)
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
                continue  # missing, or nobody answers: who reads it will be told
            if found != known:
                self._gone = topic
