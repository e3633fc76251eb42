"""`clientip read`: what a format sees in a file, without any trust."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from clientip.edges.cli.exits import warn
from clientip.edges.cli.guess import LINE_BYTES, filled
from clientip.edges.cli.options import WIDE, one_of
from clientip.edges.disk.files import Block, Broken, RefusedFrame, beginning
from clientip.edges.disk.inputs import FINGERPRINT_BYTES, PIPE, Begun, Input, fingerprints
from clientip.edges.replay.plan import Chunk, ChunkReader, Plan, ReplayOptions
from clientip.engine import Engine, LogSource, Reading
from clientip.errors import ConfigError, Fault, SinkError
from clientip.formats import FORMATS
from clientip.framing.wrappers import WRAPPERS, is_relayed
from clientip.model import (
    Endpoint,
    Fact,
    Heartbeat,
    Line,
    LogsPeer,
    Observation,
    Outcome,
    Part,
    Record,
    Rejected,
    Setup,
    System,
)

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
    reading = engine.reading(setup.system, rotated=True)
    for frame in ChunkReader(Chunk(0, source), plan).frames():
        if isinstance(frame, Broken):
            raise SinkError(f"{path}: {frame.text}", retry=False)
        yield from map(_row, _outcomes(reading, frame, source.fingerprint))
    yield from map(_row, reading.end())


def _source(path: str, system: str) -> Input:
    if path == PIPE:
        return Input(PIPE, system, None, 0, "", "")
    head, packing = beginning(path, FINGERPRINT_BYTES)
    [name] = fingerprints([Begun(path, system, None, head)])
    return Input(path, system, None, Path(path).stat().st_size, packing, name)


def _outcomes(reading: Reading, frame: Block | RefusedFrame, file: str) -> Iterator[Outcome]:
    if isinstance(frame, RefusedFrame):
        yield Rejected(Line(frame.head, frame.head, file, frame.offset), frame.reason, None, frame.detail)
        return
    for raw, offset in frame.placed():
        line = Line(raw, raw, file, offset, unended=frame.unended)
        yield from (each for each in reading.feed(line) if not isinstance(each, Part))


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


@click.command("read", context_settings=WIDE)
@click.argument("file", type=click.Path(allow_dash=True))
@click.option("--format", "format_", metavar="NAME", required=True, help="`clientip help formats` lists them.")
@click.option("--pattern", metavar="TEXT", help="The server's log format string, or a known one's name.")
@click.option("--escape", metavar="WORD", help="nginx: default, json or none.")
@click.option("--logs-peer", metavar="WORD", help="What the logged peer is: socket, proxy or realip.")
@click.option("--timezone", metavar="ZONE", help="IANA name, for stamps without a zone.")
@click.option("--wrapper", metavar="NAME", multiple=True, help="Outermost first; may be repeated.")
@click.option("--capture", metavar="HEADER", multiple=True, help="HAProxy: a captured header, in order.")
@click.option("--option", metavar="KEY=VALUE", multiple=True, help="An option of the format; may be repeated.")
@click.option("--network", metavar="NAME", default="default", help="The network of the addresses.")
@click.option(
    "--line-bytes", metavar="BYTES", type=click.IntRange(min=256), default=LINE_BYTES, help="The longest line."
)
def command(
    file: str,
    format_: str,
    pattern: str | None,
    escape: str | None,
    logs_peer: str | None,
    timezone: str | None,
    wrapper: tuple[str, ...],
    capture: tuple[str, ...],
    option: tuple[str, ...],
    network: str,
    line_bytes: int,
) -> None:
    """Print what a format sees in a log, one JSON row per line, without any trust.

    FILE is a log file, or - for standard input. Pattern, wrapper, zone and logged peer are guessed from the file if
    they are not given; standard error says how.
    """
    wrappers = tuple(one_of("--wrapper", name, tuple(WRAPPERS)) for name in wrapper)
    setup = Setup(
        system="read",
        format=one_of("--format", format_, tuple(FORMATS)),
        network=network,
        pattern=pattern,
        escape=escape,
        logs_peer=_logs_peer(logs_peer),
        timezone=timezone,
        captures=capture,
        relayed=is_relayed(wrappers),
        options=tuple(_pair(text) for text in option),
    )
    chosen = filled(setup, wrappers, None if file == PIPE else file)
    if chosen.beside(setup, wrappers):
        warn(f"not said, and taken from the look of it: {chosen.beside(setup, wrappers)}")
    for row in read_rows(chosen.setup or setup, chosen.wrapper, file, line_bytes):
        sys.stdout.buffer.write(row + b"\n")


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign:
        raise ConfigError([Fault("", "--option", f"{text!r} has no value; write KEY=VALUE")])
    return key, value


def _logs_peer(given: str | None) -> LogsPeer | None:
    match given:
        case None | "socket" | "proxy" | "realip":
            return given
    raise ConfigError([Fault("", "--logs-peer", f"unknown {given!r}; there are: socket, proxy, realip")])
