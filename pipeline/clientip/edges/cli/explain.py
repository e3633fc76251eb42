"""`clientip explain`: how one record came about, and who was behind an address; other logs are asked as in a replay."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import click
from msgspec import Struct

from clientip.config.load import load
from clientip.diagnose.multi_pass import Pursuit
from clientip.diagnose.prose import Find, Shown, explain
from clientip.diagnose.reverse_lookup import ReverseLookup, asked_in, concluded, mirrored, moment, wording
from clientip.edges.cli.exits import end, fail, warn
from clientip.edges.cli.options import INPUTS, WIDE, configs, inputs, one_of, one_system
from clientip.edges.cli.passes import whole_plan
from clientip.edges.replay.outcomes import outcomes_of
from clientip.edges.replay.plan import Plan, Request
from clientip.edges.replay.run import plan_of
from clientip.edges.replay.translated import met_in
from clientip.engine import Engine, build
from clientip.errors import ConfigError, Fault, FormatError
from clientip.joins.holes import LogOrders
from clientip.joins.join import Joining
from clientip.model import Endpoint, Fact, Line, Outcome, Record, Rejected, Skipped
from clientip.outputs import OUTPUTS
from clientip.reasons import REJECTED, SKIPPED
from clientip.settings import Settings
from clientip.syntax.addresses import read_endpoint

MAX_RECORDS: Final = 1000  # that are explained in one call

Warn = Callable[[str], None]
Wanted = Callable[[Record], bool]


class Wish(Struct, frozen=True, kw_only=True):
    """What is to be explained: exactly one of `line`, `record_id`, `trace` and `mirror`."""

    line: str | None = None
    record_id: str | None = None
    trace: str | None = None
    mirror: ReverseLookup | None = None
    as_json: bool = False


class Explanation(Struct, frozen=True):
    """One explanation, and whether it says what was asked for."""

    text: str
    found: bool


def explanations(settings: Settings, request: Request, wish: Wish, warn: Warn) -> Iterator[Explanation]:
    """One explanation for every record that is meant; none: there is no such record in these inputs."""
    engine = build(settings, _translated(settings, request))
    if wish.mirror is not None:
        named = plan_of(request, settings, warn) if request.inputs else None
        yield from _of_mirror(settings, engine, whole_plan(settings, request, named, warn), wish.mirror, wish)
        return
    named, outcomes = None, list[Outcome]()
    if wish.line is not None:
        outcomes = list(outcomes_of_text(engine, request.system, os.fsencode(wish.line)))
        named = plan_of(request, settings, warn) if request.inputs else None
    else:
        named = plan_of(request, settings, warn)
        wanted = with_id(wish.record_id) if wish.record_id is not None else with_trace(wish.trace or "")
        outcomes = list(islice(_records(outcomes_of(engine, named), wanted), MAX_RECORDS + 1))
        if len(outcomes) > MAX_RECORDS:
            warn(f"more than {MAX_RECORDS} records: only the first ones are shown")
            outcomes.pop()
    yield from _of_outcomes(settings, engine, outcomes, request, named, wish, warn)


def _translated(settings: Settings, request: Request) -> tuple[str, ...]:
    """The addresses in no system to which the configured NAT logs translate, as a replay finds them first."""
    plan = whole_plan(settings, request, None, lambda _: None)
    return () if plan is None else met_in(settings, plan)


def _of_outcomes(
    settings: Settings,
    engine: Engine,
    outcomes: Sequence[Outcome],
    request: Request,
    named: Plan | None,
    wish: Wish,
    warn: Warn,
) -> Iterator[Explanation]:
    joining = Joining(engine.graph, settings.joins)
    pursuit = Pursuit(joining, [each for each in outcomes if isinstance(each, Record)])
    plan = whole_plan(settings, request, named, warn) if pursuit.asks else named
    if plan is not None:
        _read(engine, plan, pursuit)
        outcomes = _with(outcomes, pursuit)
    find = _finder(plan, pursuit)
    for outcome in outcomes:
        own = _shown(outcome, plan) if isinstance(outcome, Record) else None
        yield Explanation(told(outcome, settings.rules, wish, find, own), found=True)


def _of_mirror(
    settings: Settings, engine: Engine, plan: Plan | None, mirror: ReverseLookup, wish: Wish
) -> Iterator[Explanation]:
    """An answer for every network in which the address is owned."""
    systems = [each.system for each in settings.systems]
    for network in asked_in(systems, mirror):
        graph, asked = mirrored(systems, tuple(engine.sources), mirror, network)
        pursuit = Pursuit(Joining(graph, settings.joins), [asked])
        if plan is not None:
            _read(engine, plan, pursuit)
            [asked] = pursuit.results()
        record, heading = concluded(asked), wording(mirror)
        text = _json(record, settings.rules)
        if not wish.as_json:
            question = f"{heading}?" if network == "default" else f"{heading}, in the network {network}?"
            text = explain(record, _finder(plan, pursuit), None, question).rstrip()
        yield Explanation(text, found=record.resolution.verdict != "unknown")


def _read(engine: Engine, plan: Plan, pursuit: Pursuit) -> None:
    while pursuit.asks:
        orders = LogOrders()
        for outcome in outcomes_of(engine, plan, orders=orders):
            pursuit.listen(outcome)
        pursuit.conclude(orders, plan.unread)


def _with(outcomes: Iterable[Outcome], pursuit: Pursuit) -> list[Outcome]:
    results = pursuit.results()
    return [next(results) if isinstance(each, Record) else each for each in outcomes]


def _finder(plan: Plan | None, pursuit: Pursuit) -> Find:
    def find(record_id: str) -> Shown | None:
        exhibit = pursuit.exhibit(record_id)
        return None if exhibit is None else _line_shown(exhibit.system, exhibit.line, plan)

    return find


def _shown(record: Record, plan: Plan | None) -> Shown:
    return _line_shown(record.observation.setup.system, record.line, plan)


def _line_shown(system: str, line: Line, plan: Plan | None) -> Shown:
    paths = {each.fingerprint: each.path for each in plan.inputs} if plan is not None else {}
    path = paths.get(line.file)
    message = f", message {line.index}" if line.index else ""
    place = "the line that was given" if path is None else f"{_near(path)}, byte {line.offset}{message}"
    return Shown(system, place, line.raw.decode("utf-8", "backslashreplace"))


def _near(path: str) -> str:
    """The path as short as it can be written from here."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def outcomes_of_text(engine: Engine, system: str | None, text: bytes) -> Iterator[Outcome]:
    """What the engine makes of one line of a system's log."""
    if system is None:
        raise ConfigError([Fault("", "--system", "say which system wrote the --line")])
    if system not in engine.sources:
        text_of_fault = f"{system!r} is no system with a format; there are: {', '.join(engine.sources)}"
        raise ConfigError([Fault("", "--system", text_of_fault)])
    reading = engine.reading(system)
    yield from reading.feed(Line(text, text))
    yield from reading.end()


def _records(outcomes: Iterable[Outcome], wanted: Wanted) -> Iterator[Outcome]:
    """Those that are wanted, translations and connections among them."""
    for outcome in outcomes:
        record = outcome.record if isinstance(outcome, Fact) else outcome
        if isinstance(record, Record) and wanted(record):
            yield outcome


def with_id(record_id: str) -> Wanted:
    """Records with this id."""
    return lambda record: record.record_id == record_id


def with_trace(trace: str) -> Wanted:
    """Records that carry this trace id, or this request id."""

    def wanted(record: Record) -> bool:
        ids = record.observation.ids
        return ids is not None and (ids.trace == trace or any(value == trace for _, value in ids.requests))

    return wanted


def told(outcome: Outcome, rules: str, wish: Wish, find: Find, own: Shown | None) -> str:
    """One outcome for the terminal."""
    record = outcome.record if isinstance(outcome, Fact) else outcome
    if isinstance(record, Record):
        return _json(record, rules) if wish.as_json else explain(record, find, own).rstrip()
    if isinstance(record, Rejected):
        reason = REJECTED[record.reason]
        place = "" if record.at is None else f" at byte {record.at}"
        detail = "" if record.detail is None else f" ({record.detail})"
        return f"rejected: {record.reason}{place}{detail}: {reason.meaning}; {reason.remedy}"
    if isinstance(record, Skipped):
        return f"skipped: {record.reason}: {SKIPPED[record.reason].meaning}"
    return "a part of a longer line"


def _json(record: Record, rules: str) -> str:
    return OUTPUTS["record"](record, rules).decode()


_AT = "A time with its zone (2024-05-01T10:00:00Z); the digits say how exact it is."


@click.command("explain", context_settings=WIDE, epilog=INPUTS)
@configs
@inputs
@click.option("--line", metavar="TEXT", help="The text of one line of --system.")
@click.option("--id", "record_id", metavar="ID", help="A record id to look for in the inputs.")
@click.option("--trace", metavar="ID", help="A trace or request id to look for in the inputs.")
@click.option("--peer", metavar="ADDRESS:PORT", help="Of a system: who was behind it at the moment --at?")
@click.option("--at", metavar="TIME", help=_AT)
@click.option("--local", metavar="ADDRESS:PORT", help="What the --peer connected to, if known.")
@click.option("--transport", metavar="WORD", default="tcp", help="Of the --peer's connection: tcp or udp.")
@click.option("--http1", is_flag=True, help="It carried one request at a time (HTTP/1).")
@one_system
@click.option("--json", "as_json", is_flag=True, help="The whole record as JSON.")
def command(
    configs: tuple[Path, ...],
    inputs: tuple[str, ...],
    line: str | None,
    record_id: str | None,
    trace: str | None,
    peer: str | None,
    at: str | None,
    local: str | None,
    transport: str,
    http1: bool,
    system: str | None,
    as_json: bool,
) -> None:
    """Show how a record came about: the path, who vouched, what other logs told, what was not believed.

    Where a hop's own log must tell, the configured inputs are read as often as the path has such hops.
    --peer asks the other way round: who connected from this address of ours?

    Exit code 1: no record is found; with --peer, no client can be named.
    """
    if [line, record_id, trace, peer].count(None) != 3:
        raise ConfigError([Fault("", "explain", "give one of --line, --id and --trace, or --peer with --at")])
    mirror = _mirror(peer, at, local, transport, http1=http1)
    wish = Wish(line=line, record_id=record_id, trace=trace, mirror=mirror, as_json=as_json)
    request = Request(configs, inputs, system=system)
    found = []
    for each in explanations(load(configs), request, wish, warn):
        sys.stdout.write(each.text + "\n")
        found.append(each.found)
    if not found:
        fail(1, "no such record in these inputs")
    if not any(found):
        end(1)


def _mirror(
    peer: str | None, at: str | None, local: str | None, transport: str, *, http1: bool
) -> ReverseLookup | None:
    if peer is None:
        if at is not None or local is not None:
            raise ConfigError([Fault("", "--at, --local", "say more of a --peer; give one")])
        return None
    if at is None:
        raise ConfigError([Fault("", "--at", "say when the --peer was connected")])
    transport = one_of("--transport", transport, ("tcp", "udp"))
    try:
        first, last = moment(at)
    except FormatError as error:
        text = f"{at!r} is no time with a zone; write one like 2024-05-01T10:00:00Z"
        raise ConfigError([Fault("", "--at", text)]) from error
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
