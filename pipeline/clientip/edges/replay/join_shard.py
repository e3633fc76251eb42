"""One shard of a round: questions and facts of all chunks under its keys, together; answers out, by who asked.

The shard is worked through in as many passes over its blocks as keep what is in memory within `ITEMS`.  How it is
cut depends on the items alone, so the answers do too.
"""

from __future__ import annotations

import gc
import os
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from clientip.edges.disk.parts import disk_faults, part_path, temporary
from clientip.edges.disk.spill import BucketReader, BucketWriter, read_blocks
from clientip.edges.replay.join_files import (
    RUNS,
    SHEET_HOLES,
    Runs,
    SpilledFact,
    SpilledQuestion,
    answers,
    asked,
    facts,
    read_round,
)
from clientip.edges.replay.join_heavy_key import Asker, Heavy
from clientip.edges.replay.join_slices import Desk, answered
from clientip.edges.replay.plan import Chunk
from clientip.joins.coverage import Coverage, Run, Witness
from clientip.joins.facts import JoinFact, JoinQuestion
from clientip.joins.holes import LogPart
from clientip.joins.join import Joining
from clientip.trust.answers import Answer, Awaits

PIECES: Final = 1024  # into which a shard is counted when it is too large

Wanted = Callable[[int], bool]
"""Whether a key, by its hash, is part of this pass."""


class Answered(Struct, frozen=True, tag="answered"):
    """A finished shard of a round."""

    round: int
    unit: int
    settled: int  # questions that got an answer
    process_id: int
    parts: tuple[str, ...]


def coverage_of(joining: Joining, folder: Path, chunks: Sequence[Chunk], unread: Iterable[str]) -> Coverage:
    """What the witnesses told whole, by all chunks together; the logs of systems `unread` were not all read."""
    found: dict[Witness, list[Run]] = defaultdict(list)
    parts: dict[tuple[str, str, str], list[LogPart]] = defaultdict(list)
    for chunk in chunks:
        path = part_path(folder, chunk.number, RUNS)
        if path.exists():
            for block in read_blocks(path, list[Runs]):
                for system, instance, runs, part in block:
                    found[system, instance] += runs
                    if part is not None:
                        parts[system, instance, chunk.input.path].append(part)
    logs = ((system, instance, of_file) for (system, instance, _), of_file in parts.items())
    return joining.coverage(found, logs, unread)


def answer_shard(desk: Desk, folder: Path, round_number: int, shard: int) -> Answered:
    """Answer a shard's questions into a temporary part named after this process; the caller renames it."""
    with disk_faults("write", folder):
        out = BucketWriter(temporary(folder, shard, answers(round_number), os.getpid()))
    work = _Shard(desk, folder, round_number, shard, out)
    work.run()
    kept = (answers(round_number),) if out.close() else ()
    return Answered(round_number, shard, out.items, os.getpid(), kept)


class _Shard:
    def __init__(self, desk: Desk, folder: Path, round_number: int, shard: int, out: BucketWriter) -> None:
        self._desk, self._folder, self._shard, self._out = desk, folder, shard, out
        self._round, self._number = read_round(folder, round_number), round_number
        self._asked = msgspec.msgpack.Decoder(JoinQuestion).decode
        self._unpacked_fact = msgspec.msgpack.Decoder(JoinFact).decode

    def run(self) -> None:
        for hashes in self._passes():
            if isinstance(hashes, int):
                self._heavy(hashes)
            else:
                with _uncollected():
                    self._pass(hashes)

    def _questions(self) -> Iterator[tuple[int, list[SpilledQuestion]]]:
        for chunk in self._round.asked:
            reader = BucketReader(part_path(self._folder, chunk, asked(self._number)), list[SpilledQuestion])
            for block in reader.read(self._shard):
                yield chunk, block

    def _facts(self) -> Iterator[list[SpilledFact]]:
        for chunk, number in self._round.fact_parts:
            yield from BucketReader(part_path(self._folder, chunk, facts(number)), list[SpilledFact]).read(self._shard)

    def _size(self) -> int:
        size = 0
        for chunk in self._round.asked:
            path = part_path(self._folder, chunk, asked(self._number))
            size += BucketReader(path, list[SpilledQuestion]).count(self._shard)
        if not size:
            return 0
        for chunk, number in self._round.fact_parts:
            size += BucketReader(part_path(self._folder, chunk, facts(number)), list[SpilledFact]).count(self._shard)
        return size

    def _passes(self) -> Iterator[Wanted | int]:
        """What to take in each pass: keys by their hashes, or a single hash that is too much for one pass."""
        size, most = self._size(), self._desk.items
        if size == 0:
            return
        if size <= most:
            yield lambda _: True
            return
        pieces = array("Q", bytes(8 * PIECES))
        for _, questions in self._questions():
            for question in questions:
                pieces[_piece(question.hash)] += 1
        asked_for = [bool(count) for count in pieces]
        for told_facts in self._facts():
            for fact in told_facts:
                piece = _piece(fact.hash)
                if asked_for[piece]:
                    pieces[piece] += 1
        for group in _grouped(pieces, most):
            if group.size <= most:
                low, high = group.first, group.last
                yield lambda key, low=low, high=high: low <= _piece(key) <= high  # type: ignore[misc]
            else:
                yield from self._within(group.first, most)

    def _within(self, piece: int, most: int) -> Iterator[Wanted | int]:
        """The same for one piece that is too large: key by key."""
        counts: Counter[int] = Counter()
        for _, questions in self._questions():
            counts.update(each.hash for each in questions if _piece(each.hash) == piece)
        for told_facts in self._facts():
            counts.update(each.hash for each in told_facts if each.hash in counts)
        keys = sorted(counts)
        for group in _grouped(array("Q", (counts[key] for key in keys)), most):
            if group.size <= most:
                yield frozenset(keys[group.first : group.last + 1]).__contains__
            else:
                yield keys[group.first]

    def _pass(self, wanted: Wanted) -> None:
        """Answer all questions under the wanted keys."""
        questions: dict[str, tuple[list[Asker], list[JoinQuestion]]] = {}
        hashes: set[int] = set()
        for chunk, block in self._questions():
            for each in block:
                if wanted(each.hash):
                    question = self._asked(each.body)
                    hashes.add(each.hash)
                    held = questions.get(question.key)
                    if held is None:
                        held = questions[question.key] = [], []
                    held[0].append((chunk, each.number))
                    held[1].append(question)
        under: dict[str, list[JoinFact]] = defaultdict(list)
        for told_facts in self._facts():
            for fact in told_facts:
                if fact.hash in hashes:
                    one = self._unpacked_fact(fact.body)
                    under[one.key].append(one)
        desk = self._desk
        for key, (askers, ask) in questions.items():
            said = answered(desk, key, under.get(key, ()), ask)
            for asker, answer in zip(askers, said, strict=True):
                if answer is not None:
                    self._reply(asker, answer)

    def _reply(self, asker: Asker, answer: Answer | Awaits) -> None:
        chunk, number = asker
        self._out.add(self._round.sheets[chunk] + number // SHEET_HOLES, (number, answer))

    def _heavy(self, key: int) -> None:
        """Answer the questions under a key that alone is too much for one pass."""

        def questions() -> Iterator[tuple[Asker, JoinQuestion]]:
            for chunk, block in self._questions():
                for each in block:
                    if each.hash == key:
                        yield (chunk, each.number), self._asked(each.body)

        def told_facts() -> Iterator[JoinFact]:
            for block in self._facts():
                for each in block:
                    if each.hash == key:
                        yield self._unpacked_fact(each.body)

        Heavy(self._desk, questions, told_facts, self._reply, (self._folder, self._shard)).answer()


@contextmanager
def _uncollected() -> Iterator[None]:
    """Many objects and no cycles among them: a sixth of the time would go into looking for any."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


class _Group(NamedTuple):
    first: int
    last: int
    size: int


def _grouped(sizes: array[int], most: int) -> Iterator[_Group]:
    """Neighbours put together as long as they are not too large together; what is too large alone stays alone."""
    first, total = 0, 0
    for number, size in enumerate(sizes):
        if total and total + size > most:
            yield _Group(first, number - 1, total)
            total = 0
        first = first if total else number
        total += size
    if total:
        yield _Group(first, len(sizes) - 1, total)


def _piece(key: int) -> int:
    return (key >> 32) % PIECES
