"""The plan of a run: inputs cut into chunks, in an order that no number of workers can change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple

from msgspec import Struct

from clientip.edges.disk.compression import Compression, packing_of, unpacked
from clientip.edges.disk.files import (
    BLOCK_BYTES,
    PACKED_BLOCK_BYTES,
    Frame,
    RawFile,
    before,
    lines,
    messages,
    pipe_blocks,
    with_few_blanks,
)
from clientip.edges.disk.inputs import PIPE, Input
from clientip.model import Outcome

CHUNK_BYTES: Final = 64 * 1024 * 1024
STDIN: Final = 0
# Longer than any part a container runtime writes (16 kB, at most sixfold by JSON escapes): no part is ever refused
# for its length, so a line in parts is never joined without one of them.
PART_BYTES: Final = 128 * 1024
NEVER_IN_PARTS: Final = frozenset({"syslog3164", "syslog5424", "filebeat", "compose"})  # wrappers of whole lines
SHARD_BYTES: Final = 8 * 1024 * 1024  # of input behind one shard of the join keys
SHARD_RANGE: Final = (4, 4096)
UNPACK_FACTOR: Final = 8  # a compressed file is taken for this many times as long


class ReplayOptions(Struct, frozen=True, kw_only=True):
    """What the operator asked for, as far as it shows in the bytes that are written."""

    output: str = "enriched"
    compress: Compression = "none"
    chunk_bytes: int = CHUNK_BYTES
    from_ns: int | None = None
    until_ns: int | None = None  # exclusive
    facts: bool = False
    to: str = ""  # the topic that gets the records; "": they stay in the folder


class Request(Struct, frozen=True):
    """One call of `clientip replay`."""

    config: tuple[Path, ...]
    inputs: tuple[str, ...] = ()  # none: the configured ones
    system: str | None = None
    options: ReplayOptions = ReplayOptions()
    workers: int | None = 1  # None: as many as pay
    restart: bool = False
    from_kafka: bool = False  # the topics of the systems are the inputs; also where an input is named kafka:TOPIC
    to_kafka: bool = False
    topic: str | None = None  # with `to_kafka`: what gets the records; None: the topics of the stream
    show_addresses: bool = False  # in the summary: whole ones of strangers, too
    strict: bool = False  # a system whose `inputs` match nothing is a fault; else a warning


class Plan(Struct, frozen=True, kw_only=True):
    """All that decides the bytes of a run; equal plans give equal bytes."""

    version: str
    rules: str  # digest of what decides; stands in every row
    digest: str  # of the whole configuration
    options: ReplayOptions
    line_bytes: int
    geo: tuple[str, ...]  # identity of each database
    inputs: tuple[Input, ...]
    framed: frozenset[str] = frozenset()  # systems that write a length before each message
    in_parts: frozenset[str] = frozenset()  # systems whose lines may come in parts
    unread: frozenset[str] = frozenset()  # systems whose log is not all here: their silence says nothing
    met: tuple[str, ...] = ()  # addresses in no system to which its NAT logs translate, sorted
    shards: int = 0  # over which join keys are spread; 0: no line can answer for another one


def shards_for(inputs: Iterable[Input]) -> int:
    """How many shards a run over these inputs gets: a function of them alone, so that no machine can tell."""
    fewest, most = SHARD_RANGE
    return max(fewest, min(most, size_of(inputs) // SHARD_BYTES))


def size_of(inputs: Iterable[Input]) -> int:
    """About how many bytes the inputs have once they are unpacked."""
    return sum(each.size * UNPACK_FACTOR if each.packing else each.size for each in inputs)


class Chunk(Struct, frozen=True):
    """The lines of one input that begin at `start` or later, and before `stop`."""

    number: int
    input: Input
    start: int = 0
    stop: int | None = None  # None: to the end
    cost: int = 0  # bytes to read from disk, for the progress


def chunks_of(plan: Plan) -> tuple[Chunk, ...]:
    """All chunks in input order; their numbers are their places."""
    pieces = ((each, *piece) for each in plan.inputs for piece in _pieces(each, plan))
    return tuple(Chunk(number, *piece) for number, piece in enumerate(pieces))


def _pieces(each: Input, plan: Plan) -> Iterator[tuple[int, int | None, int]]:
    # Lines in parts: only from the beginning can one tell a line from the tail of a longer one, and a tail that
    # passes for a line would be an attacker's to write. Container runtimes rotate long before a chunk is full.
    enterable = not each.packing and each.system not in plan.framed | plan.in_parts
    step = plan.options.chunk_bytes
    if not enterable or each.size <= step:
        yield 0, None, each.size
        return
    for start in range(0, each.size, step):
        stop = start + step
        yield start, (stop if stop < each.size else None), min(step, each.size - start)


class ReadLines(NamedTuple):
    """Lines that have been read already."""

    outcomes: Sequence[Outcome]
    were_parts: bool  # whether they came before, as parts whose end never came


class ChunkReader:
    """Reads the frames of one chunk; `position` is how far into the file on disk."""

    def __init__(self, chunk: Chunk, plan: Plan) -> None:
        self._chunk, self._framed = chunk, chunk.input.system in plan.framed
        in_parts = chunk.input.system in plan.in_parts
        self._limit = max(plan.line_bytes, PART_BYTES) if in_parts else plan.line_bytes
        # One byte earlier: only a line end there tells that a line begins at the start.
        self._raw = RawFile(chunk.input.path, max(0, chunk.start - 1), chunk.input.size)
        self._piped = 0  # bytes that came from the pipe

    @property
    def position(self) -> int:
        return self._raw.position

    def frames(self) -> Iterator[Frame]:
        """The frames that begin in the chunk, the last one to its end."""
        return with_few_blanks(self._frames(), lambda: self._raw.position + self._piped)

    def _frames(self) -> Iterator[Frame]:
        chunk, limit, packing = self._chunk, self._limit, self._chunk.input.packing
        size = min(BLOCK_BYTES, limit)
        raw = self._raw.blocks(PACKED_BLOCK_BYTES if packing else size)
        if chunk.input.path == PIPE:
            raw = self._counted(pipe_blocks(STDIN, size))
            first = next(raw, b"")
            raw, packing = chain([first], raw), packing_of(first)
        blocks = unpacked(raw, packing, size)
        if self._framed:
            return messages(blocks, 0, limit)
        frames = lines(blocks, self._raw.position, limit, inside=chunk.start > 0)
        return frames if chunk.stop is None else before(frames, chunk.stop)

    def _counted(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        for block in blocks:
            self._piped += len(block)
            yield block


def differences(old: Plan, new: Plan) -> list[str]:
    """Why a run cannot be resumed under another plan, in words."""
    found = []
    if (old.digest, old.version) != (new.digest, new.version):
        found.append("the configuration or the program has changed")
    found += [
        f"{name} was {getattr(old.options, name)!r}, is {getattr(new.options, name)!r}"
        for name in ReplayOptions.__struct_fields__
        if getattr(old.options, name) != getattr(new.options, name)
    ]
    if old.geo != new.geo:
        found.append("a geo database has been replaced")
    before, after = ({each.path: each for each in plan.inputs} for plan in (old, new))
    found += [f"{path} is gone" for path in before if path not in after]
    found += [f"{path} is new" for path in after if path not in before]
    found += [f"{path} has changed" for path in before if path in after and before[path] != after[path]]
    if not found and old != new:
        found.append("the order of the inputs has changed")
    return found
