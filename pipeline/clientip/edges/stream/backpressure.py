"""Readers wait for answerers: messages of the join topic must be answered before the topic deletes them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import Final

from clientip.edges.kafka.client import TopicPlace
from clientip.edges.kafka.group_lag import Backlog
from clientip.edges.kafka.group_member import Member
from clientip.edges.kafka.topic_plan import join_retention_ms
from clientip.edges.telemetry.port import TelemetryPort
from clientip.settings import Kafka, Settings

ASK_S: Final = 5.0
MAX_BEHIND_SHARE: Final = 0.25  # of the retention; readers pause if answerers are further behind


class Backpressure:
    """Pauses readers while the answerers are too far behind.

    The age of the oldest unanswered message follows from when the topic had grown to its offset.
    """

    def __init__(self, settings: Settings, kafka: Kafka, partitions: int, telemetry: TelemetryPort) -> None:
        self._telemetry = telemetry
        self._max_behind_s = MAX_BEHIND_SHARE * join_retention_ms(settings) / 1000
        self._backlog = Backlog(kafka, kafka.topic("answerers"), kafka.generational("join"), range(partitions))
        self._ends: dict[int, deque[tuple[float, int]]] = {number: deque() for number in range(partitions)}
        self._asked_s = 0.0
        self.paused = False

    def apply(self, member: Member, places: Sequence[TopicPlace]) -> None:
        """Pause or resume reading by the last answer, and ask again in time."""
        now_s = time.monotonic()
        if now_s - self._asked_s >= ASK_S:
            self._asked_s = now_s
            self._backlog.ask()
        reached = self._backlog.answer()
        if reached is not None:
            behind_s = 0.0
            for number, reach in reached.items():
                upto = reach.upto.offset if reach.upto is not None else 0
                behind_s = max(behind_s, self._behind_s(self._ends[number], upto, reach.end, now_s))
            self._set(behind_s > self._max_behind_s, behind_s)
            (member.pause if self.paused else member.resume)(places)

    def _behind_s(self, ends: deque[tuple[float, int]], upto: int, end: int, now_s: float) -> float:
        ends.append((now_s, end))
        while ends and ends[0][1] <= upto:
            ends.popleft()
        return now_s - ends[0][0] if ends else 0.0

    def _set(self, paused: bool, behind_s: float) -> None:
        if paused != self.paused:
            self._telemetry.say(
                "reader.paused" if paused else "reader.resumed", level="warning", behind_s=round(behind_s)
            )
        self.paused = paused
        self._telemetry.set("reader.paused", float(paused))
