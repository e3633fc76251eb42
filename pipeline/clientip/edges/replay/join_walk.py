"""One chunk of a round: its open lines go on with what they were told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from clientip.edges.disk.parts import part_path
from clientip.edges.disk.spill import BucketReader, read_blocks
from clientip.edges.replay.join_files import (
    SHEET,
    Hole,
    Reply,
    Sinks,
    Spill,
    answers,
    asked,
    facts,
    filled,
    holes,
    open_sinks,
    read_round,
)
from clientip.edges.replay.plan import Chunk
from clientip.edges.replay.read_pass import Job, rendering
from clientip.edges.replay.tally import Endings, Tally
from clientip.engine import BLOCK
from clientip.errors import SinkError
from clientip.joins.inquiry import Open
from clientip.joins.join import Joining
from clientip.joins.witnesses import settled
from clientip.model import Observation, Record, Resolution
from clientip.pending import Shelf
from clientip.trust.answers import Answer, Awaits

GiveUp = Literal["give up"]
GIVE_UP: Final[GiveUp] = "give up"


class Walked(Struct, frozen=True, tag="walked"):
    """A finished chunk of a round."""

    round: int
    unit: int
    open: int  # lines that still ask
    shards: tuple[int, ...]  # that hold their questions
    tally: Tally  # of the lines whose walk has ended
    process_id: int
    parts: tuple[str, ...]


def walk_chunk(job: Job, joining: Joining, chunk: Chunk, folder: Path, number: int, *, last: bool) -> Walked:
    """Lead a chunk's lines on into temporary parts named after this process; the caller renames them.

    `last`: no answer will ever come: every line that still asks ends here.
    """
    names = (holes(number + 1), asked(number + 1), facts(number), filled(number))
    sinks = open_sinks(folder, chunk.number, names)
    walk = _Walk(job, joining, chunk, sinks)
    sheet = 0 if last else read_round(folder, number).sheets[chunk.number]
    replies = None if last else _Replies(job.plan.shards, sheet, folder, number)
    for block in read_blocks(part_path(folder, chunk.number, holes(number)), list[Hole]):
        for first in range(0, len(block), BLOCK):
            few = block[first : first + BLOCK]
            walk.go_on(few, [GIVE_UP] * len(few) if replies is None else list(map(replies.of, few)))
    kept = sinks.close()
    shards = tuple(sorted(sinks.asked.buckets))
    return Walked(number, chunk.number, sinks.holes.items, shards, walk.tally(), os.getpid(), kept)


class _Replies:
    """The answers to a chunk's questions, one sheet at a time."""

    def __init__(self, shards: int, first_sheet: int, folder: Path, number: int) -> None:
        paths = (part_path(folder, shard, answers(number)) for shard in range(shards))
        self._paths = [path for path in paths if path.exists()]
        self._first, self._sheet, self._folder = first_sheet, -1, folder
        self._found: dict[int, Answer | Awaits] = {}

    def of(self, hole: Hole) -> Answer | Awaits | None:
        """What the hole is told; None: nothing yet, which only the end of another line's walk can be."""
        sheet = hole.number // SHEET
        if sheet != self._sheet:
            self._sheet, self._found = sheet, {}
            for path in self._paths:
                for block in BucketReader(path, list[Reply]).read(self._first + sheet):
                    self._found.update(block)
        answer = self._found.get(hole.number)
        if answer is None and hole.question is None:
            raise SinkError(f"answers are missing in {self._folder}; use --restart", retry=False)
        return answer


class _Walk:
    """Lines of one chunk going on."""

    def __init__(self, job: Job, joining: Joining, chunk: Chunk, sinks: Sinks) -> None:
        self._system, self._shelf = chunk.input.system, Shelf(job.engine, chunk.input.system)
        self._inquirer, self._sinks = joining.inquirer, sinks
        self._spill = Spill(job.plan)
        self._render, self._rules = rendering(job), job.plan.rules
        self._tells = joining.witnesses.tells(self._system)
        self._endings = Endings()

    def go_on(self, few: list[Hole], answers: list[Answer | Awaits | GiveUp | None]) -> None:
        """Lines that were told something, or nothing yet: each asks again, or ends.

        Stage by stage, which is faster, as in `Reading.feed_all`.
        """
        lines = [hole.line() for hole in few]
        read = [self._shelf.take(hole.seen, line) for hole, line in zip(few, lines, strict=True)]
        found = [self._next(hole, seen, answer) for hole, seen, answer in zip(few, read, answers, strict=True)]
        for hole, line, seen, end in zip(few, lines, read, found, strict=True):
            if isinstance(end, Open):
                question = end.question if end.inquiry.awaits is not None else None
                self._sinks.holes.add(replace(hole, inquiry=end.inquiry, question=question))
                self._spill.ask(self._sinks.asked, hole.number, end.question)
            else:
                self._end(hole, Record(line, seen, end, hole.record, hole.entry))

    def _next(self, hole: Hole, seen: Observation, answer: Answer | Awaits | GiveUp | None) -> Open | Resolution:
        if answer is None:  # only who waits for another line can be left without an answer
            assert hole.question is not None
            return Open(hole.inquiry, hole.question)
        if isinstance(answer, str):
            return self._inquirer.give_up(seen, hole.inquiry)
        return self._inquirer.go_on(seen, hole.inquiry, answer)

    def tally(self) -> Tally:
        """The counts of what has ended; to be called once, at the end."""
        return self._endings.into(Tally(self._system))

    def _end(self, hole: Hole, record: Record) -> None:
        if self._tells:
            self._spill.tell(self._sinks.facts, settled(record))
        if not hole.shown:
            return
        self._endings.count(record)
        self._sinks.last.add((hole.number, hole.position, self._render(record, self._rules)))
