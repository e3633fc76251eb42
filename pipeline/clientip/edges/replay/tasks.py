"""What a process of a run does: one task at a time, each a function of files that are finished."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from clientip.edges.replay.join_assemble import Assembled, assemble
from clientip.edges.replay.join_read import read_joined
from clientip.edges.replay.join_shard import Answered, answer_shard, coverage_of
from clientip.edges.replay.join_slices import Desk
from clientip.edges.replay.join_walk import Walked, walk_chunk
from clientip.edges.replay.plan import Plan, chunks_of
from clientip.edges.replay.read_pass import Done, open_job, process
from clientip.joins.coverage import Coverage
from clientip.joins.join import Joining

Stage = Literal["read", "answer", "walk", "give_up", "assemble"]


class Task(NamedTuple):
    """One unit of one stage."""

    stage: Stage
    unit: int  # a chunk; a shard where it is to be answered
    round: int = 0
    rounds: tuple[int, ...] = ()  # to be assembled: those that filled holes of the chunk


Result = Done | Answered | Walked | Assembled


class Worker:
    """What one process needs for any task of a plan."""

    def __init__(self, paths: tuple[Path, ...], plan: Plan, folder: Path) -> None:
        self._job, self._chunks, self._folder = open_job(paths, plan), chunks_of(plan), folder
        self._coverage: Coverage | None = None

    def perform(self, task: Task, moved: Moved) -> Result:
        """Do it, into temporary parts that the caller renames."""
        job, folder = self._job, self._folder
        if task.stage == "answer":
            return answer_shard(self._desk(), folder, task.round, task.unit)
        chunk = self._chunks[task.unit]
        if task.stage == "read":
            read = read_joined if job.plan.shards else process
            return read(job, chunk, folder, moved)
        if task.stage == "assemble":
            return assemble(folder, task.unit, task.rounds, job.plan.options.compress)
        return walk_chunk(job, self._joining(), chunk, folder, task.round, last=task.stage == "give_up")

    def _joining(self) -> Joining:
        assert self._job.engine.joining is not None
        return self._job.engine.joining

    def _desk(self) -> Desk:
        joining = self._joining()
        if self._coverage is None:  # the same in all rounds
            self._coverage = coverage_of(joining, self._folder, self._chunks, self._job.plan.unread)
        return Desk(joining, self._coverage)


Moved = Callable[[int], None]
Work = Callable[[Sequence[Task], Moved], Iterator[Result]]
"""Does tasks in any order; gives each result once it is there, and tells of progress inside of them."""
