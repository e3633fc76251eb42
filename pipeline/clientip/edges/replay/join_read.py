"""One chunk through the engine where lines can answer for each other: rows and holes, questions and facts out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from clientip.edges.replay.join_files import ROWS, RUNS, Hole, Sinks, Spill, asked, facts, holes, open_sinks
from clientip.edges.replay.plan import Chunk
from clientip.edges.replay.read_pass import Done, Job, Moved, Pass, Rows, joined_rows, run_through
from clientip.joins.coverage import MAX_RUNS, Run, RunsByWitness, Witness, stitch
from clientip.joins.facts import JoinFact
from clientip.joins.holes import LineOrder, tried_in, written_at
from clientip.joins.inquiry import Open
from clientip.joins.join import Joining
from clientip.model import Fact, Numbered, Outcome, Record, Rejected
from clientip.pending import Suspensions

MAX_RUNS_HELD: Final = 2 * MAX_RUNS  # of one witness in one chunk, before neighbours are joined


class JoinedPass(Pass):
    """One input going through the engine; what it tells and asks goes into `sinks`."""

    def __init__(self, job: Job, joining: Joining, chunk: Chunk, sinks: Sinks) -> None:
        super().__init__(job, chunk)
        self._judged_first = None  # a range cuts records, and never what they tell
        self._sinks, self._spill = sinks, Spill(job.plan)
        self._lines = Suspensions(job.engine, joining, chunk.input.system)
        self._order = LineOrder() if joining.gives_word(chunk.input.system) else None
        self._runs = RunsByWitness()
        self._position = 0  # bytes of rows so far
        self.open = 0

    def _rows(self, fed: Iterable[Sequence[Outcome]]) -> Rows:
        take = self._take
        rows: list[bytes] = []
        rejected: list[bytes] = []
        for outcomes in fed:
            for outcome in outcomes:
                take(outcome, rows, rejected)
        return joined_rows(rows, rejected)

    def _take(self, outcome: Outcome, rows: list[bytes], rejected: list[bytes]) -> None:
        """What a line tells and asks; its row, unless it has to wait."""
        if self._order is not None and type(outcome) in (Record, Fact):
            self._order.see(written_at(outcome), tried_in(outcome))
        begun = self._lines.begin(outcome, self._tell, self._count)
        ended = outcome if isinstance(begun, Open) else begun
        shown = ended if self._judged is None else self._judged(ended)
        if isinstance(begun, Open):
            assert type(outcome) is Record
            # Others may wait for a line out of range, or find their place by the order of its connection.
            if shown is ended or self._lines.tells or begun.question.serial is not None:
                self._wait(outcome, begun, shown=shown is ended)
            if shown is ended:
                return
        if type(shown) is Record:
            self._endings.count(shown)
            row = self._render(shown, self._rules)
            rows.append(row)
            self._position += len(row) + 1
            return
        before = len(rows)
        self._other(shown, rows, rejected)
        self._position += sum(len(row) + 1 for row in rows[before:])

    def _other(self, outcome: Outcome, rows: list[bytes], rejected: list[bytes]) -> None:
        if self._order is not None and isinstance(outcome, Rejected):
            self._order.see(None)
        super()._other(outcome, rows, rejected)

    def _wait(self, record: Record, begun: Open, *, shown: bool) -> None:
        pending = self._lines.suspend(record, begun.inquiry)
        self._sinks.holes.add(Hole(self.open, self._position, shown, pending))
        self._spill.ask(self._sinks.asked, self.open, begun.question)
        self.open += 1

    def _tell(self, fact: JoinFact) -> None:
        self._spill.tell(self._sinks.facts, fact)

    def _count(self, witness: Witness, line: Numbered) -> None:
        runs = self._runs[witness]
        runs.add(line)
        if len(runs.done) > MAX_RUNS_HELD:
            runs.done = fewest(runs.done)

    def runs(self, *, is_whole: bool) -> None:
        """Write down the stretches that were told whole, and where lines are missing; to be called once, at the end.

        `is_whole`: the chunk could be read to its end.
        """
        for (system, instance), runs in sorted(self._runs.items()):
            self._sinks.last.add((system, instance, fewest(runs.all()), None))
        if self._order is not None:
            if not is_whole:
                self._order.see(None)
            self._sinks.last.add((self._source.system, self._source.instance or "", [], self._order.part()))


def fewest(runs: list[Run]) -> list[Run]:
    """The runs, or where they are very many, with neighbours joined, and no more than can be of use.

    Fewer runs only cover less.
    """
    return runs if len(runs) <= MAX_RUNS else list(stitch(runs)[: MAX_RUNS + 1])


def read_joined(job: Job, chunk: Chunk, folder: Path, moved: Moved) -> Done:
    """Read a chunk into temporary parts named after this process; the caller renames them."""
    joining = job.engine.joining
    assert joining is not None
    sinks = open_sinks(folder, chunk.number, (holes(1), asked(1), facts(0), RUNS))
    through = JoinedPass(job, joining, chunk, sinks)
    lengths, fault = run_through(job, chunk, through, (folder, ROWS, "none"), moved)
    through.runs(is_whole=fault is None)
    kept = (ROWS, "rejected", *sinks.close())
    return Done(chunk.number, *lengths, through.tally(), os.getpid(), fault, kept, through.open)
