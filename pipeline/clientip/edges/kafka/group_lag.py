"""How far another group has come in a topic, asked in the background: no caller waits for the answer.

A consumer that never joins the group asks. The admin client does not, because its request ends the whole process while
the group's coordinator goes away: https://github.com/confluentinc/librdkafka/issues/4605.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from threading import Thread
from typing import Any, Final

from confluent_kafka import OFFSET_END, Consumer, KafkaException, TopicPartition

from clientip.edges.kafka.client import Reach, client, client_settings, upto_of
from clientip.settings import Kafka

_REACH_S: Final = 10.0


class Backlog:
    """The group's offsets and the topic's ends. For one thread."""

    def __init__(self, kafka: Kafka, group: str, topic: str, partitions: Iterable[int]) -> None:
        """Errors: ConfigError as `client_settings`."""
        self._topic, self._partitions = topic, list(partitions)
        settings: dict[str, Any] = {
            **client_settings(kafka),
            "group.id": group,
            "enable.auto.commit": False,
            "isolation.level": "read_uncommitted",  # otherwise an open transaction of the group delays the answer
            "log_level": 0,
        }
        self._consumer = client(Consumer, settings)
        self._questions: Thread | None = None
        self._found: Mapping[int, Reach] | None = None

    def ask(self) -> None:
        """Ask, unless an answer is still to come."""
        if self._questions is None or not self._questions.is_alive():
            self._questions = Thread(target=self._look, daemon=True)
            self._questions.start()

    def _look(self) -> None:
        try:
            held = self._consumer.committed(self._places(-1), _REACH_S)
            ends = self._consumer.offsets_for_times(self._places(OFFSET_END), _REACH_S)
            uptos = {each.partition: upto_of(each) for each in held}
        except KafkaException:
            return  # the next try may be answered
        if all(each.error is None for each in ends):
            self._found = {each.partition: Reach(uptos[each.partition], each.offset) for each in ends}

    def _places(self, offset: int) -> list[TopicPartition]:
        return [TopicPartition(self._topic, partition, offset) for partition in self._partitions]

    def answer(self) -> Mapping[int, Reach] | None:
        """The answer by partition, once after each `ask`; None while there is no answer, or after an error."""
        found, self._found = self._found, None
        return found
