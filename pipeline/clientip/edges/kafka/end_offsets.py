"""Up to which moment a raw partition was read to its end: the most that a reader's watermark may say.

That a consumer has come to an end says little: it may be the end as a broker knew it that has not answered for a while.
So the cluster is asked where the ends are. A consumer that has come there has read everything that was there when the
question was sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, Final

from confluent_kafka import IsolationLevel, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from clientip.edges.kafka.client import TopicPlace, client, client_settings
from clientip.settings import Kafka

ASK_S: Final = 0.25
_REACH_S: Final = 10.0


class RawEnds:
    """The ends of this worker's partitions, asked in the background. For one thread."""

    def __init__(self, kafka: Kafka) -> None:
        """Errors: ConfigError as `client_settings`."""
        self._admin: AdminClient = client(AdminClient, {**client_settings(kafka), "log_level": 0})
        self._asked: tuple[int, Mapping[TopicPlace, Future[Any]]] | None = None
        self._asked_s = 0.0
        self._ends: dict[TopicPlace, tuple[int, int]] = {}  # (where the end was, when it was asked for)
        self._read_ns: dict[TopicPlace, int] = {}

    def look(self, places: Iterable[TopicPlace], reached: Callable[[TopicPlace], int]) -> None:
        """Take the answer, if it has come, and ask again. `reached`: the offset of the next message to read."""
        now_s = time.monotonic()
        if self._asked is None and now_s - self._asked_s >= ASK_S:
            self._ask(list(places))
            self._asked_s = now_s
        elif self._asked is not None and all(each.done() for each in self._asked[1].values()):
            (when_ns, answers), self._asked = self._asked, None
            for place, answer in answers.items():
                if answer.exception() is None:
                    self._ends.setdefault(place, (answer.result().offset, when_ns))
        for place, (end, when_ns) in list(self._ends.items()):
            if reached(place) >= end:
                self._read_ns[place] = when_ns
                del self._ends[place]

    def _ask(self, places: list[TopicPlace]) -> None:
        if not places:
            return
        spec: Any = OffsetSpec  # it is not typed
        asked = {TopicPartition(*place): spec.latest() for place in places}
        when_ns = time.time_ns()  # before the question is sent, not after
        # Messages of an open transaction were appended, too, and will be read.
        level = IsolationLevel.READ_UNCOMMITTED
        found = self._admin.list_offsets(asked, isolation_level=level, request_timeout=_REACH_S)
        self._asked = when_ns, {TopicPlace(each.topic, each.partition): answer for each, answer in found.items()}

    def read_ns(self, place: TopicPlace) -> int | None:
        """Everything appended up to then has been read; ns by this machine's clock; None: not known."""
        return self._read_ns.get(place)

    def waits(self, place: TopicPlace) -> bool:
        """Whether there was more to read when the cluster was asked last."""
        return place in self._ends

    def forget(self) -> None:
        """Forget everything: other workers own the partitions now."""
        self._asked, self._ends, self._read_ns = None, {}, {}
