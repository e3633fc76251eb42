"""One chunk of a round: its open lines go on with their answers."""

from __future__ import annotations

import os
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from clientip.edges.disk.parts import part_path
from clientip.edges.disk.spill import BucketReader, read_blocks
from clientip.edges.replay.join_files import (
    SHEET_HOLES,
    Hole,
    Sinks,
    Spill,
    SpilledReply,
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
from clientip.engine import BLOCK_LINES
from clientip.errors import SinkError
from clientip.joins.facts import JoinFact
from clientip.joins.inquiry import Open
from clientip.joins.join import Joining
from clientip.pending import Over, Reply, Suspensions
from clientip.trust.answers import Answer, Awaits


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
        for first in range(0, len(block), BLOCK_LINES):
            few = block[first : first + BLOCK_LINES]
            walk.go_on(few, [Over()] * len(few) if replies is None else list(map(replies.of, few)))
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
        sheet = hole.number // SHEET_HOLES
        if sheet != self._sheet:
            self._sheet, self._found = sheet, {}
            for path in self._paths:
                for block in BucketReader(path, list[SpilledReply]).read(self._first + sheet):
                    self._found.update(block)
        answer = self._found.get(hole.number)
        if answer is None and hole.pending.inquiry.awaits is None:
            raise SinkError(f"answers are missing in {self._folder}; use --restart", retry=False)
        return answer


class _Walk:
    """Lines of one chunk going on."""

    def __init__(self, job: Job, joining: Joining, chunk: Chunk, sinks: Sinks) -> None:
        self._system, self._sinks = chunk.input.system, sinks
        self._lines = Suspensions(job.engine, joining, self._system)
        self._spill = Spill(job.plan)
        self._render, self._rules = rendering(job), job.plan.rules
        self._endings = Endings()

    def go_on(self, few: list[Hole], replies: list[Reply]) -> None:
        """Lines with their replies: each asks again, or ends."""
        found = self._lines.go_on([hole.pending for hole in few], replies, self._tell)
        for hole, end in zip(few, found, strict=True):
            if isinstance(end, Open):
                self._sinks.holes.add(replace(hole, pending=replace(hole.pending, inquiry=end.inquiry)))
                self._spill.ask(self._sinks.asked, hole.number, end.question)
            elif hole.shown:
                self._endings.count(end)
                self._sinks.last.add((hole.number, hole.position, self._render(end, self._rules)))

    def tally(self) -> Tally:
        """The counts of what has ended; to be called once, at the end."""
        return self._endings.into(Tally(self._system))

    def _tell(self, fact: JoinFact) -> None:
        self._spill.tell(self._sinks.facts, fact)
