"""`clientip replay`: historical logs through the engine into a folder, topics or standard output."""

from __future__ import annotations

import sys
from pathlib import Path
from shutil import get_terminal_size
from typing import Final

import click
from msgspec.structs import replace

from clientip.edges.cli.exits import end, fail, warn
from clientip.edges.cli.options import INPUTS, WIDE, configs, inputs, moment, one_of, one_system
from clientip.edges.disk.compression import Compression
from clientip.edges.disk.inputs import PIPE
from clientip.edges.replay.plan import CHUNK_BYTES, ReplayOptions, Request
from clientip.edges.replay.run import REJECTED, replay, result_path
from clientip.edges.replay.summary import Summary, as_text, broken
from clientip.edges.replay.unread import unread_systems
from clientip.errors import ConfigError, Fault
from clientip.outputs import OUTPUTS

_MOMENT: Final = "a date (its beginning in UTC), or a time with its zone like 2024-05-01T10:00:00Z"
_SINCE: Final = f"Only requests that began (or, where the log shows no start, ended) then or later: {_MOMENT}."
_OUTPUT: Final = f"How records are written: {' or '.join(OUTPUTS)} (`clientip help outputs`)."
_FROM_KAFKA: Final = (
    "Read the systems' topics; kafka:TOPIC as an input reads that one. With --from and --until only messages that came "
    "`arrives_within` and `longest` before and after: they hold the evidence. Without: all that are there at the start."
)
_TO: Final = "kafka: records and rejected lines go to topics, each exactly once; -o holds the state of the run."
_TOPIC: Final = "With --to kafka: where records go, as to amend a stream's; rejected lines stay in the folder then."
_OUT: Final = "A folder, or - for standard output."
_COMPRESS: Final = "Compression of the records."
_WORKERS: Final = "Processes; default: as many as pay, at most one per core."
_REJECTED: Final = "With -o -: where rejected lines go; else only counted."
_MAX_REJECTED: Final = (
    "Exit with 1 if a larger share of all lines is rejected (1: never). Default: if all lines of a system are."
)
_SHOW: Final = "Show global addresses of the summary whole; else only their networks: /24, of IPv6 /48."
_CHUNK: Final = "Bytes of a plain file that one process reads at a time."
_COMPRESSIONS: Final = ("none", "gzip", "zstd")


@click.command("replay", context_settings=WIDE, epilog=INPUTS)
@configs
@click.option("-o", "--out", metavar="FOLDER", required=True, type=click.Path(allow_dash=True), help=_OUT)
@inputs
@one_system
@click.option("--from-kafka", is_flag=True, help=_FROM_KAFKA)
@click.option("--to", type=click.Choice(("folder", "kafka")), default="folder", show_default=True, help=_TO)
@click.option("--topic", metavar="TOPIC", help=_TOPIC)
@click.option("--output", metavar="OUTPUT", default="enriched", show_default=True, help=_OUTPUT)
@click.option("--compress", type=click.Choice(_COMPRESSIONS), default="none", show_default=True, help=_COMPRESS)
@click.option("--from", "since", metavar="MOMENT", help=_SINCE)
@click.option("--until", metavar="MOMENT", help="Only requests that began before this moment, written like --from.")
@click.option("--facts", is_flag=True, help="Write translations and connections too.")
@click.option("--workers", metavar="N", type=click.IntRange(min=1), help=_WORKERS)
@click.option("--chunk-size", metavar="BYTES", type=click.IntRange(min=1), default=CHUNK_BYTES, help=_CHUNK)
@click.option("--restart", is_flag=True, help="Discard what an earlier run left in the folder.")
@click.option("--rejected", metavar="FILE", type=click.Path(path_type=Path), help=_REJECTED)
@click.option("--show-addresses", is_flag=True, help=_SHOW)
@click.option("--max-rejected", metavar="SHARE", type=click.FloatRange(0, 1), help=_MAX_REJECTED)
def command(
    configs: tuple[Path, ...],
    out: str,
    inputs: tuple[str, ...],
    system: str | None,
    from_kafka: bool,
    to: str,
    topic: str | None,
    output: str,
    compress: Compression,
    since: str | None,
    until: str | None,
    facts: bool,
    workers: int | None,
    chunk_size: int,
    restart: bool,
    rejected: Path | None,
    show_addresses: bool,
    max_rejected: float | None,
) -> None:
    """Enrich historical logs; a killed run goes on where it stopped when the same command is given again."""
    _refuse_pipe_or_folder(out, rejected, compress)
    options = ReplayOptions(
        output=one_of("--output", output, tuple(OUTPUTS)),
        compress=compress,
        chunk_bytes=chunk_size,
        from_ns=moment(since, "--from"),
        until_ns=moment(until, "--until"),
        facts=facts,
    )
    request = Request(configs, inputs, system, options, workers, restart, from_kafka, to == "kafka", topic)
    request = replace(request, show_addresses=show_addresses, strict=True)
    _conclude(_summary(request, out, rejected), request, out, max_rejected)


def _summary(request: Request, out: str, rejected: Path | None) -> Summary:
    if out != PIPE:
        return replay(request, Path(out), warn)
    from clientip.edges.replay.stdout import stream  # noqa: PLC0415 - a replay into a folder starts faster without

    return stream(request, rejected, warn)


def _refuse_pipe_or_folder(out: str, rejected: Path | None, compress: Compression) -> None:
    """Options that one of the two has no use for; better said than passed over."""
    if rejected is not None and out != PIPE:
        raise ConfigError([Fault("", "--rejected", "is for -o - only; a folder gets its own rejected.ndjson")])
    if compress != "none" and out == PIPE:
        raise ConfigError([Fault("", "--compress", "is for folders; pipe standard output through a compressor")])


def _conclude(summary: Summary, request: Request, out: str, max_rejected: float | None) -> None:
    sys.stderr.write(as_text(summary, get_terminal_size((100, 24)).columns, show_addresses=request.show_addresses))
    if out != PIPE:
        _say_where(summary, request, Path(out))
    if summary.faults:
        fail(3, *(f"not read to the end: {fault}" for fault in summary.faults))
    if told := tuple(broken(summary)):
        fail(1, *told)
    if max_rejected is None:
        end(1 if unread_systems(summary) else 0)
    if summary.rejected > max_rejected * summary.lines:
        fail(1, f"{summary.rejected} of {summary.lines} lines are rejected, more than --max-rejected allows")


def _say_where(summary: Summary, request: Request, out: Path) -> None:
    """Where the results lie."""
    if not request.to_kafka:
        warn(f"records: {result_path(out, request.options)}")
    if summary.rejected and (out / REJECTED).exists():
        warn(f"rejected lines: {out / REJECTED}")
