"""Which questions of a join partition are still open: what a worker commits, and what the next one starts from.

Questions have running numbers, in the order in which they stand in the partition.  Each commit tells the numbers
closed since the last one; each 64th tells all that are open, as a bitmap in pieces.  The keys are few, so the topic
is compacted to about one bitmap.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from clientip.errors import FormatError
from clientip.joins.coverage import Run

EVERY: Final = 64  # commits from one whole picture to the next
PIECE: Final = 256 * 1024  # bytes of a bitmap in one message
RUNS: Final = 2_000  # stretches in one message, or those of one more witness
VERSION: Final = 1

WitnessRuns = tuple[str, str, tuple[Run, ...]]
"""(system, instance, stretches told whole)."""


class Closed(Struct, frozen=True, gc=False, array_like=True, tag="c"):
    """Numbers closed by one commit."""

    version: int
    commit: int
    numbers: tuple[int, ...]


class Whole(Struct, frozen=True, gc=False, array_like=True, tag="w"):
    """A piece of the whole picture after one commit."""

    version: int
    commit: int
    piece: int
    pieces: int
    first: int  # number of the bitmap's first bit, over all pieces
    end: int  # number after its last bit
    bits: bytes  # least bit first; 1: open
    runs: tuple[WitnessRuns, ...] = ()  # a part of what witnesses have told whole


class ChangelogEntry(NamedTuple):
    """One message of the state topic."""

    key: bytes
    value: bytes


class Standing(NamedTuple):
    """What is known of a partition at the last commit."""

    whole: Whole | None
    bits: bytes  # of all its pieces
    closed: frozenset[int]  # after the whole picture
    runs: tuple[WitnessRuns, ...]

    def is_open(self, number: int) -> bool:
        """Whether the question has not been answered yet."""
        if number in self.closed:
            return False
        if self.whole is None or number >= self.whole.end:
            return True
        at = number - self.whole.first
        return at >= 0 and bool(self.bits[at >> 3] >> (at & 7) & 1)


FRESH: Final = Standing(None, b"", frozenset(), ())

_ENCODE: Final = msgspec.msgpack.Encoder().encode
_DECODE: Final = msgspec.msgpack.Decoder(Closed | Whole).decode


def entries(
    commit: int, closed: Iterable[int], open_: Iterable[int], first: int, end: int, runs: Iterable[WitnessRuns]
) -> list[ChangelogEntry]:
    """The messages of one commit; numbers of open questions lie in [first, end)."""
    if commit % EVERY:
        return [ChangelogEntry(b"d%d" % (commit % EVERY), _ENCODE(Closed(VERSION, commit, tuple(sorted(closed)))))]
    bits = bytearray((end - first + 7) // 8)
    for number in open_:
        at = number - first
        bits[at >> 3] |= 1 << (at & 7)
    runs_of = _parted(runs)
    pieces = max(1, (len(bits) + PIECE - 1) // PIECE, len(runs_of))
    return [
        ChangelogEntry(
            b"w%d" % piece,
            _ENCODE(
                Whole(
                    VERSION,
                    commit,
                    piece,
                    pieces,
                    first,
                    end,
                    bytes(bits[piece * PIECE : (piece + 1) * PIECE]),
                    runs_of[piece] if piece < len(runs_of) else (),
                )
            ),
        )
        for piece in range(pieces)
    ]


def _parted(runs: Iterable[WitnessRuns]) -> list[tuple[WitnessRuns, ...]]:
    """What was told whole in parts that brokers take: a node that loses lines has hundreds of stretches."""
    parts: list[list[WitnessRuns]] = []
    count = RUNS
    for runs_of in runs:
        if count >= RUNS:
            parts.append([])
            count = 0
        parts[-1].append(runs_of)
        count += len(runs_of[2])
    return [tuple(part) for part in parts]


def standing(messages: Iterable[bytes], commit: int) -> Standing:
    """What the state topic says up to `commit`, the last one made; the messages in any order.

    Raises FormatError: `no_match` where a message is none of ours, `field_missing` where something is not there.

    >>> said = [each.value for each in [*entries(64, (), (7, 9), 7, 10, ()), *entries(65, (9,), (), 0, 0, ())]]
    >>> [standing(said, 65).is_open(number) for number in (7, 8, 9, 10)]
    [True, False, False, True]
    """
    try:
        read = [_DECODE(message) for message in messages]
    except (msgspec.MsgspecError, ValueError) as error:
        raise FormatError("no_match") from error
    last = commit - commit % EVERY
    pieces = {each.piece: each for each in read if isinstance(each, Whole) and each.commit == last}
    deltas = {each.commit: each for each in read if isinstance(each, Closed) and last < each.commit <= commit}
    if len(deltas) != commit - last or (last and (0 not in pieces or len(pieces) < pieces[0].pieces)):
        raise FormatError("field_missing")
    closed = frozenset(number for each in deltas.values() for number in each.numbers)
    if not last:
        return Standing(None, b"", closed, ())
    whole = [pieces[piece] for piece in range(pieces[0].pieces)]
    runs = tuple(runs_of for each in whole for runs_of in each.runs)
    return Standing(whole[0], b"".join(each.bits for each in whole), closed, runs)
