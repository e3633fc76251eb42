"""`clientip check`: does each system's log read as configured, and which peers are not in the configuration?

The report shows rejected lines to the person who asked, on the terminal; it is written to no log.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Final

import click
from msgspec import Struct
from msgspec.structs import replace

from clientip.config.lint import warnings
from clientip.config.load import load
from clientip.edges.cli.exits import end, warn
from clientip.edges.cli.options import WIDE, configs
from clientip.edges.cli.promise_check import BrokenPromise, broken_promises, report_lines
from clientip.edges.cli.samples import sample
from clientip.edges.cli.server_config import faults_of
from clientip.edges.disk.inputs import Input, find_inputs
from clientip.edges.replay.plan import ReplayOptions
from clientip.edges.replay.run import planned
from clientip.edges.replay.translated import met_in
from clientip.engine import Engine, build
from clientip.errors import ConfigError
from clientip.formats import FORMATS
from clientip.joins.translated import NOTE
from clientip.model import Fact, Observation, Outcome, Record, Rejected, Setup, Skipped
from clientip.reasons import BROKEN, FINDINGS, REJECTED
from clientip.settings import Settings, SystemSettings
from clientip.syntax.terminals import printable

ENOUGH: Final = 0.9  # of the lines that are none of the skipped ones
FILES_SAMPLED: Final = 5
SHOWN: Final = 3  # rejected lines, and unlisted addresses
_AROUND: Final = 60  # characters shown on each side of the place


class Unread(Struct, frozen=True):
    """A rejected line as it is shown: the part round the place, and where in it the caret stands."""

    file: str
    reason: str
    detail: str | None
    text: str  # without control characters
    caret: int | None


class SystemReport(Struct, frozen=True):
    """What a sample of one system's log says of its configuration."""

    system: str
    format: str
    wanted: bool  # it has `inputs`, so there must be something to read
    files: tuple[str, ...]
    read: int = 0
    skipped: int = 0
    rejected: int = 0
    unread: tuple[Unread, ...] = ()  # the first ones
    verdicts: tuple[tuple[str, int], ...] = ()  # verdict, or the reason of an unknown, most frequent first
    broken: tuple[tuple[str, int], ...] = ()  # findings that say that the configuration is not true, and their lines
    unlisted: tuple[tuple[str, int], ...] = ()  # address, lines: probably hops that are not configured
    assumed: str | None = None  # what was taken for true because nothing said otherwise
    stay_ns: int | None = None  # of the line that lasted longest; None: no line shows how long, or it is not asked for

    @property
    def share(self) -> float:
        """How much of what should be readable was read; 0 where there was nothing."""
        return self.read / (self.read + self.rejected) if self.read else 0.0

    @property
    def sound(self) -> bool:
        """Whether the configuration fits the log well enough to go on."""
        return (not self.wanted or self.share >= ENOUGH) and not self.broken

    @property
    def mark(self) -> str:
        """What stands beside the figures of a log that is not read well enough."""
        return "  <- too few" if self.wanted and self.share < ENOUGH else ""


class CheckReport(Struct, frozen=True):
    """The whole answer of `clientip check`."""

    systems: tuple[SystemReport, ...]
    warnings: tuple[str, ...]
    translated: tuple[str, ...] = ()  # addresses in no system to which NAT logs translate
    broken: tuple[BrokenPromise, ...] = ()
    servers: tuple[str, ...] = ()  # what the servers' own configurations hold against this one

    @property
    def code(self) -> int:
        """Exit code: 1 where a system reads less than 90 % of its sample, or nothing; or the drawing is not true."""
        untrue = self.translated or self.broken or self.servers
        return 0 if all(each.sound for each in self.systems) and not untrue else 1


def check(settings: Settings) -> CheckReport:
    """Read a sample of every configured input, and more of NAT logs: to which addresses do they translate?

    Errors: SinkError if a file that is there cannot be opened.
    """
    engine = build(settings)
    files, missing = _inputs(settings)
    reports = tuple(_of_system(each, engine, files.get(each.system.name, ()), settings) for each in settings.systems)
    found = tuple(report for report in reports if report is not None)
    plan = planned(ReplayOptions(), settings, tuple(chain.from_iterable(files.values())))
    met = met_in(settings, plan, beginnings=True)
    return CheckReport(found, (*warnings(settings), *missing), met, _broken(settings, files), faults_of(settings))


def _broken(settings: Settings, files: Mapping[str, Sequence[Input]]) -> tuple[BrokenPromise, ...]:
    engine, limit = build(settings, holds=True), settings.limits.line_bytes
    read = (
        outcome
        for each in settings.systems
        if each.setup is not None
        for file in files.get(each.system.name, ())[:FILES_SAMPLED]
        for outcome in _outcomes(file, each, engine, limit)
    )
    return broken_promises(engine, read)


def _inputs(settings: Settings) -> tuple[Mapping[str, Sequence[Input]], tuple[str, ...]]:
    try:
        found = find_inputs(settings, (), None)
    except ConfigError:  # nothing matches at all: every system's own report says so
        return {}, ()
    by_system: dict[str, list[Input]] = {}
    for each in found.files:
        by_system.setdefault(each.system, []).append(each)
    return by_system, found.warnings


def _of_system(each: SystemSettings, engine: Engine, files: Sequence[Input], settings: Settings) -> SystemReport | None:
    if each.setup is None:
        return None
    counts, verdicts, unlisted, broken = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    unread: list[Unread] = []
    stay_ns: int | None = None
    for file in files[:FILES_SAMPLED]:
        for outcome in _outcomes(file, each, engine, settings.limits.line_bytes):
            if isinstance(outcome, Rejected):
                counts["rejected"] += 1
                if len(unread) < SHOWN:
                    unread.append(_shown(outcome, file.path))
            elif isinstance(outcome, Skipped):
                counts["skipped"] += 1
            elif isinstance(outcome, Record | Fact):
                counts["read"] += 1
                stay_ns = max(stay_ns or 0, _stay_ns(outcome)) if each.system.lossless else None
                broken.update(
                    BROKEN.intersection(_observation(outcome).notes) - {NOTE}
                )  # of which the report says more
                if isinstance(outcome, Record):
                    _count(outcome, verdicts, unlisted)
    return SystemReport(
        each.system.name,
        each.setup.format,
        bool(each.inputs),
        tuple(file.path for file in files),
        **counts,
        unread=tuple(unread),
        verdicts=tuple(verdicts.most_common()),
        broken=tuple(broken.most_common()),
        unlisted=tuple(unlisted.most_common(SHOWN)),
        assumed=_assumed(each.setup),
        stay_ns=None if each.system.writes_begins else stay_ns,
    )


def _assumed(setup: Setup) -> str | None:
    if setup.drops_underscores is not None:
        return None
    if FORMATS[setup.format].drops_underscores:
        return "drops_underscores = true, the server's default; write false if it has underscores_in_headers on"
    if dict(setup.options).get("headers") == "underscores":
        return (
            "drops_underscores = false, but for nginx's own spans: headers with a dash vouch for no client "
            "(`header_twin`); write true if the server drops names with an underscore"
        )
    return None


def _observation(outcome: Record | Fact) -> Observation:
    return (outcome.record if isinstance(outcome, Fact) else outcome).observation


def _stay_ns(outcome: Record | Fact) -> int:
    seen = _observation(outcome)
    return 0 if seen.end_ns is None or seen.start_ns is None else seen.end_ns - seen.start_ns


def _outcomes(file: Input, each: SystemSettings, engine: Engine, limit: int) -> Iterator[Outcome]:
    assert each.setup is not None
    reading = engine.reading(file.system, file.instance, rotated=True)
    for frame in sample(file.path, limit, FORMATS[each.setup.format].framing):
        yield from (frame,) if isinstance(frame, Rejected) else reading.feed(replace(frame, instance=file.instance))


def _count(record: Record, verdicts: Counter[str], unlisted: Counter[str]) -> None:
    found = record.resolution
    verdicts[found.reason or found.verdict] += 1
    if found.reason == "peer_unlisted" and found.path[-1].address is not None:
        unlisted[found.path[-1].address] += 1


def _shown(rejected: Rejected, file: str) -> Unread:
    """The line round the place where it stops fitting; bytes become characters one way only, so the caret stays."""
    text, at = rejected.line.text, rejected.at
    middle = 0 if at is None else min(at, len(text))
    start = max(0, middle - _AROUND)
    before = _legible(text[start:middle])
    shown = before + _legible(text[middle : middle + _AROUND])
    lead = "…" if start else ""
    tail = "…" if middle + _AROUND < len(text) else ""
    caret = None if at is None else len(lead + before)
    return Unread(file, rejected.reason, rejected.detail, lead + shown + tail, caret)


def _legible(text: bytes) -> str:
    return printable(text.decode("utf-8", "replace"))


def report_text(report: CheckReport) -> str:
    """The report for a terminal, ending with a line end."""
    lines: list[str] = []
    for each in report.systems:
        lines += _system_lines(each)
    for warning in report.warnings:
        lines.append(f"warning: {warning}")
    lines += [_TRANSLATED.format(address) for address in report.translated]
    lines += [*report_lines(report.broken), *report.servers]
    lines.append("the configuration fits its logs" if report.code == 0 else "the configuration does not fit its logs")
    return "".join(f"{printable(line)}\n" for line in lines)


_TRANSLATED: Final = (
    "NAT translates to {}, which is in no system: list it in `addresses` of the system that translates, or else in the "
    "file of `[joins] translated`; its clients are not known"
)


def _system_lines(each: SystemReport) -> Iterator[str]:
    if not each.wanted:
        yield f"{each.system}: {each.format}, no `inputs`: read only when named on the command line"
        return
    if not each.files:
        yield f"{each.system}: {each.format}, no file matches its `inputs`"
        return
    counts = f"{each.share:.1%} of the sample read ({each.read} read, {each.rejected} rejected, {each.skipped} skipped)"
    yield f"{each.system}: {each.format}, {_plural(len(each.files), 'file')}, {counts}{each.mark}"
    if each.assumed is not None:
        yield f"  assumed: {each.assumed}"
    if each.verdicts:
        yield "  " + ", ".join(f"{word} {lines}" for word, lines in each.verdicts)
    if each.stay_ns:
        stay = f"{each.stay_ns / 1e9:.3f} s"
        yield f"  the longest stay in the sample is {stay}; no figure from a log bounds it: `clientip help longest`"
    for word, lines in each.broken:
        yield f"  {word}, {_plural(lines, 'line')}: {FINDINGS[word].meaning}; {FINDINGS[word].remedy}"
    for unread in each.unread:
        yield from _unread_lines(unread)
    if each.unlisted:
        yield f"  in no system: {_addresses(each.unlisted)}; {_UNLISTED}"


_UNLISTED: Final = "write a [systems.NAME] for each hop among them, or say in `peers` who may connect"


def _unread_lines(unread: Unread) -> Iterator[str]:
    reason = REJECTED[unread.reason]
    detail = f" ({unread.detail})" if unread.detail else ""
    yield f"  {unread.file}: {reason.meaning}{detail}; {reason.remedy}"
    yield f"    {unread.text}"
    if unread.caret is not None:
        yield "    " + " " * unread.caret + "^"


def _addresses(unlisted: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{address} ({_plural(lines, 'line')})" for address, lines in unlisted)


def _plural(count: int, word: str) -> str:
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


@click.command("check", context_settings=WIDE)
@configs
@click.option("--skew", is_flag=True, help="Measure how far the clocks of the logs lie apart; reads all of them.")
def command(configs: tuple[Path, ...], skew: bool) -> None:
    """Read a sample of every configured log: does the configuration fit?

    Exit code 1: of a system less than 90 % of the sample is read; NAT translates to an address in no system; a hop
    breaks a promise; a file of `server_config` holds what breaks `lossless`; with --skew, clocks lie further apart than
    allowed.
    """
    if skew:
        from clientip.edges.cli import skew as skews  # noqa: PLC0415 - a check without clocks starts faster
        from clientip.edges.replay.plan import Request  # noqa: PLC0415

        measured = skews.measure(load(configs), Request(configs), warn)
        sys.stdout.write(skews.report_text(measured))
        end(measured.code)
    report = check(load(configs))
    sys.stdout.write(report_text(report))
    end(report.code)
