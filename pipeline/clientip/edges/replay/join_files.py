"""What a replay with joins keeps on disk between its stages: nouns, and the names of their files.

A *hole* is the place of a row whose line still asks; questions and facts wait in buckets by the hash of
their key, answers in buckets by the *sheet* (a bounded number of holes of one chunk) that asked.
"""

from __future__ import annotations

import os
from itertools import compress
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct
from xxhash import xxh3_64_intdigest

from clientip.edges.disk.parts import disk_faults, part_path, replace_file, temporary
from clientip.edges.disk.spill import BlockWriter, BucketWriter, damaged
from clientip.edges.replay.plan import Plan
from clientip.joins.coverage import Run
from clientip.joins.facts import JoinFact, JoinQuestion
from clientip.joins.holes import LogPart
from clientip.pending import Pending
from clientip.trust.answers import Awaits, Known, Refused, Through

SHEET_HOLES: Final = 50_000  # holes whose answers are in memory at a time

ROWS: Final = "rows"  # of a chunk: what needed no answer
RUNS: Final = "runs"
ROUND: Final = "round"


def holes(number: int) -> str:
    """The part with the holes that a round begins with."""
    return f"holes.{number}"


def asked(number: int) -> str:
    """The part with a round's questions, by shard."""
    return f"asked.{number}"


def facts(number: int) -> str:
    """The part with facts, by shard: 0 of lines as they were read, else of lines whose walk ended in that round."""
    return f"facts.{number}"


def answers(number: int) -> str:
    """The part of a shard with a round's answers, by sheet."""
    return f"answers.{number}"


def filled(number: int) -> str:
    """The part with the rows that a round led to, by hole."""
    return f"filled.{number}"


class Hole(Struct, frozen=True, gc=False, array_like=True):
    """The place of a row whose line is pending."""

    number: int  # its place among the holes of its chunk
    position: int  # where its row belongs among the bytes of the rows
    shown: bool  # False: out of the range asked for; others may wait for it
    pending: Pending


class Filled(Struct, frozen=True, gc=False, array_like=True):
    """The row of a hole."""

    number: int
    position: int
    row: bytes


class SpilledFact(Struct, frozen=True, gc=False, array_like=True):
    """A fact as it waits; `body` is a `JoinFact`, left packed until a question has its key."""

    hash: int
    body: msgspec.Raw


class SpilledQuestion(Struct, frozen=True, gc=False, array_like=True):
    """A question as it waits; `body` is an `JoinQuestion`."""

    hash: int
    number: int  # of the hole
    body: msgspec.Raw


SpilledReply = tuple[int, Through | Known | Refused | Awaits]
"""(number of the hole, what it is told)."""

Runs = tuple[str, str, list[Run], LogPart | None]
"""(system, instance, its runs, what the chunk shows of its order where the log's word counts)."""


class Round(Struct, frozen=True):
    """What a round works on: written by the parent, read by every task of the round."""

    sheets: tuple[int, ...]  # of each chunk: number of its first sheet
    asked: tuple[int, ...]  # chunks with questions
    fact_parts: tuple[tuple[int, int], ...]  # (chunk, round) of each part with facts


class Sinks(NamedTuple):
    """The parts in which a task leaves what waits; their names are in the order of the files."""

    names: tuple[str, str, str, str]
    holes: BlockWriter
    asked: BucketWriter
    facts: BucketWriter
    last: BlockWriter  # runs of a chunk that was read, rows of one that went on

    def close(self) -> tuple[str, ...]:
        """End the files; the names of those that hold anything."""
        return tuple(
            compress(self.names, (self.holes.close(), self.asked.close(), self.facts.close(), self.last.close()))
        )


def open_sinks(folder: Path, chunk: int, names: tuple[str, str, str, str]) -> Sinks:
    """Temporary parts named after this process; the caller renames them."""
    with disk_faults("write", folder):
        paths = [temporary(folder, chunk, name, os.getpid()) for name in names]
        writers = BucketWriter(paths[1]), BucketWriter(paths[2])
        return Sinks(names, BlockWriter(paths[0]), *writers, BlockWriter(paths[3]))


class Spill:
    """Questions and facts of one chunk on their way to the shards.

    The seed of the hash is the operator's own, so that a client that chooses ids cannot choose their shard.
    """

    def __init__(self, plan: Plan) -> None:
        self._shards, self._seed = plan.shards, int(plan.rules[:16] or "0", 16)

    def ask(self, out: BucketWriter, number: int, question: JoinQuestion) -> None:
        """The question of a hole."""
        key = xxh3_64_intdigest(question.key.encode(), self._seed)
        out.add(key % self._shards, (key, number, question))

    def tell(self, out: BucketWriter, fact: JoinFact) -> None:
        """A fact, for the questions under its key."""
        key = xxh3_64_intdigest(fact.key.encode(), self._seed)
        out.add(key % self._shards, (key, fact))


def write_struct(path: Path, value: object) -> None:
    """A small file, there whole or not at all."""
    replace_file(path, msgspec.msgpack.encode(value))


def round_path(folder: Path, number: int) -> Path:
    """Where a round's `Round` lies."""
    return part_path(folder, number, ROUND)


def read_round(folder: Path, number: int) -> Round:
    """What the parent wrote for this round."""
    path = round_path(folder, number)
    with disk_faults("read", path):
        data = path.read_bytes()
    try:
        return msgspec.msgpack.decode(data, type=Round)
    except msgspec.DecodeError as error:
        raise damaged(path) from error
