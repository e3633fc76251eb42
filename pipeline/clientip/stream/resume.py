"""An answerer's half of the joins: with its answer a line goes on, to a further question or to its end."""

from __future__ import annotations

from msgspec.structs import replace

from clientip.engine import Engine
from clientip.joins.join import Joining
from clientip.model import Record
from clientip.pending import Over, Pending, Reply, Suspensions
from clientip.stream.join_messages import Chunks
from clientip.stream.join_partition import Departure
from clientip.trust.answers import Refused


class Walking:
    """Lets the lines of all systems go on, under one configuration."""

    def __init__(self, engine: Engine, joining: Joining, topology: str) -> None:
        self._topology = topology
        self._lines = {system: Suspensions(engine, joining, system) for system in engine.sources}

    def go_on(self, system: str, pending: Pending, first_ns: int, left: Departure, chunks: Chunks) -> Record | None:
        """The record of a line whose question left, or None: it asks again.

        `first_ns`: when its first question came. What it asks and tells goes into `chunks`.
        """
        reply: Reply = left.answer
        if left.over:
            assert isinstance(left.answer, Refused)
            reply = Over(left.answer)
        [found] = self._lines[system].go_on((pending,), (reply,), chunks.tell)
        if isinstance(found, Record):
            return found
        chunks.ask(found.question, self._topology, replace(pending, inquiry=found.inquiry), first_ns)
        return None
