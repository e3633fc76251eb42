"""One join key with more questions and facts than memory may hold: cut by time, through a file.

Each question is answered in the slice in which its window begins, from all facts that reach into any window of the
slice; that is exact where a fact says something only of its own time.  NAT events are read against each other: they
are held together, or, where even they alone are too many, the key is `crowded`.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate, islice
from pathlib import Path
from typing import Final

from clientip.edges.disk.parts import disk_faults, temporary
from clientip.edges.disk.spill import BucketReader, BucketWriter
from clientip.edges.replay.join_slices import CROWDED, Desk, answered, hang_together
from clientip.joins.facts import JoinFact, JoinQuestion
from clientip.trust.answers import Answer, Awaits

MAX_SAMPLE: Final = 1_000_000  # items whose times decide where the slices lie
MAX_SLICES_OF_FACT: Final = 16  # a fact that reaches over more of them is held for all

Asker = tuple[int, int]
"""(chunk, number of the hole)."""

TakeReply = Callable[[Asker, Answer | Awaits], None]
Numbered = tuple[int, JoinFact]
"""A fact with its place among all of the key, so that their order stays the same however they are cut."""


class Heavy:
    """The items under one hash, as they can be read again and again."""

    def __init__(
        self,
        desk: Desk,
        questions: Callable[[], Iterator[tuple[Asker, JoinQuestion]]],
        facts: Callable[[], Iterator[JoinFact]],
        reply: TakeReply,
        scratch: tuple[Path, int],
    ) -> None:
        self._desk, self._questions, self._facts, self._reply = desk, questions, facts, reply
        self._folder, self._shard = scratch
        self._most = max(1, desk.items // 2)  # questions, and facts, at a time

    def answer(self) -> None:
        """Answer all questions."""
        found = list(islice(enumerate(self._facts()), self._most + 1))
        if len(found) <= self._most:
            self._all(self._questions(), found)
        elif hang_together(self._facts()):
            self._refuse(self._questions())
        else:
            del found
            self._by_time()

    def _all(self, questions: Iterable[tuple[Asker, JoinQuestion]], found: list[Numbered]) -> None:
        """Questions as many at a time as may be, all from the same facts."""
        waiting = iter(questions)
        while batch := list(islice(waiting, self._most)):
            for key in sorted({ask.key for _, ask in batch}):  # one hash, but perhaps two keys
                under = [(asker, ask) for asker, ask in batch if ask.key == key]
                facts = [fact for _, fact in found if fact.key == key]
                said = answered(self._desk, key, facts, [ask for _, ask in under])
                for (asker, _), answer in zip(under, said, strict=True):
                    if answer is not None:
                        self._reply(asker, answer)

    def _refuse(self, questions: Iterable[tuple[Asker, JoinQuestion]]) -> None:
        for asker, _ in questions:
            self._reply(asker, CROWDED)

    def _by_time(self) -> None:
        starts = self._starts()
        paths = [temporary(self._folder, self._shard, name, os.getpid()) for name in ("slices", "moments")]
        with disk_faults("write", self._folder):
            asked, moments = BucketWriter(paths[0]), BucketWriter(paths[1])
        until = self._cut_questions(asked, starts)
        asked.close()
        standing = self._cut_facts(moments, starts, until)
        has_facts = moments.close()
        slices = BucketReader(paths[0], list[tuple[Asker, JoinQuestion]])
        facts = BucketReader(paths[1], list[Numbered]) if has_facts else None
        for number in range(len(starts)):
            questions = (each for block in slices.read(number) for each in block)
            count = 0 if facts is None else facts.count(number)
            if standing is None or count + len(standing) > self._most:
                self._refuse(questions)
                continue
            near = [] if facts is None else [each for block in facts.read(number) for each in block]
            self._all(questions, sorted([*near, *standing], key=lambda each: each[0]))
        with disk_faults("remove", self._folder):
            for path in paths:
                path.unlink(missing_ok=True)

    def _starts(self) -> list[int]:
        """Where slices begin: as many items in each as memory may hold, as far as times differ."""
        lows, step = array("q"), 1
        for number, low in enumerate(self._lows()):
            if number % step == 0:
                lows.append(low)
                if len(lows) > MAX_SAMPLE:
                    lows, step = lows[::2], 2 * step
        ordered = sorted(lows)
        return sorted({ordered[0], *ordered[:: max(1, self._most // (2 * step))]})

    def _lows(self) -> Iterator[int]:
        joining = self._desk.joining
        for _, ask in self._questions():
            yield joining.window(ask)[0]
        for fact in self._facts():
            yield joining.extent(fact)[0]

    def _cut_questions(self, out: BucketWriter, starts: list[int]) -> list[int]:
        """Each question into its slice; for each slice, until when its questions and all before it look."""
        until = list(starts)
        for asker, ask in self._questions():
            low, high = self._desk.joining.window(ask)
            number = max(0, bisect_right(starts, low) - 1)
            until[number] = max(until[number], high)
            out.add(number, (asker, ask))
        return list(accumulate(until, max))

    def _cut_facts(self, out: BucketWriter, starts: list[int], until: list[int]) -> list[Numbered] | None:
        """Each fact into the slices it reaches; those that reach very many, or None if they are too many."""
        standing: list[Numbered] = []
        for number, fact in enumerate(self._facts()):
            low, high = self._desk.joining.extent(fact)
            first, last = bisect_left(until, low), bisect_right(starts, high)
            if last - first > MAX_SLICES_OF_FACT:
                standing.append((number, fact))
                if len(standing) > self._most:
                    return None
            else:
                for each in range(first, last):
                    out.add(each, (number, fact))
        return standing
