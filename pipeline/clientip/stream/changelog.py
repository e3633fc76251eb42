"""The changelog: which questions of a join partition are still open, as a worker commits it and the next one reads it.

Questions have running numbers, in the order in which they stand in the partition. Each commit writes the numbers
that were closed since the last one; each 64th writes all numbers that are open, as a bitmap in pieces. There are few
keys, so compaction leaves little more than one bitmap in the topic.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from clientip.errors import FormatError
from clientip.joins.coverage import Run
from clientip.stream.holes import HoleNews

COMMITS_PER_BITMAP: Final = 64
MAX_BITMAP_BYTES: Final = 256 * 1024  # of one piece: one message
MAX_RUNS_PER_PIECE: Final = 2_000  # or all runs of one witness, if that is more
VERSION: Final = 2  # 2: `BitmapPiece.holes`

WitnessRuns = tuple[str, str, tuple[Run, ...]]
"""(system, instance, stretches without a missing line)."""


class ClosedNumbers(Struct, frozen=True, gc=False, array_like=True, tag="c"):
    """The questions that one commit closed."""

    version: int
    commit: int
    numbers: tuple[int, ...]


class BitmapPiece(Struct, frozen=True, gc=False, array_like=True, tag="w"):
    """A piece of the bitmap of all open questions after one commit."""

    version: int
    commit: int
    piece: int
    pieces: int
    first: int  # number of the bitmap's first bit, over all pieces
    end: int  # number after its last bit
    bits: bytes  # least bit first; 1: open
    runs: tuple[WitnessRuns, ...] = ()  # a part of the runs of all witnesses
    holes: tuple[HoleNews, ...] = ()  # of all witnesses; in the first piece


class ChangelogEntry(NamedTuple):
    """One message of the state topic."""

    key: bytes
    value: bytes


class CommittedState(NamedTuple):
    """What the changelog says of a partition at the last commit."""

    last: BitmapPiece | None  # the first piece of the last bitmap; None: there is none yet
    bits: bytes  # of all its pieces
    closed: frozenset[int]  # numbers of questions closed after the last bitmap
    runs: tuple[WitnessRuns, ...]
    holes: tuple[HoleNews, ...] = ()

    def is_open(self, number: int) -> bool:
        """Whether the question has not left yet."""
        if number in self.closed:
            return False
        if self.last is None or number >= self.last.end:
            return True
        at = number - self.last.first
        return at >= 0 and bool(self.bits[at >> 3] >> (at & 7) & 1)


NOTHING_COMMITTED: Final = CommittedState(None, b"", frozenset(), ())

_ENCODE: Final = msgspec.msgpack.Encoder().encode
_DECODE: Final = msgspec.msgpack.Decoder(ClosedNumbers | BitmapPiece).decode


def entries(
    commit: int,
    closed: Iterable[int],
    open_: Iterable[int],
    first: int,
    end: int,
    runs: Iterable[WitnessRuns],
    holes: Iterable[HoleNews] = (),
) -> list[ChangelogEntry]:
    """The messages of one commit; the numbers of open questions lie in [first, end)."""
    turn = commit % COMMITS_PER_BITMAP
    if turn:
        numbers = ClosedNumbers(VERSION, commit, tuple(sorted(closed)))
        return [ChangelogEntry(b"d%d" % turn, _ENCODE(numbers))]
    bits = bytearray((end - first + 7) // 8)
    for number in open_:
        at = number - first
        bits[at >> 3] |= 1 << (at & 7)
    cut = [bytes(bits[at : at + MAX_BITMAP_BYTES]) for at in range(0, len(bits), MAX_BITMAP_BYTES)]
    runs_of = _in_pieces(runs)
    count = max(1, len(cut), len(runs_of))
    cut += [b""] * (count - len(cut))
    runs_of += [()] * (count - len(runs_of))
    missing = [tuple(holes), *[()] * (count - 1)]
    pieces = (BitmapPiece(VERSION, commit, n, count, first, end, cut[n], runs_of[n], missing[n]) for n in range(count))
    return [ChangelogEntry(b"w%d" % each.piece, _ENCODE(each)) for each in pieces]


def _in_pieces(runs: Iterable[WitnessRuns]) -> list[tuple[WitnessRuns, ...]]:
    """The runs in parts that brokers accept: a node that loses lines has hundreds of runs."""
    parts: list[list[WitnessRuns]] = []
    count = MAX_RUNS_PER_PIECE
    for runs_of in runs:
        if count >= MAX_RUNS_PER_PIECE:
            parts.append([])
            count = 0
        parts[-1].append(runs_of)
        count += len(runs_of[2])
    return [tuple(part) for part in parts]


def committed_state(messages: Iterable[bytes], commit: int) -> CommittedState:
    """What the state topic says up to `commit`, the last one made; the messages in any order.

    Raises FormatError: `no_match` if a message is none of ours, `field_missing` if a message is missing.

    >>> written = [*entries(64, (), (7, 9), 7, 10, ()), *entries(65, (9,), (), 0, 0, ())]
    >>> state = committed_state([each.value for each in written], 65)
    >>> [state.is_open(number) for number in (7, 8, 9, 10)]
    [True, False, False, True]
    """
    try:
        read = [_DECODE(message) for message in messages]
    except (msgspec.MsgspecError, ValueError) as error:
        raise FormatError("no_match") from error
    last = commit - commit % COMMITS_PER_BITMAP
    pieces = {each.piece: each for each in read if isinstance(each, BitmapPiece) and each.commit == last}
    deltas = {each.commit: each for each in read if isinstance(each, ClosedNumbers) and last < each.commit <= commit}
    if len(deltas) != commit - last or (last and (0 not in pieces or len(pieces) < pieces[0].pieces)):
        raise FormatError("field_missing")
    closed = frozenset(number for each in deltas.values() for number in each.numbers)
    if not last:
        return CommittedState(None, b"", closed, ())
    bitmap = [pieces[piece] for piece in range(pieces[0].pieces)]
    runs = tuple(runs_of for each in bitmap for runs_of in each.runs)
    return CommittedState(bitmap[0], b"".join(each.bits for each in bitmap), closed, runs, bitmap[0].holes)
