"""An answerer's half of the joins: a line goes on with what it was told, to a further question or to its end."""

from __future__ import annotations

from msgspec.structs import replace

from clientip.engine import Engine
from clientip.joins.inquiry import Open
from clientip.joins.join import Joining
from clientip.joins.witnesses import settled
from clientip.model import Record, Resolution
from clientip.pending import Shelf
from clientip.stream.join_messages import Chunks, Waits
from clientip.stream.join_partition import Departure
from clientip.trust.answers import Refused


class Walking:
    """Lines of all systems going on, under one configuration."""

    def __init__(self, engine: Engine, joining: Joining, topology: str) -> None:
        self._inquirer, self._witnesses, self._topology = joining.inquirer, joining.witnesses, topology
        self._shelves = {system: Shelf(engine, system) for system in engine.sources}

    def go_on(self, system: str, waits: Waits, first_ns: int, left: Departure, chunks: Chunks) -> Record | None:
        """The record of a line whose question left, or None: it asks again.

        `first_ns`: when its first question came. What it asks and tells goes into `chunks`.
        """
        line = waits.line()
        seen = self._shelves[system].take(waits.seen, line)
        found: Open | Resolution
        if left.over:
            assert isinstance(left.answer, Refused)
            found = self._inquirer.end(seen, waits.inquiry, left.answer)
        else:
            found = self._inquirer.go_on(seen, waits.inquiry, left.answer)
        if isinstance(found, Open):
            chunks.ask(found.question, self._topology, replace(waits, inquiry=found.inquiry), first_ns)
            return None
        record = Record(line, seen, found, waits.record, waits.entry)
        if self._witnesses.tells(system):
            chunks.tell(settled(record))
        return record
