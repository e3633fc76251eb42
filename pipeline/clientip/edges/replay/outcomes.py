"""Every line of a plan's inputs through the engine, in this process and in their order."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from clientip.edges.disk.files import Block, Broken, RefusedFrame
from clientip.edges.disk.inputs import Input
from clientip.edges.replay.plan import Chunk, ChunkReader, Plan, chunks_of
from clientip.engine import BLOCK_LINES, Engine, Reading
from clientip.errors import SinkError
from clientip.joins.holes import LogOrders
from clientip.model import Line, Outcome, Rejected


def outcomes_of(
    engine: Engine, plan: Plan, *, walks_facts: bool = True, orders: LogOrders | None = None
) -> Iterator[Outcome]:
    """What the engine makes of every line of the inputs; `walks_facts` as in `Engine.reading`.

    `orders` sees every line, to find the holes of the logs.  Errors: SinkError if an input cannot be read to its end.
    """
    for chunk in chunks_of(plan):
        source = chunk.input
        for outcome in _of_chunk(engine, chunk, plan, walks_facts=walks_facts):
            if orders is not None:
                orders.see(source.system, source.instance or "", source.path, outcome)
            yield outcome


def _of_chunk(engine: Engine, chunk: Chunk, plan: Plan, *, walks_facts: bool) -> Iterator[Outcome]:
    source = chunk.input
    rotated = source.fetched is None
    reading = engine.reading(source.system, source.instance, walks_facts=walks_facts, rotated=rotated)
    for frame in ChunkReader(chunk, plan).frames():
        if isinstance(frame, Broken):
            raise SinkError(f"{source.path}: {frame.text}", retry=False)
        if isinstance(frame, RefusedFrame):
            yield Rejected(_line(source, frame.head, frame.offset), frame.reason, None, frame.detail)
        else:
            yield from _fed(reading, source, frame)
    yield from reading.end()


def _fed(reading: Reading, source: Input, block: Block) -> Iterator[Outcome]:
    placed = list(block.placed())
    for first in range(0, len(placed), BLOCK_LINES):
        some = placed[first : first + BLOCK_LINES]
        lines = [_line(source, raw, offset) for raw, offset in some]
        yield from reading.feed_all([replace(lines[0], unended=True)] if block.unended else lines)


def _line(source: Input, raw: bytes, offset: int) -> Line:
    return Line(raw, raw, source.fingerprint, offset, 0, None, source.instance)
