"""The rounds of a replay with joins: all questions are answered, then all lines go on; until none is open.

Between the two stands a barrier, and so it does between rounds: what a line is told depends on all lines, and
never on which of them were faster.  Every finished task is noted in `stages.ndjson` once its parts are safe; a
round's parts are removed when no task needs them any more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Final

import msgspec

from clientip.edges.disk.parts import adopt, append_line, remove_parts, whole_lines
from clientip.edges.replay import join_files as waiting
from clientip.edges.replay.join_files import SHEET_HOLES, Round, round_path, write_struct
from clientip.edges.replay.join_shard import Answered
from clientip.edges.replay.join_walk import Walked
from clientip.edges.replay.plan import Plan
from clientip.edges.replay.progress import Meter
from clientip.edges.replay.read_pass import Done
from clientip.edges.replay.tasks import Task, Work

STAGES: Final = "stages.ndjson"
MAX_ROUNDS: Final = 100  # lines that wait for each other in a longer row are a loop

_Noted = Answered | Walked  # a line of `stages.ndjson`


class Rounds:
    """The rounds of one run, from what its chunks left to what each of them came to."""

    def __init__(self, plan: Plan, folder: Path, work: Work, done: Sequence[Done]) -> None:
        self._plan, self._folder, self._work, self._done = plan, folder, work, done
        self._answered: dict[int, dict[int, Answered]] = defaultdict(dict)
        self._walked: dict[int, dict[int, Walked]] = defaultdict(dict)
        for line in whole_lines(folder / STAGES):
            self._note(msgspec.json.decode(line, type=_Noted))
        sheets = accumulate((-(-each.holes // SHEET_HOLES) for each in done), initial=0)
        self._sheets = tuple(sheets)[:-1]

    def run(self) -> Mapping[int, Sequence[Walked]]:
        """Lead every line to its end; chunk → what became of its lines, round by round."""
        waiting_ = {each.chunk: each.holes for each in self._done if each.holes}
        shards: Iterable[int] = range(self._plan.shards)
        number = 0
        while waiting_:
            number += 1
            self._round(number, sorted(waiting_), shards)
            walked = self._walked[number]
            waiting_ = {chunk: each.open for chunk, each in walked.items() if each.open}
            shards = sorted({shard for each in walked.values() for shard in each.shards})
        done_with = [waiting.RUNS, *map(waiting.facts, range(number + 1))]
        remove_parts(self._folder, (each.chunk for each in self._done), done_with)
        by_chunk: dict[int, list[Walked]] = defaultdict(list)
        for number in sorted(self._walked):
            for each in self._walked[number].values():
                by_chunk[each.unit].append(each)
        return by_chunk

    def _round(self, number: int, chunks: Sequence[int], shards: Iterable[int]) -> None:
        """One exchange of questions and answers; what of it is done already is not done again."""
        answered, walked = self._answered[number], self._walked[number]
        todo = [chunk for chunk in chunks if chunk not in walked]
        if todo:
            write_struct(round_path(self._folder, number), Round(self._sheets, tuple(chunks), self._fact_parts(number)))
            ask = [Task("answer", shard, number) for shard in shards if shard not in answered]
            self._do(f"answering, round {number}", ask)
            over = number > MAX_ROUNDS or not any(each.settled for each in answered.values())
            go = [Task("give_up" if over else "walk", chunk, number) for chunk in todo]
            self._do(f"going on, round {number}", go)
        remove_parts(self._folder, chunks, [waiting.holes(number), waiting.asked(number)])
        remove_parts(self._folder, answered, [waiting.answers(number)])
        remove_parts(self._folder, [number], [waiting.ROUND])

    def _fact_parts(self, number: int) -> tuple[tuple[int, int], ...]:
        """Every part with facts that this round may need, in the order of the chunks."""
        found = [(each.chunk, 0) for each in self._done if waiting.facts(0) in each.parts]
        for earlier in range(1, number):
            walked = self._walked[earlier]
            found += [(chunk, earlier) for chunk in sorted(walked) if waiting.facts(earlier) in walked[chunk].parts]
        return tuple(found)

    def _do(self, phase: str, tasks: Sequence[Task]) -> None:
        if not tasks:
            return
        with Meter(len(tasks), phase=phase) as meter:
            for result in self._work(tasks, lambda _: None):
                assert isinstance(result, Answered | Walked)
                adopt(self._folder, result.unit, result.parts, result.process_id)
                append_line(self._folder / STAGES, msgspec.json.encode(result))
                self._note(result)
                meter.moved(1)

    def _note(self, result: _Noted) -> None:
        if isinstance(result, Answered):
            self._answered[result.round][result.unit] = result
        else:
            self._walked[result.round][result.unit] = result
