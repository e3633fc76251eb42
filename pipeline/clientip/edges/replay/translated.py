"""The first pass of a run: to which addresses in no system do its NAT logs translate?

It is over before the first line is walked, so every line of the run has the same answer in any order.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from clientip.edges.disk.files import Block, Broken
from clientip.edges.disk.inputs import PIPE
from clientip.edges.replay.plan import Chunk, ChunkReader, Plan, ReadLines, chunks_of
from clientip.engine import BLOCK_LINES, Engine, build
from clientip.errors import ConfigError, Fault
from clientip.formats import FORMATS
from clientip.joins.translated import MAX_TRANSLATED, undrawn_in
from clientip.model import Line, Outcome
from clientip.settings import Settings

_TOO_MANY = f"NAT logs translate to more than {MAX_TRANSLATED:,} addresses in no system; list their ranges in one"


def met_in(settings: Settings, plan: Plan, folder: Path | None = None, *, beginnings: bool = False) -> tuple[str, ...]:
    """The addresses, as sorted canonical text; `folder` holds what was fetched from topics.

    `beginnings`: only the first chunk of each log. Standard input is not read, because it cannot be read again.
    Errors: ConfigError for more than MAX_TRANSLATED addresses; SinkError if a file cannot be opened.
    """
    engine, met = build(settings), set[str]()
    for chunk in chunks_of(plan):
        setup = engine.sources[chunk.input.system].setup
        if FORMATS[setup.format].connections != "" or chunk.input.path == PIPE or (beginnings and chunk.start):
            continue
        for outcomes in _outcomes(settings, engine, plan, chunk, folder):
            met |= undrawn_in(outcomes)
            if len(met) > MAX_TRANSLATED:
                raise ConfigError([Fault("", f"systems.{chunk.input.system}.addresses", _TOO_MANY)])
    return tuple(sorted(met))


def _outcomes(
    settings: Settings, engine: Engine, plan: Plan, chunk: Chunk, folder: Path | None
) -> Iterator[list[Outcome]]:
    source = chunk.input
    if source.fetched is not None:
        from clientip.edges.replay.kafka_fetched import FetchedReader  # noqa: PLC0415 - files are read without it

        assert folder is not None
        for read in FetchedReader(settings, engine, chunk, folder).frames():
            if isinstance(read, ReadLines):
                yield list(read.outcomes)
        return
    reading = engine.reading(source.system, source.instance, walks_facts=False, rotated=True)
    for frame in ChunkReader(chunk, plan).frames():
        if isinstance(frame, Broken):
            return  # the run itself says so
        if isinstance(frame, Block):
            placed = [
                Line(raw, raw, source.fingerprint, offset, 0, None, source.instance) for raw, offset in frame.placed()
            ]
            for first in range(0, len(placed), BLOCK_LINES):
                yield reading.feed_all(placed[first : first + BLOCK_LINES])
