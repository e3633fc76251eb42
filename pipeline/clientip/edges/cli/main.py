"""The command line `clientip`. Data goes to standard output, everything said about it to standard error.

Exit codes: 0 done · 1 done, and something asked for was not met (`--max-rejected`, `check`, `explain` found
nothing, or nobody behind a `--peer`) · 2 the configuration or the call is wrong · 3 the world failed (a file, a
disk), or an input could not be read to its end · 4 a defect of clientip · 130 interrupted (Ctrl-C) · 141 nobody
reads the output any more · 143 terminated.  After 3, 130 and 143 the same `replay` command goes on where it stopped.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Annotated, Literal, NoReturn

import typer
from msgspec.structs import replace
from rich.console import Console

from clientip import __version__
from clientip.config import load as config
from clientip.diagnose.reverse_lookup import ReverseLookup, moment
from clientip.edges.cli import check as checking
from clientip.edges.cli import init as scaffold
from clientip.edges.cli import skew as skews
from clientip.edges.cli import stream as streamcli
from clientip.edges.cli.explain import Wish, explanations
from clientip.edges.cli.guess import filled
from clientip.edges.cli.read import read_rows
from clientip.edges.cli.reference import TOPICS
from clientip.edges.cli.resolve import resolve_lines
from clientip.edges.collect import main as collect
from clientip.edges.disk.compression import Compression
from clientip.edges.disk.inputs import PIPE
from clientip.edges.replay.plan import CHUNK_BYTES, ReplayOptions, Request
from clientip.edges.replay.run import replay
from clientip.edges.replay.stdout import STDOUT, stream
from clientip.edges.replay.summary import Summary, show
from clientip.errors import ConfigError, Fault, FormatError, SinkError
from clientip.formats import FORMATS
from clientip.framing.wrappers import WRAPPERS
from clientip.model import Endpoint, LogsPeer, Setup
from clientip.outputs import OUTPUTS
from clientip.syntax.addresses import read_endpoint
from clientip.syntax.times import rfc3339_ns

app = typer.Typer(
    help="Recover the original client of every request from logs, or say why it cannot be known.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog=(__doc__ or "").partition("\n\n")[2].replace("\n", " "),
)

collecting = typer.Typer(help="Collect evidence that no log holds.", no_args_is_help=True)
app.add_typer(collecting, name="collect")
kafka = typer.Typer(help="What a stream needs of its Kafka cluster.", no_args_is_help=True)
app.add_typer(kafka, name="kafka")

Inputs = Annotated[
    list[str] | None,
    typer.Argument(help="Files, folders, globs, or - for standard input. Without any: the configured `inputs`."),
]
OneSystem = Annotated[
    str | None, typer.Option("--system", help="The system that wrote the inputs, whatever their paths.")
]

Out = Annotated[str, typer.Option("-o", "--out", help="A folder, or - for standard output.")]
Output = Annotated[str, typer.Option(help=f"How records are written: {', '.join(OUTPUTS)}.")]
Compress = Annotated[Compression, typer.Option(help="Compression of the records.")]
_SINCE = "Only requests that began (or, where the log shows no start, ended) at this RFC 3339 time or later."
Since = Annotated[str | None, typer.Option("--from", help=_SINCE)]
Until = Annotated[str | None, typer.Option(help="Only requests that began before this time.")]
WithFacts = Annotated[bool, typer.Option("--facts", help="Write translations and connections too.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes; default: one per core.")]
ChunkSize = Annotated[int, typer.Option(min=1, help="Bytes of a plain file that one process reads at a time.")]
Restart = Annotated[bool, typer.Option("--restart", help="Discard what an earlier run left in the folder.")]
_FROM_KAFKA = (
    "Read the systems' topics; kafka:TOPIC as an input reads that one. With --from and --until only messages that came "
    "`arrives_within` and `longest` before and after: they hold the evidence. Without: all that are there at the start."
)
FromKafka = Annotated[bool, typer.Option("--from-kafka", help=_FROM_KAFKA)]
_TO = "kafka: records and rejected lines go to topics, each exactly once; -o holds the state of the run."
To = Annotated[Literal["folder", "kafka"], typer.Option(help=_TO)]
_TOPIC = "With --to kafka: where records go, as to amend a stream's; rejected lines stay in the folder then."
Topic = Annotated[str | None, typer.Option(help=_TOPIC)]
RejectedFile = Annotated[Path | None, typer.Option(help="With -o -: where rejected lines go; else only counted.")]
_TIME = "write a time like 2024-05-01T10:00:00Z"
MaxRejected = Annotated[float, typer.Option(min=0, max=1, help="Exit with 1 if a larger share of lines is rejected.")]


def _warn(text: str) -> None:
    sys.stderr.write(f"clientip: {text}\n")


def _fail(code: int, *lines: str) -> NoReturn:
    for line in lines:
        _warn(line)
    raise typer.Exit(code)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        _fail(2, *map(str, error.faults))
    except SinkError as error:
        _fail(3, str(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)  # else Python writes once more at exit, and complains
        raise typer.Exit(141) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _terminated(_signal: int, _frame: object) -> NoReturn:
    raise typer.Exit(143)


def _moment(text: str | None, name: str) -> int | None:
    try:
        return None if text is None else rfc3339_ns(text)
    except FormatError as error:
        raise ConfigError([Fault("", name, f"{text!r} is no RFC 3339 time; {_TIME}")]) from error


@app.command("replay")
def replay_command(
    configs: streamcli.Configs,
    out: Out,
    inputs: Inputs = None,
    system: OneSystem = None,
    from_kafka: FromKafka = False,
    to: To = "folder",
    topic: Topic = None,
    output: Output = "enriched",
    compress: Compress = "none",
    since: Since = None,
    until: Until = None,
    facts: WithFacts = False,
    workers: Workers = None,
    chunk_size: ChunkSize = CHUNK_BYTES,
    restart: Restart = False,
    rejected: RejectedFile = None,
    max_rejected: MaxRejected = 1.0,
) -> None:
    """Enrich historical logs; a killed run goes on where it stopped when the same command is given again."""
    with _one_line_errors():
        _refuse_pipe_or_folder(out, rejected, compress)
        options = ReplayOptions(
            output=_one_of("--output", output, tuple(OUTPUTS)),
            compress=compress,
            chunk_bytes=chunk_size,
            from_ns=_moment(since, "--from"),
            until_ns=_moment(until, "--until"),
            facts=facts,
        )
        count, named = workers or len(os.sched_getaffinity(0)), tuple(inputs or ())
        request = Request(tuple(configs), named, system, options, count, restart, from_kafka, to == "kafka", topic)
        summary = stream(request, rejected, _warn) if out == PIPE else replay(request, Path(out), _warn)
    _conclude(summary, max_rejected)


def _refuse_pipe_or_folder(out: str, rejected: Path | None, compress: Compression) -> None:
    """Options that one of the two has no use for; better said than passed over."""
    if rejected is not None and out != PIPE:
        raise ConfigError([Fault("", "--rejected", "is for -o - only; a folder gets its own rejected.ndjson")])
    if compress != "none" and out == PIPE:
        raise ConfigError([Fault("", "--compress", "is for folders; pipe standard output through a compressor")])


def _conclude(summary: Summary, max_rejected: float) -> None:
    show(summary, Console(stderr=True))
    if summary.faults:
        _fail(3, *(f"not read to the end: {fault}" for fault in summary.faults))
    if summary.rejected > max_rejected * summary.lines:
        _fail(1, f"{summary.rejected} of {summary.lines} lines are rejected, more than --max-rejected allows")


@app.command("check")
def check_command(
    configs: streamcli.Configs,
    skew: Annotated[
        bool, typer.Option("--skew", help="Measure how far the clocks of the logs lie apart; reads all of them.")
    ] = False,
) -> None:
    """Read a sample of every configured log: does the configuration fit?"""
    with _one_line_errors():
        if skew:
            measured = skews.measure(config.load(configs), Request(tuple(configs)), _warn)
            sys.stdout.write(skews.report_text(measured))
            raise typer.Exit(measured.code)
        report = checking.check(config.load(configs))
        sys.stdout.write(checking.report_text(report))
    raise typer.Exit(report.code)


@app.command("init")
def init_command(
    files: Annotated[list[str], typer.Argument(help="Log files to look at.")],
) -> None:
    """Guess the formats of log files and print a configuration to start from."""
    with _one_line_errors():
        sys.stdout.write(scaffold.init(files, Path.cwd()))


@app.command("explain")
def explain_command(
    configs: streamcli.Configs,
    inputs: Inputs = None,
    line: Annotated[str | None, typer.Option(help="The text of one line of --system.")] = None,
    record_id: Annotated[str | None, typer.Option("--id", help="A record id to look for in the inputs.")] = None,
    trace: Annotated[str | None, typer.Option(help="A trace or request id to look for in the inputs.")] = None,
    peer: Annotated[
        str | None, typer.Option(help="ADDRESS:PORT of a system: who was behind it at the moment --at?")
    ] = None,
    at: Annotated[str | None, typer.Option(help="RFC 3339 with a zone; its last digit says how exact it is.")] = None,
    local: Annotated[str | None, typer.Option(help="ADDRESS:PORT that the --peer connected to, if known.")] = None,
    transport: Annotated[str, typer.Option(help="Of the --peer's connection: tcp or udp.")] = "tcp",
    http1: Annotated[bool, typer.Option("--http1", help="It carried one request at a time (HTTP/1).")] = False,
    system: OneSystem = None,
    as_json: Annotated[bool, typer.Option("--json", help="The whole record as JSON.")] = False,
) -> None:
    """Show how a record came about: the path, who vouched, what other logs told, what was not believed.

    Where a hop's own log must tell, the configured inputs are read as often as the path has such hops.
    --peer asks the other way round: who connected from this address of ours? It exits with 1 if nobody can say.
    """
    with _one_line_errors():
        if [line, record_id, trace, peer].count(None) != 3:
            raise ConfigError([Fault("", "explain", "give one of --line, --id and --trace, or --peer with --at")])
        wish = Wish(
            line=line, record_id=record_id, trace=trace, mirror=_mirror(peer, at, local, transport, http1=http1)
        )
        request = Request(tuple(configs), tuple(inputs or ()), system=system)
        found = []
        for each in explanations(config.load(configs), request, replace(wish, as_json=as_json), _warn):
            sys.stdout.write(each.text + "\n")
            found.append(each.found)
    if not found:
        _fail(1, "no such record in these inputs")
    if not any(found):
        raise typer.Exit(1)


def _mirror(
    peer: str | None, at: str | None, local: str | None, transport: str, *, http1: bool
) -> ReverseLookup | None:
    if peer is None:
        if at is not None or local is not None:
            raise ConfigError([Fault("", "--at, --local", "say more of a --peer; give one")])
        return None
    if at is None:
        raise ConfigError([Fault("", "--at", "say when the --peer was connected")])
    transport = _one_of("--transport", transport, ("tcp", "udp"))
    try:
        first, last = moment(at)
    except FormatError as error:
        raise ConfigError([Fault("", "--at", f"{at!r} is no RFC 3339 time; {_TIME}")]) from error
    near = None if local is None else _endpoint(local, "--local")
    return ReverseLookup(_endpoint(peer, "--peer"), first, last, near, transport, http1)


def _endpoint(text: str, name: str) -> Endpoint:
    try:
        endpoint = read_endpoint(text)
    except FormatError as error:
        raise ConfigError([Fault("", name, f"{text!r} is no ADDRESS:PORT")]) from error
    if endpoint.port is None:
        raise ConfigError([Fault("", name, f"{text!r} has no port: many connect from one address")])
    return endpoint


@app.command("read")
def read_command(
    file: Annotated[str, typer.Argument(help="A log file, or - for standard input.")],
    format_: Annotated[str, typer.Option("--format", help="`clientip help formats` lists them.")],
    pattern: Annotated[str | None, typer.Option(help="The server's log format string, or a known one's name.")] = None,
    escape: Annotated[str | None, typer.Option(help="nginx: default, json or none.")] = None,
    logs_peer: Annotated[str | None, typer.Option(help="What the logged peer is: socket, proxy or realip.")] = None,
    timezone: Annotated[str | None, typer.Option(help="IANA name, for stamps without a zone.")] = None,
    wrapper: Annotated[list[str] | None, typer.Option(help="Outermost first; may be repeated.")] = None,
    capture: Annotated[list[str] | None, typer.Option(help="HAProxy: a captured header, in order.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="KEY=VALUE, an option of the format.")] = None,
    network: Annotated[str, typer.Option(help="The network of the addresses.")] = "default",
    line_bytes: Annotated[int, typer.Option(min=256, help="The longest line.")] = 1024 * 1024,
) -> None:
    """Print what a format sees in a log, one JSON row per line, without any trust.

    What is not said of pattern, wrapper, zone and logged peer is guessed from the file, and told.
    """
    with _one_line_errors():
        setup = Setup(
            system="read",
            format=_one_of("--format", format_, tuple(FORMATS)),
            network=network,
            pattern=pattern,
            escape=escape,
            logs_peer=_logs_peer(logs_peer),
            timezone=timezone,
            captures=tuple(capture or ()),
            options=tuple(_pair(text) for text in option or ()),
        )
        wrappers = tuple(_one_of("--wrapper", name, tuple(WRAPPERS)) for name in wrapper or ())
        chosen = filled(setup, wrappers, None if file == PIPE else file)
        if chosen.beside(setup, wrappers):
            _warn(f"not said, and taken from the look of it: {chosen.beside(setup, wrappers)}")
        for row in read_rows(chosen.setup or setup, chosen.wrapper, file, line_bytes):
            sys.stdout.buffer.write(row + b"\n")
        sys.stdout.flush()


@collecting.command("conntrack")
def collect_conntrack_command(
    out: Annotated[str, typer.Option("-o", "--out", help="A file to append to (SIGHUP reopens it), or -.")] = PIPE,
    all_flows: Annotated[bool, typer.Option("--all", help="Flows without source NAT, too.")] = False,
    to: Annotated[
        list[str] | None, typer.Option(help="Only flows that were sent to this address or range; may be repeated.")
    ] = None,
    zone: Annotated[int | None, typer.Option(min=0, max=65535, help="Only flows of this conntrack zone.")] = None,
    receive_buffer: Annotated[
        int, typer.Option(min=2048, max=2**30, help="Bytes the kernel holds for this process before events get lost.")
    ] = collect.RECEIVE_BUFFER,
    once: Annotated[bool, typer.Option("--once", help="List the flows that are there, and end.")] = False,
    duration: Annotated[float | None, typer.Option(min=0, help="End after so many seconds.")] = None,
) -> None:
    """Write the NAT events of this network namespace as numbered lines (format conntrack_json). Needs root."""
    with _one_line_errors():
        collect.start(collect.CollectOptions(out, not all_flows, tuple(to or ()), zone, receive_buffer, once, duration))


app.command("stream")(_one_line_errors()(streamcli.stream_command))
kafka.command("topics")(_one_line_errors()(streamcli.topics_command))


@app.command("resolve")
def resolve_command() -> None:
    """Try a trust setting without logs: questions as JSON rows in, answers as JSON rows out."""
    with _one_line_errors():
        resolve_lines(sys.stdin.buffer, sys.stdout.buffer)


@app.command("help")
def help_command(topic: Annotated[str, typer.Argument(help=" | ".join(TOPICS))]) -> None:
    """Print a reference table."""
    with _one_line_errors():
        sys.stdout.write(TOPICS[_one_of("help", topic, tuple(TOPICS))]())
        sys.stdout.flush()


def _one_of(key: str, given: str, known: tuple[str, ...]) -> str:
    if given not in known:
        raise ConfigError([Fault("", key, f"unknown {given!r}; there are: {', '.join(known)}")])
    return given


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


def _show_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"clientip {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    signal.signal(signal.SIGTERM, _terminated)


def _defect(kind: type[BaseException], error: BaseException, at: TracebackType | None) -> None:
    sys.__excepthook__(kind, error, at)
    _warn("this is a defect of clientip")
    raise SystemExit(4)


def main() -> None:
    """Entry point of the `clientip` command."""
    sys.excepthook = _defect
    typer.main.get_command(app)()  # not `app()`, which would put in a hook of its own
