"""`clientip explain`: how one record came about, from the line itself or found among the inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from pipeline.config import Settings
from pipeline.edges.chunks import Reader, chunks_of
from pipeline.edges.files import Block, Broken
from pipeline.edges.replay import Request, plan_of
from pipeline.engine import build
from pipeline.errors import ConfigError, Fault, SinkError
from pipeline.explain import explain
from pipeline.model import Fact, Line, Outcome, Record, Rejected, Skipped
from pipeline.outputs import OUTPUTS
from pipeline.reasons import REJECTED, SKIPPED

Wanted = Callable[[Record], bool]


def outcomes_of_text(settings: Settings, system: str, text: bytes) -> Iterator[Outcome]:
    """What the engine makes of one line of a system's log."""
    readable = [each.system.name for each in settings.systems if each.setup is not None]
    if system not in readable:
        text_of_fault = f"{system!r} is no system with a format; there are: {', '.join(readable)}"
        raise ConfigError([Fault("", "--system", text_of_fault)])
    reading = build(settings).reading(system)
    yield from reading.feed(Line(text, text))
    yield from reading.end()


def find_records(settings: Settings, request: Request, wanted: Wanted, warn: Callable[[str], None]) -> Iterator[Record]:
    """The records of the request's inputs that are wanted, translations and connections among them."""
    plan, engine = plan_of(request, settings, warn), build(settings)
    for chunk in chunks_of(plan):
        source = chunk.input
        reading = engine.reading(source.system, source.instance)
        for frame in Reader(chunk, plan).frames():
            if isinstance(frame, Broken):
                raise SinkError(f"{source.path}: {frame.text}", retry=False)
            if isinstance(frame, Block):
                for raw, offset in frame.placed():
                    line = Line(raw, raw, source.fingerprint, offset, 0, None, source.instance)
                    yield from filter(wanted, _records(reading.feed(line)))


def _records(outcomes: Sequence[Outcome]) -> Iterator[Record]:
    for outcome in outcomes:
        if isinstance(outcome, Record):
            yield outcome
        elif isinstance(outcome, Fact):
            yield outcome.record


def with_id(record_id: str) -> Wanted:
    """Records with this id."""
    return lambda record: record.record_id == record_id


def with_trace(trace: str) -> Wanted:
    """Records that carry this trace id, or this request id."""

    def wanted(record: Record) -> bool:
        ids = record.observation.ids
        return ids is not None and (ids.trace == trace or any(value == trace for _, value in ids.requests))

    return wanted


def told(outcome: Outcome, rules: str, *, as_json: bool) -> str:
    """One outcome for the terminal of whoever asked."""
    record = outcome.record if isinstance(outcome, Fact) else outcome
    if isinstance(record, Record):
        return OUTPUTS["record"](record, rules).decode() if as_json else explain(record).rstrip()
    if isinstance(record, Rejected):
        reason = REJECTED[record.reason]
        place = "" if record.at is None else f" at byte {record.at}"
        detail = "" if record.detail is None else f" ({record.detail})"
        return f"rejected: {record.reason}{place}{detail}: {reason.meaning}; {reason.remedy}"
    if isinstance(record, Skipped):
        return f"skipped: {record.reason}: {SKIPPED[record.reason].meaning}"
    return "a part of a longer line"
