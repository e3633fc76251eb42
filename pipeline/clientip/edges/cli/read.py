"""`clientip read`: what a format sees in a file, without any trust."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from clientip.edges.disk.files import Block, Broken, RefusedFrame, beginning
from clientip.edges.disk.inputs import BEGINNING, PIPE, Input, fingerprint_of
from clientip.edges.replay.plan import Chunk, ChunkReader, Plan, ReplayOptions
from clientip.engine import Engine, LogSource, Reading
from clientip.errors import SinkError
from clientip.formats import FORMATS
from clientip.model import Endpoint, Fact, Heartbeat, Line, Observation, Outcome, Part, Record, Rejected, Setup, System

_TIMES: Final = ("start_ns", "start_latest_ns", "end_ns")


def read_rows(setup: Setup, wrapper: tuple[str, ...], path: str, line_bytes: int) -> Iterator[bytes]:
    """One JSON row per line of the file: an observation, or why there is none; parts give no row.

    Errors: ConfigError if the setup fits no reader, SinkError if the file cannot be read to its end.
    """
    engine = Engine(
        [System(name=setup.system, network=setup.network)], [LogSource(setup, wrapper)], line_bytes=line_bytes
    )
    source = _source(path, setup.system)
    framed = frozenset({setup.system}) if FORMATS[setup.format].framing == "length32" else frozenset[str]()
    plan = Plan(
        version="",
        rules="",
        digest="",
        options=ReplayOptions(),
        line_bytes=line_bytes,
        geo=(),
        inputs=(source,),
        framed=framed,
    )
    reading = engine.reading(setup.system)
    for frame in ChunkReader(Chunk(0, source), plan).frames():
        if isinstance(frame, Broken):
            raise SinkError(f"{path}: {frame.text}", retry=False)
        yield from map(_row, _outcomes(reading, frame, source.fingerprint))
    yield from map(_row, reading.end())


def _source(path: str, system: str) -> Input:
    if path == PIPE:
        return Input(PIPE, system, None, 0, "", "")
    head, packing = beginning(path, BEGINNING)
    return Input(path, system, None, Path(path).stat().st_size, packing, fingerprint_of(head, system, None, 0))


def _outcomes(reading: Reading, frame: Block | RefusedFrame, file: str) -> Iterator[Outcome]:
    if isinstance(frame, RefusedFrame):
        yield Rejected(Line(frame.head, frame.head, file, frame.offset), frame.reason, None, frame.detail)
        return
    for raw, offset in frame.placed():
        yield from (each for each in reading.feed(Line(raw, raw, file, offset)) if not isinstance(each, Part))


def _row(outcome: Outcome) -> bytes:
    record = outcome.record if isinstance(outcome, Fact) else outcome
    line = record.line
    place: dict[str, Any] = {"offset": line.offset}
    if line.index:
        place["index"] = line.index
    if isinstance(record, Record):
        return msgspec.json.encode(place | observed(record.observation))
    assert not isinstance(record, Part)
    if isinstance(record, Rejected):
        found = {"rejected": record.reason, "at": record.at, "detail": record.detail}
        return msgspec.json.encode(place | {key: value for key, value in found.items() if value is not None})
    if isinstance(record, Heartbeat):
        return msgspec.json.encode(place | {"mark": msgspec.to_builtins(record.numbered)})
    return msgspec.json.encode(place | {"skipped": record.reason})


def observed(seen: Observation) -> dict[str, Any]:
    """The observation in plain values: endpoints as text, times as decimal text, what was not said left out."""
    found: dict[str, Any] = {}
    for name in Observation.__struct_fields__:
        value = getattr(seen, name)
        if name == "setup" or value is None or value == () or value is False:
            continue
        if isinstance(value, Endpoint):
            found[name] = endpoint_text(value)
        elif name in _TIMES:
            found[name] = str(value)  # JSON readers lose digits above 2^53
        else:
            found[name] = _without_none(msgspec.to_builtins(value))
    return found


def endpoint_text(endpoint: Endpoint) -> str:
    """`ip:port`, brackets round IPv6; without a known port the address alone."""
    text = endpoint.address.text
    if endpoint.port is None:
        return text
    return f"[{text}]:{endpoint.port}" if endpoint.address.version == 6 else f"{text}:{endpoint.port}"


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: each for key, each in value.items() if each is not None and each != ()}
    return value
