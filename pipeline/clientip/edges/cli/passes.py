"""Every line of a plan's inputs, again and again: for questions whose answer decides what to look for next."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec.structs import replace

from clientip.edges.disk.files import Block, Broken
from clientip.edges.disk.inputs import PIPE, Input
from clientip.edges.replay.plan import ChunkReader, Plan, Request, chunks_of
from clientip.edges.replay.run import plan_of
from clientip.engine import BLOCK, Engine
from clientip.errors import ConfigError, SinkError
from clientip.model import Line, Outcome
from clientip.settings import Settings


def outcomes_of(engine: Engine, plan: Plan) -> Iterator[Outcome]:
    """What the engine makes of every line of the inputs, in their order.

    Errors: SinkError if an input cannot be read to its end.
    """
    for chunk in chunks_of(plan):
        source = chunk.input
        reading = engine.reading(source.system, source.instance)
        for frame in ChunkReader(chunk, plan).frames():
            if isinstance(frame, Broken):
                raise SinkError(f"{source.path}: {frame.text}", retry=False)
            if isinstance(frame, Block):
                placed = list(frame.placed())
                for start in range(0, len(placed), BLOCK):
                    some = placed[start : start + BLOCK]
                    yield from reading.feed_all([_line(source, raw, offset) for raw, offset in some])
        yield from reading.end()


def _line(source: Input, raw: bytes, offset: int) -> Line:
    return Line(raw, raw, source.fingerprint, offset, 0, None, source.instance)


def whole_plan(settings: Settings, request: Request, named: Plan | None, warn: Callable[[str], None]) -> Plan | None:
    """All inputs that can answer: the configured ones, and beside them what the call names; None: there are none."""
    try:
        plan = plan_of(Request(request.config), settings, lambda _: None)
    except ConfigError as error:
        warn(f"no other log can be asked: {error.faults[0].text}")
        if named is None:
            return None
        plan = replace(named, inputs=())
    known = {each.path for each in plan.inputs} | {PIPE}
    added = () if named is None else tuple(each for each in named.inputs if each.path not in known)
    plan = replace(plan, inputs=(*plan.inputs, *added))
    return plan if plan.inputs else None
